package group

import (
	"cmp"
	"slices"

	"github.com/rustmq/rustmq/mq"
)

// Topic is what a coordinator knows of a topic.
type Topic struct {
	Name       string
	ID         mq.TopicID
	Partitions int32
	// Racks of each partition's replicas, without repeats. Nil when unknown; else one entry per partition.
	Racks [][]string
	// Internal topics are found by patterns that have their whole names in them, and by no others.
	Internal bool
}

// Topics are all topics of the cluster, as of one version of its metadata. It does not change once made.
type Topics struct {
	version uint64
	byName  []*Topic // ascending
	byID    map[mq.TopicID]*Topic
	names   map[string]*Topic
}

// NewTopics makes a catalogue of topics, each with a name and an id of its own. Version is that of the metadata it was made of:
// one with a greater version takes the place of an older one, never the other way round. It keeps what it is given.
func NewTopics(version uint64, topics []Topic) *Topics {
	all := &Topics{version: version, byID: make(map[mq.TopicID]*Topic, len(topics)), names: make(map[string]*Topic, len(topics))}
	for i := range topics {
		t := &topics[i]
		all.byName = append(all.byName, t)
		all.byID[t.ID], all.names[t.Name] = t, t
	}
	slices.SortFunc(all.byName, func(a, b *Topic) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Version is that of the metadata.
func (t *Topics) Version() uint64 { return t.version }

// Named finds a topic by its name, or gives nil.
func (t *Topics) Named(name string) *Topic { return t.names[name] }

// WithID finds a topic by its id, or gives nil.
func (t *Topics) WithID(id mq.TopicID) *Topic { return t.byID[id] }
