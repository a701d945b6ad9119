package group

import (
	"cmp"
	"fmt"
	"slices"
)

// rangeClass are topics with as many partitions and the same subscribers: partitions of the same number go to the same one.
type rangeClass struct {
	topics      []*Topic
	subscribers []int // in the order in which they are served
}

// assignRange gives each subscriber to a topic a run of its partitions, of which the first subscribers, by instance or else by id, get one more where it
// does not come out even. Topics that fit together are assigned together. Where racks matter, a number of partitions first goes to
// a subscriber in whose rack all topics have it, as long as that one has room.
func assignRange(subscribers []Subscriber) []Partitions {
	result := make([]Partitions, len(subscribers))
	for _, c := range rangeClasses(subscribers) {
		for number, i := range c.assign(subscribers) {
			for _, t := range c.topics {
				result[i] = append(result[i], TopicPartitions{Topic: t.ID, Partitions: []int32{int32(number)}})
			}
		}
	}
	for i := range result {
		result[i] = result[i].normal()
	}
	return result
}

func rangeClasses(subscribers []Subscriber) []*rangeClass {
	order := make([]int, len(subscribers))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := subscribers[a], subscribers[b]
		return cmp.Or(cmp.Compare(cmp.Or(x.Instance, x.Member), cmp.Or(y.Instance, y.Member)), cmp.Compare(x.Member, y.Member))
	})
	wanted := make(map[*Topic][]int)
	var topics []*Topic
	for _, i := range order {
		for _, t := range subscribers[i].Topics {
			if wanted[t] == nil {
				topics = append(topics, t)
			}
			wanted[t] = append(wanted[t], i)
		}
	}
	slices.SortFunc(topics, func(a, b *Topic) int { return compareTopics(a.ID, b.ID) })
	var classes []*rangeClass
	byKey := make(map[string]*rangeClass)
	for _, t := range topics {
		key := fmt.Sprint(t.Partitions, wanted[t])
		c := byKey[key]
		if c == nil {
			c = &rangeClass{subscribers: wanted[t]}
			byKey[key] = c
			classes = append(classes, c)
		}
		c.topics = append(c.topics, t)
	}
	return classes
}

// assign says for each number of a partition to whom it goes.
func (c *rangeClass) assign(subscribers []Subscriber) []int {
	partitions, n := int(c.topics[0].Partitions), len(c.subscribers)
	to, room := slices.Repeat([]int{-1}, partitions), make([]int, n)
	share, more := partitions/n, partitions%n
	for k := range room {
		room[k] = share
		if k < more {
			room[k]++
		}
	}
	if c.racksMatter(subscribers) {
		for number := range to {
			for k, i := range c.subscribers {
				if room[k] > 0 && c.near(number, subscribers[i].Rack) {
					to[number] = i
					room[k]--
					break
				}
			}
		}
	}
	k := 0
	for number := range to {
		if to[number] >= 0 {
			continue
		}
		for room[k] == 0 {
			k++
		}
		to[number] = c.subscribers[k]
		room[k]--
	}
	return to
}

// near says whether all topics have a replica of the partition of this number in a rack.
func (c *rangeClass) near(number int, rack string) bool {
	if rack == "" {
		return false
	}
	for _, t := range c.topics {
		if number >= len(t.Racks) || !slices.Contains(t.Racks[number], rack) {
			return false
		}
	}
	return true
}

// racksMatter says whether there is anything to gain: where everybody is near to everything, or to nothing, order is all.
func (c *rangeClass) racksMatter(subscribers []Subscriber) bool {
	some, all := false, true
	for number := range int(c.topics[0].Partitions) {
		for _, i := range c.subscribers {
			near := c.near(number, subscribers[i].Rack)
			some, all = some || near, all && near
		}
	}
	return some && !all
}
