package group

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/rustmq/rustmq/mq"
)

// TopicPartitions are partitions of one topic.
type TopicPartitions struct {
	Topic      mq.TopicID
	Partitions []int32 // ascending, without repeats
}

// Partitions is a set of partitions: topics ascending by id, each once and with at least one partition. What this package
// returns is in that form, and shared: it must not be changed. What it is given may be in any order; it is copied.
type Partitions []TopicPartitions

// partition is one partition as a key.
type partition struct {
	topic mq.TopicID
	index int32
}

// possible says whether it can be one: members say what they like.
func (p partition) possible() bool { return p.index >= 0 }

func compareTopics(a, b mq.TopicID) int { return bytes.Compare(a[:], b[:]) }

func comparePartitions(a, b partition) int {
	return cmp.Or(compareTopics(a.topic, b.topic), cmp.Compare(a.index, b.index))
}

// normal is the set in its one form, in memory of its own. It is nil only for nil.
func (p Partitions) normal() Partitions {
	if p.Len() == 0 && p != nil {
		return Partitions{}
	}
	all := p.list()
	slices.SortFunc(all, comparePartitions)
	return fromSorted(slices.Compact(all))
}

// list are the partitions one by one, in the set's order.
func (p Partitions) list() []partition {
	all := make([]partition, 0, p.Len())
	for _, t := range p {
		for _, index := range t.Partitions {
			all = append(all, partition{t.Topic, index})
		}
	}
	return all
}

// fromSorted makes a set of what is ascending and without repeats.
func fromSorted(all []partition) Partitions {
	var set Partitions
	indexes := make([]int32, 0, len(all))
	for i, one := range all {
		if i == 0 || one.topic != all[i-1].topic {
			set = append(set, TopicPartitions{Topic: one.topic})
		}
		last := &set[len(set)-1]
		indexes = append(indexes, one.index)
		last.Partitions = indexes[len(indexes)-len(last.Partitions)-1 : len(indexes) : len(indexes)]
	}
	return set
}

// Len is the number of partitions.
func (p Partitions) Len() int {
	n := 0
	for _, t := range p {
		n += len(t.Partitions)
	}
	return n
}

// Equal says whether both sets, in their form, are the same.
func (p Partitions) Equal(other Partitions) bool {
	return slices.EqualFunc(p, other, func(a, b TopicPartitions) bool {
		return a.Topic == b.Topic && slices.Equal(a.Partitions, b.Partitions)
	})
}

// Has says whether the set, in its form, has a partition.
func (p Partitions) Has(topic mq.TopicID, index int32) bool {
	i, ok := slices.BinarySearchFunc(p, topic, func(t TopicPartitions, id mq.TopicID) int { return compareTopics(t.Topic, id) })
	if !ok {
		return false
	}
	_, ok = slices.BinarySearch(p[i].Partitions, index)
	return ok
}

// filter is what of the set keep wants.
func (p Partitions) filter(keep func(partition) bool) Partitions {
	all := p.list()
	kept := slices.DeleteFunc(all, func(one partition) bool { return !keep(one) })
	if len(kept) == 0 {
		return Partitions{}
	}
	return fromSorted(kept)
}

func (p Partitions) minus(other Partitions) Partitions {
	return p.filter(func(one partition) bool { return !other.Has(one.topic, one.index) })
}

func (p Partitions) and(other Partitions) Partitions {
	return p.filter(func(one partition) bool { return other.Has(one.topic, one.index) })
}

func (p Partitions) plus(other Partitions) Partitions {
	if len(other) == 0 {
		return p
	}
	if len(p) == 0 {
		return other
	}
	return slices.Concat(p, other).normal()
}

// within says whether all of the set is in the other one.
func (p Partitions) within(other Partitions) bool {
	for _, t := range p {
		for _, index := range t.Partitions {
			if !other.Has(t.Topic, index) {
				return false
			}
		}
	}
	return true
}

// meets says whether the sets have a partition in common.
func (p Partitions) meets(other Partitions) bool {
	for _, t := range p {
		for _, index := range t.Partitions {
			if other.Has(t.Topic, index) {
				return true
			}
		}
	}
	return false
}
