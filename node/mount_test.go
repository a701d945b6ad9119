package node

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// emptyMount is a mount of a cluster that has written nothing.
func emptyMount(t *testing.T, bucket *blob.Bucket) *Node {
	t.Helper()
	n := &Node{
		cfg: Default(), seams: Seams{Bucket: bucket, Wall: time.Now, Metadata: metadata.Options{Path: filepath.Join(t.TempDir(), "metadata.db"), NoSync: true}},
		logger: slog.New(slog.DiscardHandler), id: identity{Format: mountFormat, Cluster: mq.ClusterID{1}, Node: 1, Dir: mq.DirID{1}, Mount: &mq.ClusterID{2}},
	}
	if err := errors.Join(n.openObjects(t.Context()), n.openStore()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close(context.Background()) })
	n.mount = n.newMount()
	return n
}

// Whoever gets hold of what a mount has, the bucket and the metadata, can change neither.
func TestMountHasNothingToWriteWith(t *testing.T) {
	bucket := memblob.OpenBucket(nil)
	defer bucket.Close()
	n := emptyMount(t, bucket)
	ctx := t.Context()
	if err := n.objects.For(tier.ClassUpload).Put(ctx, "k", []byte("x"), 0); mq.CodeOf(err) != mq.ReadOnly {
		t.Errorf("put: %v", err)
	}
	if err := n.objects.Delete(ctx, "k"); mq.CodeOf(err) != mq.ReadOnly {
		t.Errorf("delete: %v", err)
	}
	for what, propose := range map[string]func(context.Context, *metadatapb.Command) (*metadatapb.Result, error){"Propose": n.mount.Propose, "decide": n.mount.decide} {
		if _, err := propose(ctx, &metadatapb.Command{Kind: &metadatapb.Command_ReclaimRanges{ReclaimRanges: &metadatapb.ReclaimRanges{Limit: 1}}}); mq.CodeOf(err) != mq.ReadOnly {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n.hasRole(RoleBroker) || n.hasRole(RoleController) || !n.servesClients() {
		t.Error("a mount has a role of a cluster that writes")
	}
}

// writeCopy writes a copy of the metadata of the cluster that an emptyMount is of.
func writeCopy(t *testing.T, bucket *blob.Bucket) {
	t.Helper()
	db, err := metadata.Open(metadata.Options{Path: filepath.Join(t.TempDir(), "source.db"), NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	source := mq.ClusterID{2}
	if err := db.View(metadata.Viewing{Cluster: source, Node: 1}, func(func(*metadatapb.CommitObject) ([]error, error)) error { return nil }); err != nil {
		t.Fatal(err)
	}
	body, at, err := db.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	c := &tier.Checkpoint{Cluster: source, Node: 1, Index: at.Index, Term: at.Term, Written: 1}
	if err := tier.WriteCheckpoint(t.Context(), tier.NewStore(bucket, tier.Limits{}), bucketPrefix(source), c, body); err != nil {
		t.Fatal(err)
	}
}

// A bucket that is away is looked at again soon, and ever less often, whoever asks; the age of what is shown grows meanwhile.
func TestMountLooksAgainSoonAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := memblob.OpenBucket(nil)
		defer bucket.Close()
		n := emptyMount(t, bucket)
		m := n.mount
		m.told = func() {}
		ctx, stop := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			m.run(ctx)
		}()
		for range 100 {
			m.Missing()
			time.Sleep(m.every / 100)
		}
		synctest.Wait()
		if looks := m.looks.Load(); looks < 5 || looks > 12 || m.fails.Load() != looks {
			t.Errorf("%d looks in an interval, %d failed", looks, m.fails.Load())
		}
		if age := m.sample().age; age != m.every.Seconds() {
			t.Errorf("the age is %v s after %v without a look that worked", age, m.every)
		}
		writeCopy(t, bucket)
		time.Sleep(m.every)
		synctest.Wait()
		if s := m.shown.Load(); s.err != nil || m.sample().age > m.every.Seconds() {
			t.Errorf("an interval after it is back: %v", s.err)
		}
		stop()
		<-stopped
	})
}

// An object that is gone for good costs one look more, and not one for each read that misses it.
func TestMountLooksNoMoreOftenThanIsOfUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := memblob.OpenBucket(nil)
		defer bucket.Close()
		writeCopy(t, bucket)
		n := emptyMount(t, bucket)
		m := n.mount
		m.told = func() {}
		if err := m.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			m.run(ctx)
		}()
		time.Sleep(m.every + time.Second) // a look that finds nothing new
		synctest.Wait()
		if looks := m.looks.Load(); looks != 2 {
			t.Errorf("%d looks until an interval is over", looks)
		}
		for range 100 {
			m.Missing()
			time.Sleep(m.every / 200)
		}
		synctest.Wait()
		if looks := m.looks.Load(); looks != 3 {
			t.Errorf("%d looks until half an interval more is over", looks)
		}
		stop()
		<-stopped
	})
}

// An older program takes the directory of a mount for one of a newer version, and so does this one where the identity does not say what it is of.
func TestDirectoryOfAMountIsNoOther(t *testing.T) {
	fsys := crashfs.New(1)
	id := identity{Format: mountFormat, Cluster: mq.ClusterID{1}, Node: 1, Dir: mq.DirID{1}, Formed: true, Roles: []string{RoleMount}, Mount: &mq.ClusterID{2}}
	if err := id.check(fsys, "/d", 1, mq.ClusterID{}); err != nil {
		t.Errorf("a mount: %v", err)
	}
	for what, change := range map[string]func(*identity){
		"of nothing":         func(id *identity) { id.Mount = nil },
		"in an older format": func(id *identity) { id.Format = FormatVersion },
		"of another node":    func(id *identity) { id.Node = 2 },
	} {
		bad := id
		change(&bad)
		if err := bad.check(fsys, "/d", 1, mq.ClusterID{}); mq.CodeOf(err) != mq.WrongDataDir {
			t.Errorf("%s: %v", what, err)
		}
	}
	if id.ran(RoleBroker) || id.ran(RoleController) {
		t.Error("a mount has run as a node that writes")
	}
}
