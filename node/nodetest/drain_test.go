package nodetest

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/quicproto"
)

// TestDrainingNodeIsNotReady keeps a node from being closed by a client that asks again and again, and looks what it says meanwhile.
func TestDrainingNodeIsNotReady(t *testing.T) {
	n := roomy(t)
	if status, _, err := n.Get(soon(t), "/readyz"); err != nil || status != http.StatusOK {
		t.Fatalf("before: %d %v", status, err)
	}
	conn, control := n.raw(t, quicproto.ALPN)
	hello := quicproto.Hello{MinVersion: quicproto.MinVersion, MaxVersion: quicproto.MaxVersion}
	if _, err := control.Write(quicproto.AppendFrame(nil, &hello)); err != nil {
		t.Fatal(err)
	}
	// A request that is never finished: its stream stays open.
	stream, err := conn.OpenStreamSync(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Write([]byte{0}); err != nil {
		t.Fatal(err)
	}
	until(t, "the stream is open", func() bool { return n.metric(t, "rustmq_streams") >= 1 })
	ctx, cut := context.WithCancel(t.Context())
	defer cut()
	closed := make(chan error, 1)
	go func() { closed <- n.Close(ctx) }()
	until(t, "the node says that it drains", func() bool {
		status, body, err := n.Get(soon(t), "/readyz")
		return err == nil && status == http.StatusServiceUnavailable && strings.Contains(body, "draining")
	})
	if status, body, err := n.Get(soon(t), "/livez"); err != nil || status != http.StatusOK {
		t.Errorf("a node that drains is not to be restarted: %d %s %v", status, body, err)
	}
	cut()
	if err := <-closed; err != nil {
		t.Logf("what was cut off: %v", err)
	}
	if _, _, err := n.Get(soon(t), "/livez"); err == nil {
		t.Error("it answers after Close")
	}
}

func TestTopicThatIsNewHadNoUncleanElection(t *testing.T) {
	t.Parallel()
	n := roomy(t)
	c, err := n.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.CreateTopic(soon(t), client.NewTopic{Name: "fresh", Partitions: 3, Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	if said := n.Log.String(); strings.Contains(said, "unclean") {
		t.Error(said)
	}
}
