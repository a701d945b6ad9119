package nodetest

import (
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A Kafka consumer with a rack reads what only the object store has from the replica in its rack, and what comes next from the leader, also while more is
// produced (KIP-392).
func TestKafkaConsumerReadsTieredRecordsInItsRack(t *testing.T) {
	r := startRackedOf(t, 3, kafkaOn)
	const records = 4000
	r.tier(records)
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.servers()...), kgo.Rack(rackOf(r.near)), kgo.FetchMaxWait(250*time.Millisecond), kgo.FetchMaxPartitionBytes(16<<10),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"orders": {0: kgo.NewOffset().At(0)}}))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	leader, near := r.read(r.leader, "store"), r.read(r.near, "tiered")
	next := int64(0)
	follow := func(end int64) {
		t.Helper()
		for next < end {
			polled := cl.PollFetches(r.ctx)
			if err := polled.Err(); err != nil {
				t.Fatal(err)
			}
			polled.EachRecord(func(rec *kgo.Record) {
				if number, err := strconv.Atoi(string(rec.Value)); err != nil || rec.Offset != next || int64(number) != next {
					t.Fatalf("at %d: offset %d with record %q", next, rec.Offset, rec.Value)
				}
				next++
			})
		}
	}
	follow(records)
	if got := r.read(r.near, "tiered") - near; got < 3000*rackedValue {
		t.Errorf("the replica in its rack read %.0f bytes from the object store, of %d", got, records*rackedValue)
	}
	if got := r.read(r.leader, "store") - leader; got > records*rackedValue/4 { // on a busy machine its image may lag
		t.Errorf("the leader read %.0f bytes from the object store", got)
	}
	r.produce(50)
	follow(records + 50)
}
