package nodetest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"gocloud.dev/blob/memblob"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// startKafka starts a node that serves Kafka clients.
func startKafka(t *testing.T, change ...func(*node.Config)) (*Live, context.Context) {
	t.Helper()
	return startKafkaOn(t, wal.OS(), filepath.Join(t.TempDir(), "data"), change...)
}

// startKafkaOn starts it with its data in a directory of a file system.
func startKafkaOn(t *testing.T, fsys wal.FS, data string, change ...func(*node.Config)) (*Live, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	bucket := memblob.OpenBucket(nil)
	t.Cleanup(func() { _ = bucket.Close() })
	cfg := Config(data)
	cfg.WAL.SegmentSize, cfg.WAL.MaxSize, cfg.WAL.QueueSize = 4<<20, 64<<20, 8<<20
	for _, f := range change {
		f(&cfg)
	}
	n, err := StartLive(ctx, cfg, Seams{FS: fsys, Bucket: bucket, Scratch: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
		if lines := n.Log.String(); lines != "" {
			t.Logf("the node said:\n%s", lines)
		}
	})
	return n, ctx
}

// kafkaClient is a client of the node, without TLS.
func kafkaClient(t *testing.T, n *Live, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(n.Addr().String()), kgo.AllowAutoTopicCreation(), kgo.FetchMaxWait(250 * time.Millisecond)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// consume reads count records of a topic from the start.
func consume(ctx context.Context, t *testing.T, n *Live, topic string, count int, opts ...kgo.Opt) (records []*kgo.Record) {
	t.Helper()
	cl := kafkaClient(t, n, append([]kgo.Opt{kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}, opts...)...)
	for len(records) < count {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", len(records), count, err)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}

func TestKafkaClientsProduceAndConsume(t *testing.T) {
	n, ctx := startKafka(t)
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	acks := map[string]kgo.Acks{"none": kgo.NoAck(), "leader": kgo.LeaderAck(), "all": kgo.AllISRAcks()}
	for codec, c := range codecs {
		for ack, a := range acks {
			topic := "t-" + codec + "-" + ack
			t.Run(topic, func(t *testing.T) {
				opts := []kgo.Opt{kgo.ProducerBatchCompression(c), kgo.RequiredAcks(a), kgo.DefaultProduceTopic(topic)}
				if ack != "all" {
					opts = append(opts, kgo.DisableIdempotentWrite())
				}
				cl := kafkaClient(t, n, opts...)
				const count = 300
				for i := range count {
					cl.Produce(ctx, &kgo.Record{
						Key: fmt.Appendf(nil, "k%d", i), Value: bytes.Repeat([]byte{byte(i)}, i),
						Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}}, Timestamp: time.UnixMilli(int64(1000 + i)),
					}, func(_ *kgo.Record, err error) {
						if err != nil {
							t.Errorf("record %d: %v", i, err)
						}
					})
				}
				if err := cl.Flush(ctx); err != nil {
					t.Fatal(err)
				}
				seen := make(map[string]bool)
				for _, r := range consume(ctx, t, n, topic, count) {
					var i int
					if _, err := fmt.Sscanf(string(r.Key), "k%d", &i); err != nil || !bytes.Equal(r.Value, bytes.Repeat([]byte{byte(i)}, i)) ||
						r.Timestamp.UnixMilli() != int64(1000+i) || len(r.Headers) != 1 || r.Headers[0].Key != "h" {
						t.Fatalf("record %q came back as %v", r.Key, r)
					}
					seen[string(r.Key)] = true
				}
				if len(seen) != count {
					t.Fatalf("%d of %d records came back", len(seen), count)
				}
			})
		}
	}
}

// A producer goes on when the node that it produces to has been fenced and is back: its partitions are led by the same node then, in another epoch. (franz-go heard of that epoch by
// an error, and of none by metadata, since OffsetForLeaderEpoch was not offered, and waited for a leader for ever.)
func TestKafkaProducerGoesOnWhenItsNodeIsBack(t *testing.T) {
	disk := crashfs.New(1)
	n, ctx := startKafkaOn(t, disk, "/data")
	cl := kafkaClient(t, n, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite(), kgo.DefaultProduceTopic("t"))
	if err := cl.ProduceSync(ctx, &kgo.Record{Value: []byte("before")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	answers := make(chan struct{})
	disk.Hook(func(c crashfs.Call) error {
		if c.Op == crashfs.OpSync && strings.HasPrefix(c.Path, "/data/wal/") {
			<-answers
		}
		return nil
	})
	var failed atomic.Pointer[error]
	more := func() {
		cl.Produce(ctx, &kgo.Record{Value: []byte("more")}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
	}
	more()
	until(t, "the node fenced", func() bool { more(); return strings.Contains(n.Log.String(), "a broker is fenced") })
	disk.Hook(nil)
	close(answers)
	if err := cl.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if err := failed.Load(); err != nil {
		t.Fatal(*err)
	}
}

func TestKafkaOverTLSWithoutALPN(t *testing.T) {
	n, ctx := startKafka(t, func(c *node.Config) { c.Kafka.Plaintext = "never" })
	pem, err := os.ReadFile(n.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cl := kafkaClient(t, n, kgo.DialTLSConfig(&tls.Config{RootCAs: roots, MinVersion: version, MaxVersion: version}), kgo.DefaultProduceTopic("secret"))
		if err := cl.ProduceSync(ctx, &kgo.Record{Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	plain := kafkaClient(t, n, kgo.RetryTimeout(time.Second))
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	if err := plain.Ping(short); err == nil {
		t.Fatal("a client without TLS was served where kafka.plaintext is never")
	}
}

// What Kafka clients write our client reads, and the other way round, in every codec.
func TestKafkaAndNativeClientsReadEachOther(t *testing.T) {
	n, ctx := startKafka(t)
	native, err := n.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = native.Close() }()
	for name, codecs := range map[string]struct {
		kafka  kgo.CompressionCodec
		native mq.Compression
	}{
		"none": {kgo.NoCompression(), mq.CompressionNone}, "gzip": {kgo.GzipCompression(), mq.CompressionGzip}, "snappy": {kgo.SnappyCompression(), mq.CompressionSnappy},
		"lz4": {kgo.Lz4Compression(), mq.CompressionLZ4}, "zstd": {kgo.ZstdCompression(), mq.CompressionZstd},
	} {
		topic := "shared-" + name
		if _, err := native.CreateTopic(ctx, client.NewTopic{Name: topic, Partitions: 1, Replicas: 1}); err != nil {
			t.Fatal(err)
		}
		value, at := bytes.Repeat([]byte(name), 100), time.UnixMilli(1234567)
		ours, err := n.Client(client.Compression(codecs.native, 0))
		if err != nil {
			t.Fatal(err)
		}
		if err := ours.ProduceSync(ctx, &client.Record{Topic: topic, Key: []byte("native"), Value: value, Headers: []mq.Header{{Key: "h", Value: nil}}, Timestamp: at}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		_ = ours.Close()
		theirs := kafkaClient(t, n, kgo.ProducerBatchCompression(codecs.kafka))
		if err := theirs.ProduceSync(ctx, &kgo.Record{Topic: topic, Key: []byte("kafka"), Value: value, Headers: []kgo.RecordHeader{{Key: "h"}}, Timestamp: at}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		want := []string{"0 native", "1 kafka"}
		var seen []string
		for _, r := range consume(ctx, t, n, topic, 2) {
			seen = append(seen, fmt.Sprintf("%d %s", r.Offset, r.Key))
			if !bytes.Equal(r.Value, value) || !r.Timestamp.Equal(at) || len(r.Headers) != 1 || r.Headers[0].Key != "h" || r.Headers[0].Value != nil {
				t.Errorf("%s: a Kafka client read %v", name, r)
			}
		}
		if !slices.Equal(seen, want) {
			t.Errorf("%s: a Kafka client read %q", name, seen)
		}
		seen = nil
		for _, r := range readNatively(ctx, t, native, topic, 2) {
			seen = append(seen, fmt.Sprintf("%d %s", r.Offset, r.Key))
			if !bytes.Equal(r.Value, value) || !r.Timestamp.Equal(at) || len(r.Headers) != 1 || r.Headers[0].Key != "h" || r.Headers[0].Value != nil {
				t.Errorf("%s: a native client read %v", name, r)
			}
		}
		if !slices.Equal(seen, want) {
			t.Errorf("%s: a native client read %q", name, seen)
		}
	}
}

// readNatively reads count records of partition 0 with our client.
func readNatively(ctx context.Context, t *testing.T, c *client.Client, topic string, count int) (records []*client.Record) {
	t.Helper()
	k, err := c.NewConsumer(client.Assign(topic, 0, client.Start()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = k.Close() }()
	for r, err := range k.Records(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if records = append(records, r); len(records) == count {
			break
		}
	}
	return records
}

func TestKafkaListOffsets(t *testing.T) {
	n, ctx := startKafka(t)
	cl := kafkaClient(t, n, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic("times"))
	for _, ms := range []int64{1000, 5000, 3000, 5000, 4000} {
		if err := cl.ProduceSync(ctx, &kgo.Record{Value: []byte("v"), Timestamp: time.UnixMilli(ms)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ at, offset, timestamp int64 }{
		{-1, 5, -1}, {-2, 0, -1}, {-3, 1, 5000}, {0, 0, 1000}, {1000, 0, 1000}, {1001, 1, 5000}, {5001, -1, -1}, {-4, 0, -1},
	} {
		req := kmsg.NewPtrListOffsetsRequest()
		topic := kmsg.NewListOffsetsRequestTopic()
		topic.Topic = "times"
		part := kmsg.NewListOffsetsRequestTopicPartition()
		part.Timestamp = c.at
		topic.Partitions = append(topic.Partitions, part)
		req.Topics = append(req.Topics, topic)
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			t.Fatal(err)
		}
		got := resp.Topics[0].Partitions[0]
		if err := kerr.ErrorForCode(got.ErrorCode); err != nil || got.Offset != c.offset || got.Timestamp != c.timestamp {
			t.Errorf("time %d: offset %d, timestamp %d, %v; want %d, %d", c.at, got.Offset, got.Timestamp, err, c.offset, c.timestamp)
		}
	}
}
