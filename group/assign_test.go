package group

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/rustmq/rustmq/mq"
)

// drawTopics are a few topics with replicas in racks.
func drawTopics(t *rapid.T) []*Topic {
	var topics []*Topic
	for i := range rapid.IntRange(1, 6).Draw(t, "topics") {
		one := testTopic(fmt.Sprintf("t%d", i), rapid.Int32Range(0, 20).Draw(t, "partitions"))
		for range one.Partitions {
			one.Racks = append(one.Racks, rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 1, 3, rapid.ID).Draw(t, "racks"))
		}
		topics = append(topics, &one)
	}
	return topics
}

func drawSubscribers(t *rapid.T, topics []*Topic, alike bool) []Subscriber {
	var all []Subscriber
	for i := range rapid.IntRange(1, 12).Draw(t, "members") {
		s := Subscriber{Member: fmt.Sprintf("m%02d", i), Rack: rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "rack"), Topics: topics}
		if !alike {
			s.Topics = rapid.SliceOfDistinct(rapid.SampledFrom(topics), func(t *Topic) string { return t.Name }).Draw(t, "subscription")
		}
		all = append(all, s)
	}
	return all
}

// checkComplete wants every partition that anybody wants with exactly one who wants it, and sets in their form.
func checkComplete(t *rapid.T, subscribers []Subscriber, result []Partitions) {
	has := make(map[partition]int)
	for i, set := range result {
		if !set.Equal(set.normal()) {
			t.Fatalf("%v is not in its form", set)
		}
		for _, p := range set.list() {
			if !slices.ContainsFunc(subscribers[i].Topics, func(topic *Topic) bool { return topic.ID == p.topic && p.index < topic.Partitions }) {
				t.Fatalf("%s has %v", subscribers[i].Member, p)
			}
			has[p]++
		}
	}
	for _, s := range subscribers {
		for _, topic := range s.Topics {
			for index := range topic.Partitions {
				if n := has[partition{topic.ID, index}]; n != 1 {
					t.Fatalf("%s-%d goes to %d members", topic.Name, index, n)
				}
			}
		}
	}
}

func TestAssignorsGiveEveryPartitionToOneSubscriber(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		topics := drawTopics(t)
		subscribers := drawSubscribers(t, topics, rapid.Bool().Draw(t, "alike"))
		for _, name := range []string{AssignorUniform, AssignorRange} {
			result := Assign(name, subscribers)
			checkComplete(t, subscribers, result)
			if again := Assign(name, subscribers); !slices.EqualFunc(result, again, Partitions.Equal) {
				t.Fatalf("%s: not the same again", name)
			}
		}
	})
}

func TestUniformIsBalancedWithinOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		subscribers := drawSubscribers(t, drawTopics(t), true)
		least, most := 1<<30, 0
		for _, set := range Assign(AssignorUniform, subscribers) {
			least, most = min(least, set.Len()), max(most, set.Len())
		}
		if most-least > 1 {
			t.Fatalf("between %d and %d partitions", least, most)
		}
	})
}

// With subscriptions that differ nobody can be relieved in favour of one with two less, by whatever way.
func TestUniformIsAsEvenAsSubscriptionsAllow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		subscribers := drawSubscribers(t, drawTopics(t), false)
		result := Assign(AssignorUniform, subscribers)
		checkComplete(t, subscribers, result)
		for from := range subscribers {
			reached := map[int]bool{from: true}
			for queue := []int{from}; len(queue) > 0; queue = queue[1:] {
				for _, has := range result[queue[0]] {
					for to, s := range subscribers {
						if !reached[to] && slices.ContainsFunc(s.Topics, func(topic *Topic) bool { return topic.ID == has.Topic }) {
							reached[to] = true
							queue = append(queue, to)
						}
					}
				}
			}
			for to := range reached {
				if result[from].Len()-result[to].Len() > 1 {
					t.Fatalf("%s has %d and could give one to %s with %d", subscribers[from].Member, result[from].Len(), subscribers[to].Member, result[to].Len())
				}
			}
		}
	})
}

// moved is how many partitions are with another one than before, of those that had one who still wants them.
func moved(before, after []Subscriber, result []Partitions) (n int) {
	owner := make(map[partition]string)
	for _, s := range before {
		for _, p := range s.Has.list() {
			owner[p] = s.Member
		}
	}
	there := make(map[string]bool)
	for _, s := range after {
		there[s.Member] = true
	}
	for i, set := range result {
		for _, p := range set.list() {
			if had := owner[p]; had != "" && had != after[i].Member && there[had] {
				n++
			}
		}
	}
	return n
}

func TestUniformMovesOnlyWhatBalanceNeeds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		topics := drawTopics(t)
		subscribers := drawSubscribers(t, topics, true)
		for i, set := range Assign(AssignorUniform, subscribers) {
			subscribers[i].Has = set
		}
		if n := moved(subscribers, subscribers, Assign(AssignorUniform, subscribers)); n > 0 {
			t.Fatalf("%d moved for nothing", n)
		}
		total := 0
		for _, topic := range topics {
			total += int(topic.Partitions)
		}
		// One goes: only its partitions move. One comes: it gets its share, and nothing else moves.
		if len(subscribers) > 1 {
			gone := rapid.IntRange(0, len(subscribers)-1).Draw(t, "gone")
			after := slices.Delete(slices.Clone(subscribers), gone, gone+1)
			if n := moved(subscribers, after, Assign(AssignorUniform, after)); n > 0 {
				t.Fatalf("one went, and %d partitions of others moved", n)
			}
		}
		after := append(slices.Clone(subscribers), Subscriber{Member: "new", Topics: topics})
		if n := moved(subscribers, after, Assign(AssignorUniform, after)); n > total/len(after)+1 {
			t.Fatalf("one came, and %d of %d partitions moved among %d", n, total, len(after))
		}
	})
}

func TestUniformKeepsPartitionsInTheirRackWhereThatCostsNothing(t *testing.T) {
	topic := testTopic("t", 12)
	for i := range 12 {
		topic.Racks = append(topic.Racks, []string{string("abc"[i%3])})
	}
	var subscribers []Subscriber
	for i := range 6 {
		subscribers = append(subscribers, Subscriber{Member: fmt.Sprint(i), Rack: string("abc"[i/2]), Topics: []*Topic{&topic}})
	}
	for i, set := range Assign(AssignorUniform, subscribers) {
		for _, p := range set.list() {
			if topic.Racks[p.index][0] != subscribers[i].Rack {
				t.Errorf("partition %d of rack %s is with %s of rack %s", p.index, topic.Racks[p.index][0], subscribers[i].Member, subscribers[i].Rack)
			}
		}
	}
}

func TestRangeIsBalancedPerTopicAndAssignsTogether(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		topics := drawTopics(t)
		subscribers := drawSubscribers(t, topics, rapid.Bool().Draw(t, "alike"))
		result := Assign(AssignorRange, subscribers)
		count := func(i int, id mq.TopicID) int {
			for _, set := range result[i] {
				if set.Topic == id {
					return len(set.Partitions)
				}
			}
			return 0
		}
		wants := func(topic *Topic) (who []int) {
			for i, s := range subscribers {
				if slices.Contains(s.Topics, topic) {
					who = append(who, i)
				}
			}
			return who
		}
		for _, topic := range topics {
			least, most := 1<<30, 0
			for _, i := range wants(topic) {
				least, most = min(least, count(i, topic.ID)), max(most, count(i, topic.ID))
			}
			if most-least > 1 && len(wants(topic)) > 0 {
				t.Fatalf("topic %s: between %d and %d partitions", topic.Name, least, most)
			}
			for _, other := range topics {
				if other.Partitions != topic.Partitions || !slices.Equal(wants(topic), wants(other)) {
					continue
				}
				for i := range subscribers {
					for index := range topic.Partitions {
						if result[i].Has(topic.ID, index) != result[i].Has(other.ID, index) {
							t.Fatalf("%s-%d and %s-%d are not together", topic.Name, index, other.Name, index)
						}
					}
				}
			}
		}
	})
}

// Without racks it is what Kafka's clients do: runs, longer ones first, in order of instances and ids.
func TestRangeWithoutRacksIsKafkas(t *testing.T) {
	seven, two := testTopic("seven", 7), testTopic("two", 2)
	result := Assign(AssignorRange, []Subscriber{
		{Member: "c", Topics: []*Topic{&seven, &two}},
		{Member: "b", Topics: []*Topic{&seven, &two}},
		{Member: "z", Instance: "a", Topics: []*Topic{&seven, &two}},
	})
	for i, want := range []string{"[5 6] []", "[3 4] [1]", "[0 1 2] [0]"} {
		indexes := func(id mq.TopicID) []int32 {
			for _, set := range result[i] {
				if set.Topic == id {
					return set.Partitions
				}
			}
			return nil
		}
		if got := fmt.Sprint(indexes(seven.ID), indexes(two.ID)); got != want {
			t.Errorf("member %d has %s, want %s", i, got, want)
		}
	}
}

func BenchmarkAssign(b *testing.B) {
	for _, size := range []struct{ members, topics, partitions int }{{50, 10, 20}, {1000, 100, 100}} {
		random := rand.New(rand.NewPCG(1, 2))
		var topics []*Topic
		for i := range size.topics {
			one := testTopic(fmt.Sprintf("t%03d", i), int32(size.partitions))
			topics = append(topics, &one)
		}
		subscribers := make([]Subscriber, size.members)
		for i := range subscribers {
			subscribers[i] = Subscriber{Member: fmt.Sprint(random.Uint64()), Topics: topics}
		}
		for _, name := range []string{AssignorUniform, AssignorRange} {
			for i, set := range Assign(name, subscribers[:size.members-1]) {
				subscribers[i].Has = set
			}
			b.Run(fmt.Sprintf("%s/members=%d/partitions=%d", name, size.members, size.topics*size.partitions), func(b *testing.B) {
				for b.Loop() {
					Assign(name, subscribers)
				}
			})
		}
	}
}
