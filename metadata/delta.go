package metadata

import (
	"cmp"
	"slices"

	"github.com/rustmq/rustmq/mq"
)

// Delta is what differs between two images. Lists are sorted by id.
type Delta struct {
	Old, New *Image

	Created []*Topic
	Deleted []*Topic      // as they were
	Changed []TopicChange // other settings, or partitions that were added or changed
	// Brokers that registered, changed or were fenced, as they are now.
	Brokers []*Broker
	// RemovedBrokers as they were.
	RemovedBrokers []*Broker
	// Controllers that were added or changed, as they are now, by raft id.
	Controllers []*Controller
	// RemovedControllers as they were.
	RemovedControllers []*Controller
	// Groups that set something else for themselves than they did, as they are now: those that set nothing any more have no Overrides, and come first.
	Groups []*GroupConfig
	// Quotas that are new or have changed, as they are now: those that are no more have no limits, and come first.
	Quotas []*Quota
	// Cluster says that the id, feature level or defaults of the cluster changed.
	Cluster bool
}

// TopicChange is a topic that is in both images. From one generation to the next it may have fewer partitions.
type TopicChange struct {
	Old, New *Topic
	// ConfigChanged says that effective settings differ.
	ConfigChanged bool
	// Partitions that are new or differ, ascending.
	Partitions []int32
}

// Empty says that nothing differs but the index.
func (d *Delta) Empty() bool {
	return len(d.Created)+len(d.Deleted)+len(d.Changed)+len(d.Brokers)+len(d.RemovedBrokers)+len(d.Controllers)+
		len(d.RemovedControllers)+len(d.Groups)+len(d.Quotas) == 0 && !d.Cluster
}

// PartitionIDs lists the partitions of c that are new or differ.
func (c TopicChange) PartitionIDs() []mq.PartitionID {
	ids := make([]mq.PartitionID, len(c.Partitions))
	for i, p := range c.Partitions {
		ids[i] = mq.PartitionID{Topic: c.New.ID, Index: p}
	}
	return ids
}

// Diff says what changed from one image to a later one, be it of the next generation. It looks only at what the two do not share.
func Diff(old, now *Image) *Delta {
	d := &Delta{Old: old, New: now}
	d.Cluster = old.ClusterID != now.ClusterID || old.FeatureLevel != now.FeatureLevel || !old.Defaults.equal(&now.Defaults)
	d.diffBrokers()
	d.diffControllers()
	diffNodes(old.topics.root, now.topics.root, func(_ mq.TopicID, before, after *Topic) {
		switch {
		case before == nil:
			d.Created = append(d.Created, after)
		case after == nil:
			d.Deleted = append(d.Deleted, before)
		default:
			if change, changed := diffTopic(before, after); changed {
				d.Changed = append(d.Changed, change)
			}
		}
	})
	d.diffGroups()
	d.diffQuotas()
	slices.SortFunc(d.Created, compareTopics)
	slices.SortFunc(d.Deleted, compareTopics)
	slices.SortFunc(d.Changed, func(a, b TopicChange) int { return compareTopics(a.New, b.New) })
	return d
}

func compareTopics(a, b *Topic) int { return slices.Compare(a.ID[:], b.ID[:]) }

func (c *ClusterConfig) equal(o *ClusterConfig) bool {
	return c.Partitions == o.Partitions && c.ReplicationFactor == o.ReplicationFactor && c.Topic == o.Topic &&
		slices.Equal(c.Overrides, o.Overrides)
}

func (d *Delta) diffBrokers() {
	for _, b := range d.New.brokers {
		if before := d.Old.broker(b.ID); before == nil || before != b && !before.equal(b) {
			d.Brokers = append(d.Brokers, b)
		}
	}
	for _, b := range d.Old.brokers {
		if d.New.broker(b.ID) == nil {
			d.RemovedBrokers = append(d.RemovedBrokers, b)
		}
	}
	slices.SortFunc(d.Brokers, func(a, b *Broker) int { return cmp.Compare(a.ID, b.ID) })
}

func (d *Delta) diffControllers() {
	for _, c := range d.New.controllers {
		if before := d.Old.Controller(c.RaftID); before == nil || *before != *c {
			d.Controllers = append(d.Controllers, c)
		}
	}
	for _, c := range d.Old.controllers {
		if d.New.Controller(c.RaftID) == nil {
			d.RemovedControllers = append(d.RemovedControllers, c)
		}
	}
}

func (d *Delta) diffGroups() {
	diffNodes(d.Old.groups.root, d.New.groups.root, func(name string, before, after *GroupConfig) {
		switch {
		case after == nil:
			d.Groups = append(d.Groups, &GroupConfig{Group: name})
		case before == nil || !slices.Equal(before.Overrides, after.Overrides):
			d.Groups = append(d.Groups, after)
		}
	})
	slices.SortFunc(d.Groups, func(a, b *GroupConfig) int {
		if sets := len(b.Overrides) > 0; sets != (len(a.Overrides) > 0) { // who takes over one after the other has never more than there may be
			return cmp.Compare(len(a.Overrides), len(b.Overrides))
		}
		return cmp.Compare(a.Group, b.Group)
	})
}

func (d *Delta) diffQuotas() {
	diffNodes(d.Old.quotas.root, d.New.quotas.root, func(e QuotaEntity, before, after *Quota) {
		switch {
		case after == nil:
			d.Quotas = append(d.Quotas, &Quota{Entity: e})
		case before == nil || *before != *after:
			d.Quotas = append(d.Quotas, after)
		}
	})
	slices.SortFunc(d.Quotas, func(a, b *Quota) int {
		if a.empty() != b.empty() { // as for groups
			if a.empty() {
				return -1
			}
			return 1
		}
		return a.Entity.Compare(b.Entity)
	})
}

func (b *Broker) equal(o *Broker) bool {
	return b.ID == o.ID && b.Incarnation == o.Incarnation && b.Epoch == o.Epoch && b.Dir == o.Dir && b.Rack == o.Rack &&
		b.Fenced == o.Fenced && b.ShuttingDown == o.ShuttingDown && b.Draining == o.Draining && b.MaxFeatureLevel == o.MaxFeatureLevel && slices.Equal(b.Endpoints, o.Endpoints)
}

func diffTopic(before, after *Topic) (change TopicChange, changed bool) {
	change = TopicChange{Old: before, New: after}
	change.ConfigChanged = before.Config != after.Config || !slices.Equal(before.Overrides, after.Overrides)
	for c, chunk := range after.chunks {
		if c < len(before.chunks) && before.chunks[c] == chunk {
			continue
		}
		for i := int32(c) * partitionsPerChunk; i < min(int32(c+1)*partitionsPerChunk, after.count); i++ {
			if p, q := before.Partition(i), after.Partition(i); p == nil || p != q && !p.equal(q) {
				change.Partitions = append(change.Partitions, i)
			}
		}
	}
	return change, change.ConfigChanged || len(change.Partitions) > 0 || after.count < before.count
}

func (p *Partition) equal(o *Partition) bool {
	return p.Leader == o.Leader && p.LeaderEpoch == o.LeaderEpoch && p.PartitionEpoch == o.PartitionEpoch && p.LogStart == o.LogStart &&
		p.TieredEnd == o.TieredEnd && slices.Equal(p.Replicas, o.Replicas) && slices.Equal(p.ISR, o.ISR) &&
		slices.Equal(p.Eligible, o.Eligible) && p.LostDir == o.LostDir && p.UncleanEpoch == o.UncleanEpoch &&
		p.Reassignment.equal(o.Reassignment)
}

// diffNodes visits the keys of two tries of which the values are not the same: with a nil value where one has none.
func diffNodes[K comparable, V any](a, b *trieNode[K, *V], visit func(key K, before, after *V)) {
	if a == b {
		return
	}
	if a != nil && b != nil && a.bitmap != 0 && b.bitmap != 0 {
		for rest := a.bitmap | b.bitmap; rest != 0; rest &= rest - 1 {
			bit := rest & -rest
			diffSlots(a.slot(bit), b.slot(bit), visit)
		}
		return
	}
	diffEntries(a, b, visit)
}

// slot is the slot for one bit, or nil.
func (n *trieNode[K, V]) slot(bit uint32) *trieSlot[K, V] {
	if n.bitmap&bit == 0 {
		return nil
	}
	return &n.slots[onesBelow(n.bitmap, bit)]
}

func diffSlots[K comparable, V any](a, b *trieSlot[K, *V], visit func(key K, before, after *V)) {
	switch {
	case a != nil && b != nil && a.child != nil && b.child != nil:
		diffNodes(a.child, b.child, visit)
	case a != nil && b != nil && a.child == nil && b.child == nil && a.key == b.key:
		if a.value != b.value {
			visit(a.key, a.value, b.value)
		}
	default:
		diffEntries(a.node(), b.node(), visit)
	}
}

// node makes a node of a slot's contents, whatever they are.
func (s *trieSlot[K, V]) node() *trieNode[K, V] {
	switch {
	case s == nil:
		return nil
	case s.child != nil:
		return s.child
	}
	return &trieNode[K, V]{slots: []trieSlot[K, V]{*s}}
}

// diffEntries compares nodes of different shape. One of the two holds a key or none, or both hold the few keys of one hash.
func diffEntries[K comparable, V any](a, b *trieNode[K, *V], visit func(key K, before, after *V)) {
	a.each(func(key K, before *V) bool {
		if after := b.find(key); after != before {
			visit(key, before, after)
		}
		return true
	})
	b.each(func(key K, after *V) bool {
		if a.find(key) == nil {
			visit(key, nil, after)
		}
		return true
	})
}

// find looks through all of a node.
func (n *trieNode[K, V]) find(key K) (found V) {
	n.each(func(k K, v V) bool {
		if k == key {
			found = v
			return false
		}
		return true
	})
	return found
}
