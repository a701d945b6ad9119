package node

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/broker"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier"
)

// RoleMount is what runs in a data directory that was made as a mount: the view of another cluster's bucket, and neither broker nor controller. It is no setting.
const RoleMount = "mount"

const (
	// mountLeast is how soon the bucket is looked at again at the earliest, when a reader has met an object that is gone.
	mountLeast = 200 * time.Millisecond
	// mountPatience is how long a start waits for the first look: then what was seen last is shown meanwhile.
	mountPatience = 10 * time.Second
)

// mount is a node's read-only view of what the object store has of another cluster, which may live and write on. It is this node's way to the metadata, in which nothing can be
// decided: it has no log, and nothing here applies a command. The view follows the bucket by [mount.refresh].
type mount struct {
	id      identity
	source  mq.ClusterID
	store   *metadata.Store
	objects *tier.Store // which refuses to write
	every   time.Duration
	now     func() time.Time
	began   time.Time
	logger  *slog.Logger

	asked chan struct{} // holds one: a reader has met an object that is gone
	told  func()        // who waits for what is new; nil: nobody does
	shown atomic.Pointer[mountState]
	fails atomic.Int64
	looks atomic.Int64

	// The rest is of whoever refreshes.
	viewing metadata.Viewing
	taken   bool                    // the copy that viewing names was taken in by this process, and what it shows of it is whole; else it is taken anew, if there is no newer one
	strays  map[uint64][]tier.Stray // what objects have that the copy does not know, by object
}

// mountState is how the last look at the bucket went.
type mountState struct {
	seen    time.Time // of the last one that worked; zero: none has since this process began
	written int64     // of the copy of the metadata, milliseconds since 1970; 0: not known
	err     error     // of the last one
}

var (
	_ cluster      = (*mount)(nil)
	_ broker.Mount = (*mount)(nil)
)

// newMount makes the view of what is in the database so far.
func (n *Node) newMount() *mount {
	m := &mount{
		id: n.id, source: *n.id.Mount, store: n.store, objects: n.objects, every: n.cfg.ObjectStore.MountInterval, now: n.seams.Wall, logger: n.logger,
		asked: make(chan struct{}, 1), strays: make(map[uint64][]tier.Stray),
		viewing: metadata.Viewing{Cluster: n.id.Cluster, Node: n.id.Node, Dir: n.id.Dir, Rack: n.cfg.Node.Rack},
	}
	m.began = m.now()
	m.shown.Store(&mountState{err: mq.Errorf(mq.ObjectStoreUnavailable, "it has not been looked at yet")})
	return m
}

// mounted says that this node is a view of another cluster's bucket.
func (n *Node) mounted() bool { return n.id.Mount != nil }

// openMount opens the view that a data directory is made for. A bucket that is away keeps it from nothing: what was seen last is shown until it is back.
func (n *Node) openMount(ctx context.Context) error {
	if !n.mounted() {
		return nil
	}
	if err := n.openObjects(ctx); err != nil {
		return err
	}
	if err := n.openStore(); err != nil {
		return err
	}
	if img := n.store.Image(); img.ClusterID != n.id.Cluster {
		return mq.Errorf(mq.WrongDataDir, "%s in %s is of cluster %s, and %s says %s: the directory was put together from two copies", metadataFile, n.cfg.Node.DataDir, img.ClusterID,
			identityFile, n.id.Cluster)
	}
	endpoints, err := n.endpoints()
	if err != nil {
		return err
	}
	m := n.newMount()
	for _, e := range endpoints {
		m.viewing.Endpoints = append(m.viewing.Endpoints, metadata.Endpoint{Listener: e.GetListener(), Host: e.GetHost(), Port: uint16(e.GetPort())})
	}
	if m.viewing.Copied, m.viewing.Written, err = n.store.Viewed(); err != nil {
		return mq.Wrapf(err, "read which copy of the metadata is shown")
	}
	n.mount, n.cluster = m, m
	if err := m.viewOf(n.store, m.viewing, nil); err != nil { // where it is reached now
		return err
	}
	first, cancel := context.WithTimeout(ctx, mountPatience)
	defer cancel()
	_ = m.look(first) // it is noted
	return n.openReader()
}

// followMount keeps the view like the bucket.
func (n *Node) followMount(context.Context) error {
	if n.mounted() {
		n.mount.told = n.broker.Viewed
		n.background(n.mount.run)
	}
	return nil
}

// run looks once in every interval, sooner while that fails, and when a reader asks for it.
func (m *mount) run(ctx context.Context) {
	asked, pause := m.asked, time.Duration(0) // before the next look, as the last one failed
	if m.shown.Load().err != nil {
		asked, pause = nil, min(mountLeast, m.every)
	}
	timer := time.NewTimer(cmp.Or(pause, m.every))
	defer timer.Stop()
	for {
		inTurn := false
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			inTurn = true
		case <-asked:
			select { // whoever has asked meanwhile is answered, too
			case <-ctx.Done():
				return
			case <-time.After(min(mountLeast, m.every)):
			}
		}
		changed, err := m.lookOn(ctx)
		switch {
		case err != nil:
			asked, pause = nil, min(max(2*pause, mountLeast), m.every)
			timer.Reset(pause)
		case inTurn:
			asked, pause = m.asked, 0
			timer.Reset(m.every)
		case !changed:
			asked = nil // the object is gone for good, as it seems: until the next turn another look would find no more
		}
	}
}

// lookOn looks, and has those look who wait, if there is anything new.
func (m *mount) lookOn(ctx context.Context) (changed bool, err error) {
	before := m.store.Image()
	err = m.look(ctx)
	if changed = m.store.Image() != before; changed {
		m.told()
	}
	return changed, err
}

// look refreshes the view, and notes how that went.
func (m *mount) look(ctx context.Context) error {
	err := m.refresh(ctx)
	if errors.Is(ctx.Err(), context.Canceled) {
		return err
	}
	m.looks.Add(1)
	before := m.shown.Load()
	now := &mountState{seen: before.seen, written: m.viewing.Written, err: err}
	switch {
	case err != nil:
		m.fails.Add(1)
		if before.err == nil || before.seen.IsZero() {
			m.logger.Warn("the bucket of the cluster that is mounted cannot be looked at: what was seen last is shown; it is tried again", "cluster", m.source, "error", err)
		}
	default:
		now.seen = m.now()
		if before.err != nil && !before.seen.IsZero() {
			m.logger.Info("the bucket of the cluster that is mounted is looked at again", "cluster", m.source)
		}
	}
	m.shown.Store(now)
	return err
}

// Missing implements broker.Mount.
func (m *mount) Missing() {
	select {
	case m.asked <- struct{}{}:
	default:
	}
}

// Refusal implements broker.Mount.
func (m *mount) Refusal() error {
	return mq.Errorf(mq.ReadOnly, "cluster %s is a read-only mount of cluster %s: nothing can be changed here, do it at cluster %s", m.id.Cluster, m.source, m.source)
}

// Mounted implements broker.Mount.
func (m *mount) Mounted() broker.Mounted {
	s := m.shown.Load()
	out := broker.Mounted{Source: m.source, Seen: s.seen, Err: s.err}
	if s.written > 0 {
		out.Copied = time.UnixMilli(s.written)
	}
	if !s.seen.IsZero() {
		out.Age = max(0, m.now().Sub(s.seen))
	}
	return out
}

// note is for who asks how the node is.
func (m *mount) note() string {
	s := m.Mounted()
	text := "this is a read-only mount of cluster " + s.Source.String()
	switch {
	case s.Seen.IsZero():
		return text + ": its bucket has not been reached since the start, what was seen before that is shown: " + s.Err.Error()
	case s.Err != nil:
		return text + " as of " + s.Seen.UTC().Format(time.RFC3339) + ": its bucket cannot be looked at: " + s.Err.Error()
	}
	return text + " as of " + s.Seen.UTC().Format(time.RFC3339)
}

// Image implements broker.Controller.
func (m *mount) Image() *metadata.Image { return m.store.Image() }

// Watch implements cluster.
func (m *mount) Watch() *metadata.Watch { return m.store.Watch() }

// Leader implements broker.Controller: nobody decides here.
func (m *mount) Leader() mq.NodeID { return mq.NoNode }

// Stale implements broker.Controller: how old the view is, its state says.
func (m *mount) Stale() time.Duration { return 0 }

// CatchUp implements broker.Controller: it shows what it has seen.
func (m *mount) CatchUp(context.Context) error { return nil }

// Propose implements broker.Controller.
func (m *mount) Propose(ctx context.Context, command *metadatapb.Command) (*metadatapb.Result, error) {
	return m.decide(ctx, command)
}

func (m *mount) decide(context.Context, *metadatapb.Command) (*metadatapb.Result, error) {
	return nil, m.Refusal()
}

// Ranges implements cluster.
func (m *mount) Ranges(_ context.Context, p mq.PartitionID, from mq.Offset, limit int) ([]metadata.Range, error) {
	return m.store.Ranges(p, from, limit)
}

// Checkpoint implements cluster.
func (m *mount) Checkpoint(_ context.Context, p mq.PartitionID) (metadata.Checkpoint, bool, error) {
	return m.store.Checkpoint(p)
}

// refresh makes the view what the bucket has now: by the newest copy of the metadata, if there is a newer one, and by the footers of objects that it does not know. While no newer copy can be
// used, what objects have is taken in all the same.
func (m *mount) refresh(ctx context.Context) error {
	all, _, err := tier.ListCheckpoints(ctx, m.objects, bucketPrefix(m.source))
	if err != nil {
		return err
	}
	next, c, err := m.newer(ctx, all)
	if next == nil {
		if m.store.Image().ClusterID != m.id.Cluster { // it has no view yet
			return err
		}
		return cmp.Or(err, m.extend(ctx, m.store, m.viewing))
	}
	v := m.viewing
	v.Above, v.Copied, v.Written = m.store.Position().Index, c.Index, c.Written
	if err := m.extend(ctx, next, v); err != nil {
		return errors.Join(err, next.Discard())
	}
	if err := m.store.TakePlace(next); err != nil {
		return err
	}
	m.viewing, m.taken = v, true
	return nil
}

// newer receives the newest of the copies of the metadata that is whole, if it is to be taken in; nil: there is none. One that is older than what was shown is taken only where no other is there: then
// the other cluster has gone back, and else what is newer is damaged.
func (m *mount) newer(ctx context.Context, all []*tier.Checkpoint) (*metadata.Store, *tier.Checkpoint, error) {
	for i, c := range slices.Backward(all) {
		if c.Index < m.viewing.Copied && i < len(all)-1 || c.Index == m.viewing.Copied && m.taken {
			return nil, nil, nil
		}
		next, err := m.receive(ctx, c)
		if err == nil {
			return next, c, nil
		}
		if !spoilt(err) {
			return nil, nil, err
		}
		m.logger.Warn("a copy of the metadata cannot be used: the one before is tried", "key", c.Key, "error", err)
	}
	switch {
	case len(all) > 0:
		return nil, nil, mq.Errorf(mq.Corrupt, "%s has no copy of the metadata of cluster %s that is whole: %d are damaged", m.objects, m.source, len(all))
	case m.viewing.Copied > 0:
		return nil, nil, mq.Errorf(mq.ObjectStoreUnavailable, "%s has no copy of the metadata of cluster %s any more: is it the same bucket, and may everything in it be listed?", m.objects, m.source)
	}
	return nil, nil, mq.Errorf(mq.InvalidConfig, "%s has no copy of the metadata of cluster %s yet: its leading controller writes one every object_store.checkpoint_interval", m.objects, m.source)
}

func (m *mount) receive(ctx context.Context, c *tier.Checkpoint) (*metadata.Store, error) {
	if err := c.Load(ctx, m.objects); err != nil {
		return nil, err
	}
	next, err := m.store.Beside(c.Open(ctx, m.objects))
	if err != nil {
		return nil, err
	}
	if at, id := next.Position().Index, next.Image().ClusterID; at != c.Index || id != m.source {
		return nil, errors.Join(mq.Errorf(mq.Corrupt, "checkpoint %s says index %d of cluster %s, and holds index %d of cluster %s", c.Key, c.Index, m.source, at, id), next.Discard())
	}
	return next, nil
}

// extend adds what objects have beyond a copy of the metadata, and makes it a view if it is none yet.
func (m *mount) extend(ctx context.Context, to *metadata.Store, v metadata.Viewing) error {
	if err := m.survey(ctx, to); err != nil {
		return err
	}
	strays := make(map[mq.PartitionID][]tier.Stray)
	for _, of := range m.strays {
		for _, s := range of {
			strays[s.Partition] = append(strays[s.Partition], s)
		}
	}
	chains, err := chainsOf(to, strays)
	if err != nil || to == m.store && len(chains) == 0 {
		return err
	}
	return m.viewOf(to, v, chains)
}

// viewOf makes a copy of the metadata the view of this run of the node, with chains of ranges that it has not.
func (m *mount) viewOf(store *metadata.Store, v metadata.Viewing, chains map[mq.PartitionID][]tier.Stray) error {
	return store.View(v, func(commit func(*metadatapb.CommitObject) ([]error, error)) error {
		return commitStrays(chains, func(ranges []tier.Stray) (map[mq.PartitionID]bool, error) {
			return adoptStrays(ranges, commit, m.logger)
		})
	})
}

// survey reads the footers of objects that a copy of the metadata does not know. Each is read once, a damaged one too, and forgotten when the object is gone, or a copy knows it.
func (m *mount) survey(ctx context.Context, to *metadata.Store) error {
	kept, failed := make(map[uint64][]tier.Stray), error(nil)
	wanted := func(id uint64) bool {
		of, seen := m.strays[id]
		if seen && to == m.store {
			kept[id] = of
			return false
		}
		_, _, known, err := to.Object(id)
		failed = errors.Join(failed, err)
		if !known {
			kept[id] = of
		}
		return !known && !seen
	}
	var found []tier.Stray
	err := tier.Survey(ctx, m.objects.For(tier.ClassRead), bucketPrefix(m.source), m.logger, wanted, func(of []tier.Stray) { found = append(found, of...) })
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	for _, s := range found {
		kept[s.ObjectID] = append(kept[s.ObjectID], s)
	}
	for id, of := range m.strays {
		if _, there := kept[id]; !there && len(of) > 0 && to == m.store {
			m.taken = false // what the view has of it is nowhere now: the next look takes the copy anew
		}
	}
	m.strays = kept
	return nil
}

// mountSample is what metrics say of a mount.
type mountSample struct {
	age          float64 // in seconds
	looks, fails int64
}

func (m *mount) sample() mountSample {
	age := m.Mounted().Age
	if m.shown.Load().seen.IsZero() {
		age = m.now().Sub(m.began)
	}
	return mountSample{age: age.Seconds(), looks: m.looks.Load(), fails: m.fails.Load()}
}

func mountMetrics() []metric {
	return []metric{
		{name: "rustmq_mount_looks_total", help: "Looks of a read-only mount at the bucket of the other cluster.", kind: counter, value: func(s *sample) float64 { return float64(s.mount.looks) }},
		{name: "rustmq_mount_failures_total", help: "Of those, the ones that failed.", kind: counter, value: func(s *sample) float64 { return float64(s.mount.fails) }},
		{name: "rustmq_mount_age_seconds", help: "Since the last look that did not fail, and until there is one since the start; 0 on a node that is no mount.", kind: gauge, value: func(s *sample) float64 { return s.mount.age }},
	}
}
