package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rustmq/rustmq/mq"
)

const (
	readTimeout = 10 * time.Second
	// writeTimeout bounds the slowest scrape.
	writeTimeout   = 30 * time.Second
	maxHeaderBytes = 64 << 10
	// maxStreams are those of one connection of HTTP/2 at a time: another one waits.
	maxStreams = 250
	// connectionWindow and streamWindow bound what a connection of HTTP/2, and each of its streams, may send before it is read. Whoever serves a call counts what it has read only: each call
	// that waits may hold a stream's window beside that. A stream of requests sends 5 MB/s over 50 ms with it.
	connectionWindow = 1 << 20
	streamWindow     = 256 << 10
	// pingAfter is after how long without a word a connection of HTTP/2 is asked whether it lives, and for how long it may take to say so.
	pingAfter = 15 * time.Second
	// maxScrapes is how many answers of /metrics are made at a time; another one is refused.
	maxScrapes = 4
)

// Config says what a server tells. All fields but Notes, Nodes, Services and Profiles are required.
type Config struct {
	// About is what the page at / says of the node.
	About About
	// Live is nil while the process works, or why it should be restarted.
	Live func() error
	// Ready is nil while the node serves clients, or why it does not.
	Ready func() error
	// Notes are what whoever runs the node should know although it is ready: a line each in /readyz. Nil has none.
	Notes func() []string
	// Nodes are the brokers of the cluster, for the page at /. Nil has none.
	Nodes   func() []Neighbour
	Metrics prometheus.Gatherer
	// Services are other handlers by the path that each begins with, as in "/package.Service/". They see to their limits and deadlines by themselves. Nil has none.
	Services map[string]http.Handler
	// Profiles adds the Go runtime's profiles. One costs CPU as long as it is taken.
	Profiles bool
	Logger   *slog.Logger
}

// Server is the HTTP listener.
type Server struct {
	http    http.Server
	addr    net.Addr
	stopped chan struct{}
}

// Listen starts serving on addr, host:port; port 0 picks a free one.
func Listen(addr string, cfg Config) (*Server, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, mq.Errorf(mq.InvalidConfig, "listen for HTTP on %s: %w", addr, err)
	}
	return Serve(listener, cfg), nil
}

// Serve starts serving on a listener, which is the server's from then on.
func Serve(listener net.Listener, cfg Config) *Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s := &Server{
		addr:    listener.Addr(),
		stopped: make(chan struct{}),
		http: http.Server{
			Handler: Handler(cfg), ReadTimeout: readTimeout, WriteTimeout: writeTimeout, MaxHeaderBytes: maxHeaderBytes,
			ErrorLog:  slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
			Protocols: protocols,
			HTTP2: &http.HTTP2Config{
				MaxConcurrentStreams: maxStreams, MaxReceiveBufferPerConnection: connectionWindow, MaxReceiveBufferPerStream: streamWindow,
				SendPingTimeout: pingAfter, PingTimeout: pingAfter,
			},
		},
	}
	go func() {
		defer close(s.stopped)
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			cfg.Logger.Error("the HTTP listener ended: health and metrics are not served any more", "addr", s.addr.String(), "error", err)
		}
	}()
	return s
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.addr }

// Close lets answers under way finish until ctx ends, then ends the server.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-s.stopped
	return err
}

// Handler answers the paths of the package comment.
func Handler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", page(cfg))
	mux.HandleFunc("GET /livez", health(cfg.Live, nil))
	mux.HandleFunc("GET /readyz", health(cfg.Ready, cfg.Notes))
	mux.Handle("GET /metrics", promhttp.HandlerFor(cfg.Metrics, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes}))
	for path, h := range cfg.Services {
		mux.Handle(path, h)
	}
	if cfg.Profiles {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

func health(check func() error, notes func() []string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if err := check(); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, err)
			return
		}
		fmt.Fprintln(w, "ok")
		if notes == nil {
			return
		}
		for _, note := range notes() {
			fmt.Fprintln(w, note)
		}
	}
}
