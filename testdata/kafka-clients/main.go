package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"time"
)

// codecs are by their names in librdkafka's compression.codec.
var codecs = []string{"none", "gzip", "snappy", "lz4", "zstd"}

const partitions = 3

// Record is what a client has read.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64
	Key       string
	Value     string
	Time      time.Time
}

// Client is one of the clients.
type Client interface {
	// Protocols of groups that it knows, and whether its producer is idempotent.
	Protocols() []string
	Idempotent() bool

	CreateTopic(ctx context.Context, name string, replicas int, configs map[string]string) error
	AddPartitions(ctx context.Context, name string, total int) error
	Configs(ctx context.Context, name string) (map[string]string, error)
	SetConfig(ctx context.Context, name, key, value string) error
	DeleteTopic(ctx context.Context, name string) error

	// Producer makes one that waits for all in-sync replicas.
	Producer(codec string) (Producer, error)
	// Member reads as a member of a group until ctx ends, commits what it has read, and leaves.
	Member(ctx context.Context, group, protocol string, topics []string, got func(Record)) error
	// OffsetAt is the first offset of a time or later.
	OffsetAt(ctx context.Context, topic string, partition int32, at time.Time) (int64, error)
	// Read reads count records of a partition from an offset on.
	Read(ctx context.Context, topic string, partition int32, from int64, count int, got func(Record)) error
	Close()
}

// Producer sends records.
type Producer interface {
	// Send sends records of a topic, which have their keys, values and times, and waits until they are acknowledged.
	Send(ctx context.Context, topic string, records []Record) error
	Close()
}

var clients = map[string]func(servers []string) (Client, error){"franz-go": newFranz, "sarama": newSarama, "kafka-go": newKafkaGo, "librdkafka": newConfluent}

func main() {
	servers := flag.String("servers", "", "host:port, separated by commas")
	name := flag.String("client", "", "which client: "+strings.Join(slices.Sorted(maps.Keys(clients)), ", "))
	rounds := flag.Int("rounds", 60, "how often each producer sends")
	pause := flag.Duration("pause", 50*time.Millisecond, "time between two sends")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	open := clients[*name]
	if open == nil {
		fmt.Fprintln(os.Stderr, "no such client:", *name)
		os.Exit(2)
	}
	c, err := open(strings.Split(*servers, ","))
	if err == nil {
		err = (&run{name: *name, c: c, rounds: *rounds, pause: *pause}).all(ctx)
		c.Close()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", *name, err)
		os.Exit(1)
	}
	fmt.Println("passed", *name)
}

// run is one client's.
type run struct {
	name   string
	c      Client
	rounds int
	pause  time.Duration

	mu   sync.Mutex
	seen map[string]map[string]int // by group: how often each record was read
}

const perSend = 5

func (r *run) topic(codec string) string { return r.name + "-" + codec }

func (r *run) all(ctx context.Context) error {
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{{"create topics", r.create}, {"produce and consume in groups", r.flow}, {"read all", r.read}, {"seek by time", r.seek}, {"administer", r.administer}} {
		began := time.Now()
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Printf("did %s: %s in %s\n", r.name, step.name, time.Since(began).Round(time.Millisecond))
	}
	return nil
}

func (r *run) create(ctx context.Context) error {
	for _, codec := range codecs {
		if err := r.c.CreateTopic(ctx, r.topic(codec), 3, map[string]string{"min.insync.replicas": "2"}); err != nil {
			return err
		}
	}
	return nil
}

// flow produces to all topics while groups read them, and a leader is killed.
func (r *run) flow(ctx context.Context) error {
	r.seen = make(map[string]map[string]int)
	var topics []string
	for _, codec := range codecs {
		topics = append(topics, r.topic(codec))
	}
	reading, enough := context.WithCancel(ctx)
	defer enough()
	failed := make(chan error, 20)
	var members, producers sync.WaitGroup
	for _, protocol := range r.c.Protocols() {
		group := r.name + "-" + protocol
		r.seen[group] = make(map[string]int)
		for range 2 {
			members.Go(func() {
				err := r.c.Member(reading, group, protocol, topics, func(rec Record) {
					r.mu.Lock()
					defer r.mu.Unlock()
					r.seen[group][rec.Topic+" "+rec.Key]++
				})
				if err != nil && reading.Err() == nil {
					failed <- fmt.Errorf("a member of %s: %w", group, err)
				}
			})
		}
	}
	for _, codec := range codecs {
		producers.Go(func() {
			if err := r.produce(ctx, codec); err != nil {
				failed <- fmt.Errorf("produce with codec %s: %w", codec, err)
			}
		})
	}
	time.Sleep(time.Duration(r.rounds) * r.pause / 3)
	fmt.Println("disturb", topics[0])
	producers.Wait()
	want := len(codecs) * r.rounds * perSend
	for r.least() < want {
		select {
		case err := <-failed:
			return err
		case <-ctx.Done():
			return fmt.Errorf("groups have read %v of %d records", r.counts(), want)
		case <-time.After(50 * time.Millisecond):
		}
	}
	enough()
	members.Wait()
	select {
	case err := <-failed:
		return err
	default:
	}
	for group, seen := range r.seen {
		again := 0
		for _, times := range seen {
			again += times - 1
		}
		fmt.Printf("did %s: group %s has read %d records, and %d again\n", r.name, group, len(seen), again)
	}
	return nil
}

func (r *run) counts() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	counts := make(map[string]int)
	for group, seen := range r.seen {
		counts[group] = len(seen)
	}
	return counts
}

func (r *run) least() int { return slices.Min(slices.Collect(maps.Values(r.counts()))) }

// first is the time of the first records: not so old that retention takes them.
var first = time.Now().Add(-time.Hour).Truncate(time.Second)

// at is the time of the records of a round.
func at(round int) time.Time { return first.Add(time.Duration(round) * time.Second) }

func (r *run) produce(ctx context.Context, codec string) error {
	p, err := r.c.Producer(codec)
	if err != nil {
		return err
	}
	defer p.Close()
	for round := range r.rounds {
		var records []Record
		for i := range perSend {
			key := fmt.Sprintf("%06d", round*perSend+i)
			records = append(records, Record{Key: key, Value: strings.Repeat(key, 20), Time: at(round)})
		}
		if err := p.Send(ctx, r.topic(codec), records); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		time.Sleep(r.pause)
	}
	return nil
}

// read reads all partitions of all topics from the start, by assignment: each record is there, in the order in which it was sent, and once where the producer is idempotent.
func (r *run) read(ctx context.Context) error {
	for _, codec := range codecs {
		seen := make(map[string]int)
		for partition := range int32(partitions) {
			end, err := r.c.OffsetAt(ctx, r.topic(codec), partition, time.Time{})
			if err != nil {
				return err
			}
			if end == 0 {
				continue
			}
			last := ""
			err = r.c.Read(ctx, r.topic(codec), partition, 0, int(end), func(rec Record) {
				if rec.Value != strings.Repeat(rec.Key, 20) {
					err = fmt.Errorf("%+v is not what was sent", rec)
				}
				if r.c.Idempotent() && rec.Key <= last {
					err = fmt.Errorf("%s came after %s in partition %d of %s", rec.Key, last, partition, rec.Topic)
				}
				last = rec.Key
				seen[rec.Key]++
			})
			if err != nil {
				return err
			}
		}
		if len(seen) != r.rounds*perSend {
			return fmt.Errorf("%d of %d records of %s are there", len(seen), r.rounds*perSend, r.topic(codec))
		}
	}
	return nil
}

// seek finds a time in the middle: what is there was sent then, and what is before it earlier.
func (r *run) seek(ctx context.Context) error {
	middle := at(r.rounds / 2)
	for _, codec := range codecs {
		for partition := range int32(partitions) {
			offset, err := r.c.OffsetAt(ctx, r.topic(codec), partition, middle)
			if err != nil {
				return err
			}
			if offset < 1 {
				return fmt.Errorf("time %v is at offset %d of partition %d of %s", middle, offset, partition, r.topic(codec))
			}
			var times []time.Time
			err = r.c.Read(ctx, r.topic(codec), partition, offset-1, 2, func(rec Record) { times = append(times, rec.Time) })
			if err != nil {
				return err
			}
			if !times[0].Before(middle) || times[1].Before(middle) {
				return fmt.Errorf("around offset %d of partition %d of %s the times are %v, want them around %v", offset, partition, r.topic(codec), times, middle)
			}
		}
	}
	return nil
}

// administer looks at and changes a topic while a node is killed.
func (r *run) administer(ctx context.Context) error {
	topic := r.topic(codecs[1])
	fmt.Println("disturb", r.topic(codecs[2]))
	for i, began := 0, time.Now(); time.Since(began) < 4*time.Second; i++ {
		name := fmt.Sprintf("%s-%d", r.name, i)
		if err := r.c.CreateTopic(ctx, name, 2, nil); err != nil && !r.comesTo(ctx, name, true) {
			return err
		}
		if err := r.c.SetConfig(ctx, topic, "retention.ms", "86400000"); err != nil {
			return err
		}
		if err := r.c.DeleteTopic(ctx, name); err != nil && !r.comesTo(ctx, name, false) {
			return err
		}
	}
	want := map[string]string{"retention.ms": "86400000", "min.insync.replicas": "2", "cleanup.policy": "delete", "compression.type": "producer"}
	for { // as with Kafka, another node may be asked, which hears of it a moment later
		configs, err := r.c.Configs(ctx, topic)
		if err != nil {
			return err
		}
		maps.DeleteFunc(configs, func(key, value string) bool { _, asked := want[key]; return !asked })
		if maps.Equal(configs, want) {
			break
		}
		if ctx.Err() != nil {
			return fmt.Errorf("the configs of %s are %v, want %v", topic, configs, want)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := r.c.SetConfig(ctx, topic, "no.such.config", "1"); err == nil {
		return errors.New("a config that does not exist was taken")
	}
	if err := r.c.AddPartitions(ctx, topic, partitions+2); err != nil {
		return err
	}
	if err := r.c.CreateTopic(ctx, topic, 2, nil); err == nil {
		return errors.New("a topic was made twice")
	}
	return r.c.DeleteTopic(ctx, topic)
}

// comesTo says whether a topic is there, or is not, in the end: where an answer was lost its client tries again, and is refused because it was done; and a node may hear of another one's topic a moment
// later.
func (r *run) comesTo(ctx context.Context, topic string, there bool) bool {
	for began := time.Now(); time.Since(began) < 10*time.Second; time.Sleep(50 * time.Millisecond) {
		if _, err := r.c.Configs(ctx, topic); (err == nil) == there {
			return true
		}
		if !there {
			_ = r.c.DeleteTopic(ctx, topic)
		}
	}
	return false
}
