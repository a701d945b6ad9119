package group

import (
	"cmp"
	"slices"

	"github.com/rustmq/rustmq/mq"
)

// uniform gives partitions one by one to whoever has least, and takes from who has most.
type uniform struct {
	subscribers []Subscriber
	topics      []uniformTopic // by id
	byTopic     []map[int]int  // of each subscriber: how many partitions it has of each topic that it has any of
	wants       [][]int        // of each subscriber: the topics, ascending
	load        []int
}

// uniformTopic is a topic with who wants it and who has what of it, nobody being -1.
type uniformTopic struct {
	*Topic
	subscribers []int
	has, had    []int
}

// assignUniform makes it as even as it can be made: nobody has two partitions more than another to whom one of them could go, be it by way of others.
// Of all ways to that it moves few partitions from those that have them. Where nothing of that is at stake a partition goes to
// a rack that it is in.
func assignUniform(subscribers []Subscriber) []Partitions {
	u := newUniform(subscribers)
	u.keep()
	u.fill()
	u.even()
	return u.result()
}

func newUniform(subscribers []Subscriber) *uniform {
	u := &uniform{
		subscribers: subscribers, byTopic: make([]map[int]int, len(subscribers)), wants: make([][]int, len(subscribers)),
		load: make([]int, len(subscribers)),
	}
	index := make(map[*Topic]int)
	var all []*Topic
	for _, s := range subscribers {
		for _, t := range s.Topics {
			if _, ok := index[t]; !ok {
				index[t] = 0
				all = append(all, t)
			}
		}
	}
	slices.SortFunc(all, func(a, b *Topic) int { return compareTopics(a.ID, b.ID) })
	u.topics = make([]uniformTopic, len(all))
	for i, t := range all {
		index[t] = i
		u.topics[i] = uniformTopic{Topic: t, has: slices.Repeat([]int{-1}, int(t.Partitions)), had: slices.Repeat([]int{-1}, int(t.Partitions))}
	}
	for i, s := range subscribers {
		u.byTopic[i] = make(map[int]int)
		for _, t := range s.Topics {
			u.wants[i] = append(u.wants[i], index[t])
			u.topics[index[t]].subscribers = append(u.topics[index[t]].subscribers, i)
		}
		slices.Sort(u.wants[i])
	}
	return u
}

// keep leaves everything where it is that may stay there.
func (u *uniform) keep() {
	for i, s := range u.subscribers {
		for _, has := range s.Has {
			t, ok := slices.BinarySearchFunc(u.topics, has.Topic, func(t uniformTopic, id mq.TopicID) int { return compareTopics(t.ID, id) })
			if !ok {
				continue
			}
			if _, wanted := slices.BinarySearch(u.wants[i], t); !wanted {
				continue
			}
			for _, p := range has.Partitions {
				if p >= 0 && p < u.topics[t].Partitions && u.topics[t].has[p] < 0 {
					u.topics[t].had[p] = i
					u.give(t, int(p), i)
				}
			}
		}
	}
}

func (u *uniform) give(t, p, to int) {
	if from := u.topics[t].has[p]; from >= 0 {
		u.load[from]--
		u.byTopic[from][t]--
	}
	u.topics[t].has[p] = to
	u.load[to]++
	u.byTopic[to][t]++
}

// fill gives away what nobody has: first within racks, up to everybody's share, what has the fewest places to go to before the others; then what is left.
func (u *uniform) fill() {
	type free struct{ t, p, near int }
	var all []free
	total := 0
	racks := slices.ContainsFunc(u.subscribers, func(s Subscriber) bool { return s.Rack != "" })
	for t, topic := range u.topics {
		total += len(topic.has)
		for p, has := range topic.has {
			if has >= 0 {
				continue
			}
			one := free{t: t, p: p}
			for _, i := range topic.subscribers {
				if racks && u.near(t, p, i) {
					one.near++
				}
			}
			all = append(all, one)
		}
	}
	share := total / max(1, len(u.subscribers))
	slices.SortStableFunc(all, func(a, b free) int { return cmp.Compare(a.near, b.near) })
	for _, one := range all {
		if one.near == 0 {
			continue
		}
		if to := u.least(one.t, func(i int) bool { return u.load[i] < share && u.near(one.t, one.p, i) }); to >= 0 {
			u.give(one.t, one.p, to)
		}
	}
	slices.SortStableFunc(all, func(a, b free) int {
		return cmp.Compare(len(u.topics[a.t].subscribers), len(u.topics[b.t].subscribers))
	})
	for _, one := range all {
		if u.topics[one.t].has[one.p] >= 0 {
			continue
		}
		to := u.least(one.t, func(int) bool { return true })
		if racks && one.near > 0 {
			least := u.load[to]
			if near := u.least(one.t, func(i int) bool { return u.load[i] == least && u.near(one.t, one.p, i) }); near >= 0 {
				to = near
			}
		}
		u.give(one.t, one.p, to)
	}
}

// near says whether a replica of the partition is in the subscriber's rack.
func (u *uniform) near(t, p, subscriber int) bool {
	rack := u.subscribers[subscriber].Rack
	return rack != "" && p < len(u.topics[t].Racks) && slices.Contains(u.topics[t].Racks[p], rack)
}

// least is who has least of those subscribers to a topic that may, or -1.
func (u *uniform) least(t int, may func(int) bool) int {
	least := -1
	for _, i := range u.topics[t].subscribers {
		if may(i) && (least < 0 || u.load[i] < u.load[least]) {
			least = i
		}
	}
	return least
}

// even takes from who has most until nobody could give to one who has at least two less. Each round makes the sum of the squares smaller.
func (u *uniform) even() {
	stuck := make([]bool, len(u.load))
	for {
		most := -1
		for i, n := range u.load {
			if !stuck[i] && (most < 0 || n > u.load[most]) {
				most = i
			}
		}
		if most < 0 || u.load[most]-slices.Min(u.load) < 2 {
			return
		}
		if !u.relieve(most) {
			stuck[most] = true
			continue
		}
		clear(stuck)
	}
}

// step is how a partition can get to a subscriber: one of topic, from another one.
type step struct{ from, topic int }

// relieve takes a partition from a subscriber, along the shortest way to the one of those on it who has least.
func (u *uniform) relieve(from int) bool {
	least, most := slices.Min(u.load), u.load[from]-2
	way := map[int]step{from: {-1, -1}}
	seen := make([]bool, len(u.topics))
	best := -1
	for queue := []int{from}; len(queue) > 0 && best < 0; {
		var next []int
		for _, a := range queue {
			for _, t := range u.wants[a] {
				if seen[t] || u.byTopic[a][t] == 0 {
					continue
				}
				seen[t] = true
				for _, b := range u.topics[t].subscribers {
					if _, known := way[b]; known {
						continue
					}
					way[b] = step{a, t}
					next = append(next, b)
					if u.load[b] <= most && (best < 0 || u.load[b] < u.load[best]) {
						best = b
					}
				}
				if best >= 0 && u.load[best] == least {
					u.move(way, best)
					return true
				}
			}
		}
		queue = next
	}
	if best < 0 {
		return false
	}
	u.move(way, best)
	return true
}

// move hands partitions on along a way, so that its end has one more and its beginning one less.
func (u *uniform) move(way map[int]step, to int) {
	for s := way[to]; s.from >= 0; to, s = s.from, way[s.from] {
		u.give(s.topic, u.pick(s.topic, s.from, to), to)
	}
}

// pick chooses which partition of a topic goes: one that its owner did not have before, then one that gets nearer, then the last.
func (u *uniform) pick(t, from, to int) int {
	best, bestScore := -1, -1
	for p, has := range u.topics[t].has {
		if has != from {
			continue
		}
		score := 0
		if u.topics[t].had[p] != from {
			score += 4
		}
		if u.topics[t].had[p] == to {
			score += 8
		}
		if u.near(t, p, to) {
			score++
		}
		if !u.near(t, p, from) {
			score++
		}
		if score >= bestScore {
			best, bestScore = p, score
		}
	}
	return best
}

func (u *uniform) result() []Partitions {
	result := make([]Partitions, len(u.subscribers))
	for _, t := range u.topics {
		for p, i := range t.has {
			if i < 0 {
				continue // a topic always has a subscriber
			}
			last := len(result[i]) - 1
			if last < 0 || result[i][last].Topic != t.ID {
				result[i] = append(result[i], TopicPartitions{Topic: t.ID})
				last++
			}
			result[i][last].Partitions = append(result[i][last].Partitions, int32(p))
		}
	}
	return result
}
