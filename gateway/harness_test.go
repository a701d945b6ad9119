package gateway_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"
	"gocloud.dev/blob/memblob"

	rustmqpb "github.com/rustmq/rustmq/api/rustmq/v1"
	"github.com/rustmq/rustmq/api/rustmq/v1/rustmqpbconnect"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
	"github.com/rustmq/rustmq/node/nodetest"
	"github.com/rustmq/rustmq/wal/crashfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startNode is a node of its own, which ends with the test.
func startNode(t *testing.T) *nodetest.Live {
	t.Helper()
	return startNodeOn(t, crashfs.New(1))
}

// startNodeOn is startNode on a disk.
func startNodeOn(t *testing.T, disk *crashfs.FS) *nodetest.Live {
	t.Helper()
	bucket := memblob.OpenBucket(nil)
	cfg := nodetest.Config("/data")
	cfg.WAL = node.WALConfig{SegmentSize: 16 * node.MiB, MaxSize: 64 * node.MiB, QueueSize: 8 * node.MiB}
	cfg.Memory.TailSize = 8 * node.MiB
	n, err := nodetest.StartLive(t.Context(), cfg, nodetest.Seams{FS: disk, Bucket: bucket, Scratch: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := n.Close(ctx); err != nil {
			t.Errorf("close the node: %v", err)
		}
		_ = bucket.Close()
		if t.Failed() {
			t.Logf("what the node said:\n%s", n.Log)
		}
	})
	return n
}

// slowSync is what a sync of a slow disk takes: long enough for much to come meanwhile, and not so long that the node takes its disk for a broken one.
const slowSync = 400 * time.Millisecond

// slowDown has a disk take its time for each sync from now on.
func slowDown(disk *crashfs.FS) {
	disk.Hook(func(c crashfs.Call) error {
		if c.Op == crashfs.OpSync {
			time.Sleep(slowSync)
		}
		return nil
	})
}

// holdSyncs has every sync of the disk wait until goOn is called, which may be more than once.
func holdSyncs(disk *crashfs.FS) (goOn func()) {
	held := make(chan struct{})
	disk.Hook(func(c crashfs.Call) error {
		if c.Op == crashfs.OpSync {
			<-held
		}
		return nil
	})
	return sync.OnceFunc(func() { close(held) })
}

// startCluster is three nodes, which end with the test.
func startCluster(t *testing.T) *nodetest.Cluster {
	t.Helper()
	c, err := nodetest.NewCluster(3, t.TempDir(), func(cfg *node.Config) { cfg.Groups.OffsetsPartitions = 3 })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			t.Logf("close the cluster: %v", err)
		}
	})
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// api is the generated client of all services, over one protocol.
type api struct {
	rustmqpbconnect.ProduceServiceClient
	rustmqpbconnect.ConsumeServiceClient
	rustmqpbconnect.TopicServiceClient
	rustmqpbconnect.GroupServiceClient
	rustmqpbconnect.ClusterServiceClient
}

func newAPI(client connect.HTTPClient, url string, options ...connect.ClientOption) api {
	return api{
		rustmqpbconnect.NewProduceServiceClient(client, url, options...), rustmqpbconnect.NewConsumeServiceClient(client, url, options...),
		rustmqpbconnect.NewTopicServiceClient(client, url, options...), rustmqpbconnect.NewGroupServiceClient(client, url, options...),
		rustmqpbconnect.NewClusterServiceClient(client, url, options...),
	}
}

// overHTTP2 is an HTTP client that speaks HTTP/2 without TLS.
func overHTTP2(t *testing.T) *http.Client {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// overHTTP1 is an HTTP client that speaks HTTP/1.1.
func overHTTP1(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func url(n *nodetest.Live) string { return "http://" + n.AdminAddr().String() }

// protocols are all ways in which the generated client speaks to a node.
func protocols(t *testing.T, n *nodetest.Live) map[string]api {
	t.Helper()
	return map[string]api{
		"connect over HTTP/2":        newAPI(overHTTP2(t), url(n)),
		"connect over HTTP/1.1":      newAPI(overHTTP1(t), url(n)),
		"connect, JSON, over HTTP/2": newAPI(overHTTP2(t), url(n), connect.WithProtoJSON()),
		"gRPC":                       newAPI(overHTTP2(t), url(n), connect.WithGRPC()),
		"gRPC-Web over HTTP/1.1":     newAPI(overHTTP1(t), url(n), connect.WithGRPCWeb()),
	}
}

// deadline is a context within which a test has to be done.
func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// detailOf is the detail that each error has to have.
func detailOf(t *testing.T, err error) *rustmqpb.Error {
	t.Helper()
	failed := new(connect.Error)
	if !asConnect(err, &failed) {
		t.Fatalf("not an error of Connect: %v", err)
	}
	for _, d := range failed.Details() {
		if v, err := d.Value(); err == nil {
			if e, ok := v.(*rustmqpb.Error); ok {
				return e
			}
		}
	}
	t.Fatalf("%v has no detail", err)
	return nil
}

// wantCode fails unless err has a code, in its detail.
func wantCode(t *testing.T, what string, err error, code mq.Code) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error, want %v", what, code)
		return
	}
	if got := mq.Code(detailOf(t, err).GetCode()); got != code {
		t.Errorf("%s: %v, want %v", what, err, code)
	}
}

func request[T any](m *T) *connect.Request[T] { return connect.NewRequest(m) }

// createTopic makes a topic, over any protocol.
func createTopic(ctx context.Context, t *testing.T, a api, name string, partitions int32) {
	t.Helper()
	if _, err := a.CreateTopic(ctx, request(&rustmqpb.CreateTopicRequest{Topic: name, Partitions: partitions})); err != nil {
		t.Fatal(err)
	}
}
