package metadata

import (
	"iter"
	"slices"

	"google.golang.org/protobuf/proto"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
)

// How an image travels: as what turns the image that the other side has into this one, cut into pages. A whole image is what turns
// nothing into it. What is derived (effective settings, names) is derived again at the other end.

const (
	// imagePageBytes is the size that a page has when there is more to come: small beside a connection's window, so that a heartbeat
	// behind it is not late.
	imagePageBytes = 256 << 10

	// MaxImagePageBytes is the most that a page can have, in bytes: one part of an image more than imagePageBytes. A larger one is
	// refused before it is decoded, which bounds what decoding takes.
	MaxImagePageBytes = 1 << 20
)

// ImagePages gives what turns old into now; old is nil for one who has nothing. Both are images of one history, now the later one. There is at
// least one page. The cost is that of what differs. The caller owns the pages.
func ImagePages(old, now *Image) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		p := &imagePager{yield: yield}
		if old == nil {
			old = &Image{}
		} else {
			p.base = old.Index
		}
		p.index = now.Index
		p.begin()
		p.image(Diff(old, now))
		p.end(true)
	}
}

// imagePager gathers parts of an image into pages.
type imagePager struct {
	base, index uint64
	yield       func([]byte) bool
	stopped     bool // the caller wants no more

	page   *metadatapb.ImagePage
	number uint32
	size   int // of what was added, at least
}

func (p *imagePager) begin() {
	p.page = &metadatapb.ImagePage{Base: p.base, Index: p.index, Page: p.number}
	p.number++
	p.size = 0
}

func (p *imagePager) end(last bool) {
	if p.stopped {
		return
	}
	p.page.Last = last
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(p.page)
	if err != nil { // a string that is not UTF-8: commands are refused that have one
		panic("metadata: an image that cannot be encoded: " + err.Error())
	}
	p.stopped = !p.yield(data)
}

// room begins another page when this one is full, and counts what is added next.
func (p *imagePager) room(part proto.Message) {
	const around = 40 // tags, lengths and ids around a part
	n := around + proto.Size(part)
	if p.size > 0 && p.size+n > imagePageBytes {
		p.end(false)
		p.begin()
	}
	p.size += n
}

func (p *imagePager) image(d *Delta) {
	if d.Cluster {
		p.page.Cluster, p.page.ConfigsChanged = clusterRecord(d.New), true
		p.page.Configs = configRecords(d.New.Defaults.Overrides)
		p.size += proto.Size(p.page)
	}
	for _, b := range d.Brokers {
		record := brokerRecord(b)
		p.room(record)
		p.page.Brokers = append(p.page.Brokers, record)
	}
	for _, b := range d.RemovedBrokers {
		p.room((*metadatapb.Topic)(nil))
		p.page.RemovedBrokers = append(p.page.RemovedBrokers, int32(b.ID))
	}
	for _, c := range d.RemovedControllers {
		p.room((*metadatapb.Topic)(nil))
		p.page.RemovedControllers = append(p.page.RemovedControllers, c.RaftID)
	}
	for _, c := range d.Controllers {
		record := controllerRecord(c)
		p.room(record)
		p.page.Controllers = append(p.page.Controllers, record)
	}
	for _, g := range d.Groups {
		record := groupRecord(g)
		p.room(record)
		p.page.GroupConfigs = append(p.page.GroupConfigs, record)
	}
	for _, q := range d.Quotas {
		record := quotaRecord(q)
		p.room(record)
		p.page.Quotas = append(p.page.Quotas, record)
	}
	deleted, created, changed := d.Deleted, d.Created, d.Changed
	for _, c := range changed {
		if c.remade() {
			deleted, created = append(slices.Clip(deleted), c.Old), append(slices.Clip(created), c.New)
		}
	}
	for _, t := range deleted {
		p.room((*metadatapb.Topic)(nil))
		p.page.DeletedTopics = append(p.page.DeletedTopics, t.ID[:])
	}
	for _, t := range created {
		if !p.topic(t, topicRecord(t), t.All()) {
			return
		}
	}
	for _, c := range changed {
		if c.remade() {
			continue
		}
		record := topicRecord(c.New)
		if proto.Equal(record, topicRecord(c.Old)) {
			record = nil // its settings follow from the cluster's, if they changed at all
		}
		if record == nil && len(c.Partitions) == 0 {
			continue
		}
		if !p.topic(c.New, record, c.all()) {
			return
		}
	}
}

// remade says that the topic was deleted, and another made that has its id.
func (c TopicChange) remade() bool { return c.New.count < c.Old.count || c.New.Name != c.Old.Name }

// all goes over the partitions that are new or differ, as they are now.
func (c TopicChange) all() iter.Seq2[int32, *Partition] {
	return func(yield func(int32, *Partition) bool) {
		for _, i := range c.Partitions {
			if !yield(i, c.New.Partition(i)) {
				return
			}
		}
	}
}

// topic adds a topic, on as many pages as it takes. False: the caller wants no more.
func (p *imagePager) topic(t *Topic, record *metadatapb.Topic, partitions iter.Seq2[int32, *Partition]) bool {
	p.room(record)
	change := &metadatapb.TopicChange{Id: t.ID[:], Topic: record}
	p.page.Topics = append(p.page.Topics, change)
	on := p.page
	for i, partition := range partitions {
		state := partitionRecord(partition)
		p.room(state)
		if p.stopped {
			return false
		}
		if on != p.page {
			on, change = p.page, &metadatapb.TopicChange{Id: t.ID[:]}
			p.page.Topics = append(p.page.Topics, change)
		}
		change.Partitions = append(change.Partitions, &metadatapb.PartitionState{Partition: i, State: state})
	}
	return !p.stopped
}

func clusterRecord(img *Image) *metadatapb.Cluster {
	return &metadatapb.Cluster{ClusterId: img.ClusterID[:], FeatureLevel: img.FeatureLevel}
}
