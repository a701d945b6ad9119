package nodetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"gocloud.dev/blob"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
	"github.com/rustmq/rustmq/pki"
	"github.com/rustmq/rustmq/wal"
)

// Live is a node with its listeners open, on free ports of loopback: what speaks to it is a client as users have it.
type Live struct {
	*node.Node
	Log *LogLines // what the node says at level warn and above
}

// Seams are what lies under a live node. Scratch is a directory of the machine for the metadata's database and the certificates.
type Seams struct {
	FS       wal.FS
	Bucket   *blob.Bucket
	Scratch  string
	Metadata metadata.Options // Path is set from Scratch
	network  node.Network
}

// StartLive starts a node with listeners.
func StartLive(ctx context.Context, cfg node.Config, s Seams) (*Live, error) {
	cfg.Server.Listen, cfg.RPC.Listen, cfg.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.PKI.Dir = filepath.Join(s.Scratch, "pki")
	if _, err := os.Stat(cfg.PKI.Dir); err != nil {
		cluster, err := mq.NewClusterID(rand.Reader)
		if err != nil {
			return nil, err
		}
		if _, err := pki.NewAuthority(cfg.PKI.Dir, cluster, time.Now()); err != nil {
			return nil, err
		}
	}
	return startLive(ctx, cfg, s)
}

func startLive(ctx context.Context, cfg node.Config, s Seams) (*Live, error) {
	s.Metadata.Path, s.Metadata.NoSync = filepath.Join(s.Scratch, "metadata.db"), true
	lines := &LogLines{}
	n, err := node.StartWith(ctx, cfg, slog.New(slog.NewTextHandler(lines, &slog.HandlerOptions{Level: slog.LevelWarn})), node.Seams{
		FS: s.FS, Bucket: s.Bucket, Metadata: s.Metadata, Network: s.network,
	})
	if err != nil {
		return nil, err
	}
	return &Live{Node: n, Log: lines}, nil
}

// Client is a client of the node. The caller closes it.
func (n *Live) Client(opts ...client.Option) (*client.Client, error) {
	return client.New(append([]client.Option{client.Servers(n.Addr().String()), client.CAFile(n.CAFile())}, opts...)...)
}

// Get asks the admin listener, as in Get(ctx, "/readyz").
func (n *Live) Get(ctx context.Context, path string) (status int, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.AdminAddr().String()+path, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// LogLines keeps what a logger writes.
type LogLines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *LogLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String is all of it so far.
func (l *LogLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
