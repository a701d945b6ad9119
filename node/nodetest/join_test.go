package nodetest

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
	"github.com/rustmq/rustmq/pki/join"
)

// withAuthority has one node sign certificates of new ones.
func withAuthority(id int) func(*node.Config) {
	return func(cfg *node.Config) {
		if cfg.Node.ID == id {
			cfg.PKI.AuthorityDir = filepath.Join(filepath.Dir(filepath.Dir(cfg.PKI.Dir)), "ca")
		}
	}
}

// token has a member make a token for a node, which is to use it at another.
func (m *Member) token(ctx context.Context, id mq.NodeID, at *Member) (*join.Token, error) {
	return node.CreateToken(ctx, m.cfg.PKI.Dir, node.TokenRequest{Node: id, TTL: time.Hour, Server: m.cfg.RPC.Listen, Address: at.cfg.RPC.Listen})
}

// join uses a token at a member.
func (m *Member) join(ctx context.Context, t *testing.T, token *join.Token) error {
	at := *token
	at.Address = m.cfg.RPC.Listen
	return join.Join(ctx, &at, filepath.Join(t.TempDir(), "pki"), []string{"127.0.0.1"}, func(ctx context.Context, addr string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	})
}

// A token is the cluster's: any node makes it, any node takes it, once on all together, whatever restarts in between.
func TestJoinTokenMadeAnywhereIsTakenAnywhereOnce(t *testing.T) {
	t.Parallel()
	c, ctx := newCluster(t, 3, withAuthority(3))
	one, two, three := c.Nodes[0], c.Nodes[1], c.Nodes[2]
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	token, err := one.token(ctx, 4, two)
	if err != nil {
		t.Fatal(err)
	}
	unused, err := two.token(ctx, 5, two)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range c.Nodes {
		m.Kill()
	}
	if err := c.Start(ctx, two, three); err != nil { // who made it is away
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*join.Token){
		"another secret": func(t *join.Token) { t.Secret[3]++ },
		"another node":   func(t *join.Token) { t.Node = 6 },
		"another token":  func(t *join.Token) { t.ID[3]++ },
	} {
		bad := *token
		spoil(&bad)
		if err := two.join(ctx, t, &bad); mq.CodeOf(err) != mq.ClusterAuthorizationFailed {
			t.Errorf("%s: %v", name, err)
		}
	}
	errs := make([]error, 8)
	var wait sync.WaitGroup
	for i := range errs { // at the node that signs, and at one that asks it to
		wait.Go(func() { errs[i] = c.Nodes[1+i%2].join(ctx, t, token) })
	}
	wait.Wait()
	joined := 0
	for _, err := range errs {
		switch mq.CodeOf(err) {
		case mq.None:
			joined++
		case mq.ClusterAuthorizationFailed:
		default:
			t.Errorf("%v", err)
		}
	}
	if joined != 1 {
		t.Errorf("%d nodes got a certificate with one token: %v", joined, errors.Join(errs...))
	}
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := one.join(ctx, t, token); mq.CodeOf(err) != mq.ClusterAuthorizationFailed {
		t.Errorf("it is taken again: %v", err)
	}
	if err := three.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if err := two.join(ctx, t, unused); mq.CodeOf(err) != mq.UnsupportedVersion {
		t.Errorf("without the authority's key: %v", err)
	}
	if err := c.Start(ctx, three); err != nil {
		t.Fatal(err)
	}
	if err := two.join(ctx, t, unused); err != nil {
		t.Errorf("the token is gone, and nobody has joined with it: %v", err)
	}
}

// The first nodes of a cluster get their certificates before there is one. What is left of their tokens the cluster keeps.
func TestJoinTokenMadeBeforeTheClusterOutlivesItsMaker(t *testing.T) {
	t.Parallel()
	c, ctx := newCluster(t, 3, withAuthority(1))
	one, two := c.Nodes[0], c.Nodes[1]
	started := make(chan error, 1)
	go func() { started <- c.Start(ctx, one) }() // it waits for the others
	var early, later *join.Token
	for {
		var err error
		if early, err = one.token(ctx, 4, one); err == nil {
			break
		}
		if mq.CodeOf(err) != mq.NetworkException && mq.CodeOf(err) != mq.UnsupportedVersion || ctx.Err() != nil { // it does not listen yet
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	later, err := one.token(ctx, 5, two)
	if err != nil {
		t.Fatal(err)
	}
	if err := one.join(ctx, t, early); err != nil {
		t.Fatalf("before there is a cluster: %v", err)
	}
	if err := c.Start(ctx, c.Nodes[1:]...); err != nil {
		t.Fatal(err)
	}
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	one.Kill()
	if err := c.Start(ctx, one); err != nil {
		t.Fatal(err)
	}
	if err := two.join(ctx, t, later); err != nil {
		t.Errorf("a token of before there was a cluster: %v", err)
	}
	if err := two.join(ctx, t, early); mq.CodeOf(err) != mq.ClusterAuthorizationFailed {
		t.Errorf("a token that was used before there was a cluster: %v", err)
	}
}
