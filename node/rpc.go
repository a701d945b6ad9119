package node

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/pki"
	"github.com/rustmq/rustmq/pki/join"
)

// The bounds of the listener for nodes.
const (
	// rpcHandshakeTimeout is for a connection that has not proven yet to be a node's.
	rpcHandshakeTimeout = 5 * time.Second
	// rpcStreamPatience is for how long a stream of replication waits for a node that does not take any yet: whoever made it waits no longer for an answer.
	rpcStreamPatience = 5 * time.Second
	// rpcIdleTimeout is for a node's connection without a stream.
	rpcIdleTimeout = 5 * time.Minute
	// rpcGrace is how long single requests may go on when the listener closes.
	rpcGrace = 100 * time.Millisecond
	// rpcWriteTimeout is for a peer that takes no byte of what waits for it.
	rpcWriteTimeout = 10 * time.Second
	// rpcStreams are requests of one connection at a time: those of one kind of traffic of one node.
	rpcStreams = 1024
	// rpcPeerConns are the connections of one node: one for each kind of traffic, once more while they are made anew, and room to spare.
	// One more is closed.
	rpcPeerConns = 16
	// rpcStrangers are connections that have not proven yet to be a node's. For one more the oldest is closed, so that
	// whoever sits on them keeps no node out for longer than it takes to shake hands.
	rpcStrangers = 256
	// rpcStreamWindow is what a peer may send ahead on one stream in bytes, and rpcConnWindow on all of one connection: a stream
	// that is not read stops no other.
	rpcStreamWindow = 8 << 20
	rpcConnWindow   = 64 << 20
	// rpcFrame is the largest frame in bytes: a message of replication takes few of them.
	rpcFrame = 1 << 20
)

// A connection on which nothing was heard for rpcPingAfter is asked, and closed when no answer came for rpcPingTimeout more: a peer that is
// silent is noticed after their sum.
const (
	rpcPingAfter   = 400 * time.Millisecond
	rpcPingTimeout = 800 * time.Millisecond
)

// rpcListener is where the other nodes of the cluster speak to this one, and nobody else can: HTTP/2, and streams of replication, over mutual TLS.
type rpcListener struct {
	http    http.Server
	addr    net.Addr
	door    *join.Door // nil where no node is let in
	logger  *slog.Logger
	stopped chan struct{}

	mu        sync.Mutex
	streams   streamServer  // nil: none are taken now
	taken     chan struct{} // closed when streams are taken
	strangers []net.Conn    // oldest first
	peers     map[mq.NodeID]int
	members   map[net.Conn]mq.NodeID
}

// streamServer serves a stream of replication until it ends.
type streamServer func(conn net.Conn, from mq.NodeID)

// serveRPC starts serving. The handler finds out by [Peer] who asks. With a door, who has no certificate yet may ask for one, on connections that reach
// the door and nothing else.
func serveRPC(listener net.Listener, certs *pki.Identity, handler http.Handler, door *join.Door, logger *slog.Logger) *rpcListener {
	l := &rpcListener{
		addr: listener.Addr(), door: door, logger: logger, stopped: make(chan struct{}), taken: make(chan struct{}),
		peers: make(map[mq.NodeID]int), members: make(map[net.Conn]mq.NodeID),
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	config, others := certs.NodeServerTLS(), make(map[string]func(*http.Server, *tls.Conn, http.Handler))
	others[pki.StreamProtocol] = func(_ *http.Server, conn *tls.Conn, _ http.Handler) { l.serveStream(conn) }
	if door != nil {
		config = certs.JoinServerTLS()
		others[pki.JoinProtocol] = func(_ *http.Server, conn *tls.Conn, _ http.Handler) { door.Serve(conn) }
	}
	l.http = http.Server{
		Handler: onlyPeers(handler), TLSNextProto: others, TLSConfig: config, Protocols: protocols, HTTP2: rpcHTTP2(),
		ReadHeaderTimeout: rpcHandshakeTimeout, IdleTimeout: rpcIdleTimeout, MaxHeaderBytes: 64 << 10,
		ConnState: l.connState, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	go func() {
		defer close(l.stopped)
		if err := l.http.Serve(tls.NewListener(listener, config)); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("the listener for nodes ended: the others do not reach this node any more", "addr", l.addr.String(), "error", err)
		}
	}()
	return l
}

func rpcHTTP2() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams: rpcStreams, MaxReadFrameSize: rpcFrame,
		MaxReceiveBufferPerStream: rpcStreamWindow, MaxReceiveBufferPerConnection: rpcConnWindow,
		SendPingTimeout: rpcPingAfter, PingTimeout: rpcPingTimeout, WriteByteTimeout: rpcWriteTimeout,
	}
}

// takeStreams has serve called with each connection that speaks [pki.StreamProtocol] from now on, those that wait included, and who has it. When it returns, the
// connection is closed. With nil they wait.
func (l *rpcListener) takeStreams(serve streamServer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case serve == nil && l.streams != nil:
		l.taken = make(chan struct{})
	case serve != nil && l.streams == nil:
		close(l.taken)
	}
	l.streams = serve
}

func (l *rpcListener) serveStream(conn *tls.Conn) {
	node, ok := pki.PeerNode(conn.ConnectionState())
	if !ok {
		return
	}
	l.connState(conn, http.StateActive) // the library tells this of HTTP only
	if serve := l.serverOf(conn); serve != nil {
		serve(conn, node)
	}
}

// serverOf waits until streams are taken: a node that starts would otherwise have each of the others shake hands in vain, again and again. It is nil when the
// connection is one too many, nobody takes it for long, or the listener closes.
func (l *rpcListener) serverOf(conn net.Conn) streamServer {
	patience := time.NewTimer(rpcStreamPatience)
	defer patience.Stop()
	for {
		l.mu.Lock()
		serve, taken := l.streams, l.taken
		_, member := l.members[conn]
		l.mu.Unlock()
		if serve != nil || !member {
			return serve
		}
		select {
		case <-taken:
		case <-patience.C:
			return nil
		case <-l.stopped:
			return nil
		}
	}
}

// Addr is where the listener was bound.
func (l *rpcListener) Addr() net.Addr { return l.addr }

// Close lets requests under way finish for a moment, then closes all connections: what is left then are streams of peers, which live as long as
// their connections do.
func (l *rpcListener) Close(ctx context.Context) error {
	if l.door != nil {
		defer l.door.Close()
	}
	ctx, cancel := context.WithTimeout(ctx, rpcGrace)
	defer cancel()
	err := l.http.Shutdown(ctx)
	if err != nil { // its time is over
		err = l.http.Close()
	}
	<-l.stopped
	return err
}

// connState counts connections, and closes those that are too many.
func (l *rpcListener) connState(conn net.Conn, state http.ConnState) {
	var excess net.Conn
	l.mu.Lock()
	switch state {
	case http.StateNew:
		if l.strangers = append(l.strangers, conn); len(l.strangers) > rpcStrangers {
			excess, l.strangers = l.strangers[0], l.strangers[1:]
		}
	case http.StateActive:
		if _, known := l.members[conn]; !known && l.admit(conn) {
			excess = conn
		}
	case http.StateClosed:
		l.forget(conn)
	}
	l.mu.Unlock()
	if excess != nil {
		l.logger.Warn("a connection from a node, or from who claims to be one, is one too many and is closed", "from", excess.RemoteAddr().String())
		_ = rawConn(excess).Close()
	}
}

// admit makes a stranger that has shaken hands a node's connection, and reports whether it is one too many.
func (l *rpcListener) admit(conn net.Conn) (excess bool) {
	l.dropStranger(conn)
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return true
	}
	node, ok := pki.PeerNode(secure.ConnectionState())
	if !ok || l.peers[node] >= rpcPeerConns {
		return true
	}
	l.peers[node]++
	l.members[conn] = node
	return false
}

func (l *rpcListener) forget(conn net.Conn) {
	l.dropStranger(conn)
	if node, ok := l.members[conn]; ok {
		delete(l.members, conn)
		if l.peers[node]--; l.peers[node] == 0 {
			delete(l.peers, node)
		}
	}
}

func (l *rpcListener) dropStranger(conn net.Conn) {
	for i, c := range l.strangers {
		if c == conn {
			l.strangers = append(l.strangers[:i:i], l.strangers[i+1:]...)
			return
		}
	}
}

// rawConn is what lies under TLS: closing it waits for nobody, while TLS would first try to say goodbye.
func rawConn(conn net.Conn) net.Conn {
	if secure, ok := conn.(*tls.Conn); ok {
		return secure.NetConn()
	}
	return conn
}

type peerKey struct{}

// onlyPeers puts the node that asks into the context of its requests.
func onlyPeers(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil {
			if node, ok := pki.PeerNode(*r.TLS); ok {
				handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), peerKey{}, node)))
				return
			}
		}
		http.Error(w, "only nodes may speak here", http.StatusForbidden)
	})
}

// Peer is the node whose request it is, proven by the certificate of its connection. ok is false for a context of anything else.
func Peer(ctx context.Context) (node mq.NodeID, ok bool) {
	node, ok = ctx.Value(peerKey{}).(mq.NodeID)
	return node, ok
}

// rpcWanted says whether the node is one of several: its certificate was issued for it, by whoever did.
func (n *Node) rpcWanted() bool {
	return !n.seams.Headless && (n.cfg.PKI.Dir != "" || !n.certs.Issues())
}

// openRPC opens the door for the other nodes, and the way to theirs.
func (n *Node) openRPC(context.Context) error {
	if n.mounted() {
		return nil
	}
	if !n.rpcWanted() {
		if len(n.cfg.Node.Controllers) > 0 && !n.seams.Headless {
			return mq.Errorf(mq.InvalidConfig, "node.controllers is set, and this node has a certificate that it made itself: issue one with `rustmq ctl ca node` and give it by --pki")
		}
		return nil
	}
	var door *join.Door
	n.mux, door = n.openJoin()
	n.dialer = newDialer(n.certs, n.seams.Network, n.addressesOf)
	n.onClose(func(context.Context) error {
		n.dialer.close()
		return nil
	})
	listener, err := n.seams.Network.Listen(n.cfg.RPC.Listen)
	if err != nil {
		return mq.Errorf(mq.InvalidConfig, "listen for nodes on %s: %w", n.cfg.RPC.Listen, err)
	}
	if err := n.nameControllers(listener.Addr()); err != nil {
		return errors.Join(err, listener.Close())
	}
	l := serveRPC(listener, n.certs, n.mux, door, n.logger)
	n.rpc = l
	n.onClose(l.Close)
	return nil
}

// RPCAddr is where the listener for nodes was bound; nil when the node is alone in its cluster and has none.
func (n *Node) RPCAddr() net.Addr {
	if n.rpc == nil {
		return nil
	}
	return n.rpc.Addr()
}
