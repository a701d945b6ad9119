package nodetest

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/tier/faultstore"
	"github.com/rustmq/rustmq/wal"
)

var badNames = []string{
	"", ".", "..", "a/b", "../../etc/passwd", `a\b`, "a\x00b", "a b", "tab\t", "naïve", "日本", "a:b", "*", strings.Repeat("x", 250), "new\nline", "\xff\xfe",
}

// TestTopicNamesAreValidatedEverywhere gives bad names to the client, and past it to the broker, on the wire and by itself.
func TestTopicNamesAreValidatedEverywhere(t *testing.T) {
	t.Parallel()
	n := roomy(t)
	c := dial(t, n)
	conn, control := n.raw(t, quicproto.ALPN)
	hello := quicproto.Hello{MinVersion: quicproto.MinVersion, MaxVersion: quicproto.MaxVersion}
	if _, err := control.Write(quicproto.AppendFrame(nil, &hello)); err != nil {
		t.Fatal(err)
	}
	ask := func(body quicproto.RequestBody) error {
		stream, err := conn.OpenStreamSync(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		defer stream.CancelRead(0)
		if _, err := stream.Write(quicproto.AppendFrame(nil, quicproto.NewRequest(body, 0))); err != nil {
			t.Fatal(err)
		}
		if err := stream.Close(); err != nil {
			t.Fatal(err)
		}
		f, err := quicproto.NewFrameReader(stream, 0).Read()
		if err != nil {
			t.Fatal(err)
		}
		return f.(*quicproto.Response).Err()
	}
	for _, name := range badNames {
		l := &Ledger{Topic: name, Partitions: 1}
		if err := l.CreateTopic(soon(t), c); mq.CodeOf(err) != mq.InvalidTopic {
			t.Errorf("the client creates %q: %v", name, err)
		}
		for _, body := range []quicproto.RequestBody{
			&quicproto.CreateTopicRequest{Name: name, Partitions: 1, Replicas: 1},
			&quicproto.DeleteTopicRequest{Name: name},
			&quicproto.DescribeTopicRequest{Name: name},
			&quicproto.AlterTopicRequest{Name: name, Partitions: 2},
			&quicproto.ListOffsetsRequest{Topic: name},
		} {
			if len(name) > mq.MaxTopicNameBytes {
				continue // no frame can hold it
			}
			// What is no text does not get past the protocol.
			if err := ask(body); mq.CodeOf(err) != mq.InvalidTopic && mq.CodeOf(err) != mq.ProtocolViolation {
				t.Errorf("%T of %q: %v", body, name, err)
			}
		}
		if _, err := n.Broker().OpenProduce(t.Context(), &session, name); mq.CodeOf(err) != mq.InvalidTopic {
			t.Errorf("produce to %q: %v", name, err)
		}
		if _, err := n.Broker().OpenFetch(t.Context(), &session, name, 0, mq.NoEpoch, mq.IsolationCommitted); mq.CodeOf(err) != mq.InvalidTopic {
			t.Errorf("consume %q: %v", name, err)
		}
	}
}

// TestTopicNamesReachNoPath uses names that would do harm in a path, as far as the rules let them, and looks at all files and objects.
func TestTopicNamesReachNoPath(t *testing.T) {
	t.Parallel()
	store := faultstore.New()
	scratch := t.TempDir()
	cfg := Config(filepath.Join(scratch, "data"))
	cfg.WAL = node.WALConfig{SegmentSize: 1 << 20, MaxSize: 16 << 20, QueueSize: 1 << 20}
	n := live(t, &Rig{Config: cfg}, Seams{FS: wal.OS(), Bucket: store.Bucket()})
	c := dial(t, n)
	names := []string{"...", "..a", "-rf", "con.nul", strings.Repeat("y", 249), "segment.wal"}
	for _, name := range names {
		l := &Ledger{Topic: name, Partitions: 1}
		if err := l.CreateTopic(soon(t), c); err != nil {
			t.Fatal(err)
		}
		l.Produce(soon(t), c, 5, 100)
		l.Wait()
		if err := l.Check(soon(t), c); err != nil {
			t.Errorf("topic %q: %v", name, err)
		}
		until(t, "the topic is in the store", func() bool { return tiered(t, c, name) })
	}
	paths := store.Keys()
	if len(paths) == 0 {
		t.Error("no object was written")
	}
	err := filepath.WalkDir(cfg.Node.DataDir, func(path string, _ fs.DirEntry, err error) error {
		paths = append(paths, filepath.ToSlash(strings.TrimPrefix(path, cfg.Node.DataDir)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		for part := range strings.SplitSeq(path, "/") {
			for _, name := range names {
				if part == name || len(name) > 10 && strings.Contains(part, name) {
					t.Errorf("topic name %q is in path %q", name, path)
				}
			}
		}
	}
}
