package metadata

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/iotest"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// copyBeside opens a copy of a cluster's metadata beside a store.
func copyBeside(t *testing.T, s *Store, of *bench) *Store {
	t.Helper()
	body, _, err := of.store.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	next, err := s.Beside(body)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// A view has the other cluster's topics, ranges, garbage and epochs, and nothing of its brokers and secrets; what is newer is added, another copy takes its place, and each image is above the one before.
func TestViewOfAnotherClustersMetadata(t *testing.T) {
	b, one, two := newCopied(t)
	source := b.store.Image()

	path := filepath.Join(t.TempDir(), "view.db")
	s, err := Open(Options{Path: path, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	v := Viewing{Cluster: mq.ClusterID{7}, Node: 9, Dir: mq.DirID{9}, Copied: 5, Written: 1234}
	commit := func(object uint64, from, to int64) func(func(*metadatapb.CommitObject) ([]error, error)) error {
		return func(commit func(*metadatapb.CommitObject) ([]error, error)) error {
			verdicts, err := commit(commitCommand(1, object, rangeOf(one, 0, from, to)).GetCommitObject())
			if err != nil || verdicts[0] != nil {
				t.Errorf("%v, %v", verdicts, err)
			}
			return nil
		}
	}
	next := copyBeside(t, s, b)
	if err := next.View(v, commit(500, 10, 20)); err != nil { // an id that was leased after the copy was made
		t.Fatal(err)
	}
	if err := s.TakePlace(next); err != nil {
		t.Fatal(err)
	}
	first := s.Image()
	p := first.Partition(one)
	if first.ClusterID != v.Cluster || first.FeatureLevel != source.FeatureLevel || len(first.Controllers()) != 0 || len(first.Brokers()) != 1 || first.Brokers()[0].ID != 9 ||
		first.Index <= source.Index || first.TopicByName("t") == nil {
		t.Errorf("%+v", first)
	}
	if p.Leader != 9 || !slices.Equal(p.Replicas, []mq.NodeID{9}) || !slices.Equal(p.ISR, p.Replicas) || p.TieredEnd != 20 || p.LeaderEpoch != source.Partition(one).LeaderEpoch {
		t.Errorf("%+v", p)
	}
	if p := first.Partition(two); p.LogStart != 7 {
		t.Errorf("the log start is %d, not where it is at the other cluster", p.LogStart)
	}
	var token []byte
	if err := s.view(func(d *db) { token, _ = d.seekRaw(bucketJoinTokens, nil) }); err != nil || token != nil {
		t.Errorf("token %x, %v", token, err)
	}
	if garbage, err := s.Garbage(0, 10); err != nil || len(garbage) != 1 {
		t.Errorf("garbage %v, %v: who forgets what the other cluster has refused takes it for data", garbage, err)
	}
	if copied, written, err := s.Viewed(); copied != v.Copied || written != v.Written || err != nil {
		t.Errorf("a view of copy %d of %d, %v", copied, written, err)
	}

	if err := s.View(v, commit(501, 20, 30)); err != nil {
		t.Fatal(err)
	}
	second := s.Image()
	if second.Partition(one).TieredEnd != 30 || second.Index <= first.Index {
		t.Errorf("%+v at %d", second.Partition(one), second.Index)
	}

	// Another copy, of less: the index goes on all the same.
	v.Above = second.Index
	next = copyBeside(t, s, b)
	if err := next.View(v, func(func(*metadatapb.CommitObject) ([]error, error)) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := s.TakePlace(next); err != nil {
		t.Fatal(err)
	}
	if third := s.Image(); third.Index <= second.Index || third.Partition(one).TieredEnd != 10 {
		t.Errorf("%+v at %d", third.Partition(one), third.Index)
	}
	next = copyBeside(t, s, b)
	if err := next.Discard(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Beside(bytes.NewReader([]byte("no snapshot at all, but long enough to be one"))); mq.CodeOf(err) != mq.ProtocolViolation {
		t.Errorf("of what is no copy: %v", err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("left %v, %v", left, err)
	}
	if b.store.Image() != source {
		t.Error("the other cluster's metadata have changed")
	}
}

// What reads a copy knows why it fails: a part that is damaged is no trouble of the network, and another copy may be whole.
func TestCopyThatCannotBeReadSaysWhy(t *testing.T) {
	b := newCluster(t, 1)
	body, _, err := b.store.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	whole, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{3, len(whole) / 2, len(whole) - 2} {
		for want, end := range map[mq.Code]error{mq.Corrupt: mq.Errorf(mq.Corrupt, "part 7"), mq.NetworkException: io.ErrUnexpectedEOF} {
			if _, err := b.store.Stage(io.MultiReader(bytes.NewReader(whole[:n]), iotest.ErrReader(end))); mq.CodeOf(err) != want {
				t.Errorf("%d of %d bytes, then %v: %v", n, len(whole), end, err)
			}
		}
	}
}
