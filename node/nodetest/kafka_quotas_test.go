package nodetest

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// throttles counts what a client is told of quotas.
type throttles struct{ told, late atomic.Int64 }

func (h *throttles) OnBrokerThrottle(_ kgo.BrokerMetadata, _ time.Duration, afterResponse bool) {
	if h.told.Add(1); !afterResponse {
		h.late.Add(1)
	}
}

// A quota is set by Kafka's administration, and holds for producing and consuming at once; without it clients go on at once.
func TestKafkaQuotas(t *testing.T) {
	n, ctx := startKafka(t)
	var hook throttles
	cl := kafkaClient(t, n, kgo.ClientID("loader"), kgo.WithHooks(&hook), kgo.DefaultProduceTopic("t"), kgo.AllowAutoTopicCreation(),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(20_000), kgo.MaxProduceRequestsInflightPerBroker(1), kgo.DisableIdempotentWrite())
	adm := kadm.NewClient(cl)
	id := "loader"
	alter := func(rate float64, remove bool) {
		t.Helper()
		entry := kadm.AlterClientQuotaEntry{Entity: kadm.ClientQuotaEntity{{Type: "client-id", Name: &id}}}
		for _, key := range []string{"producer_byte_rate", "consumer_byte_rate"} {
			entry.Ops = append(entry.Ops, kadm.AlterClientQuotaOp{Key: key, Value: rate, Remove: remove})
		}
		altered, err := adm.AlterClientQuotas(ctx, []kadm.AlterClientQuotaEntry{entry})
		if err != nil || len(altered) != 1 || altered[0].Err != nil {
			t.Fatalf("%+v, %v", altered, err)
		}
	}
	alter(100_000, false)
	described, err := adm.DescribeClientQuotas(ctx, true, []kadm.DescribeClientQuotaComponent{{Type: "client-id", MatchName: &id}})
	if err != nil || len(described) != 1 || len(described[0].Values) != 2 || described[0].Values[0].Value != 100_000 {
		t.Fatalf("%+v, %v", described, err)
	}
	value := make([]byte, 10_000)
	produce := func(count int) time.Duration {
		t.Helper()
		begun := time.Now()
		records := make([]*kgo.Record, count)
		for i := range records {
			records[i] = &kgo.Record{Value: value}
		}
		if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		return time.Since(begun)
	}
	const count = 30 // three seconds, of which one may come at once
	if took := produce(count); took < 1500*time.Millisecond {
		t.Errorf("%d bytes were produced in %s", count*len(value), took)
	}
	if hook.told.Load() == 0 || hook.late.Load() > 0 {
		t.Errorf("told %d times, %d of them too late", hook.told.Load(), hook.late.Load())
	}
	consumer := kafkaClient(t, n, kgo.ClientID("loader"), kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	begun, read := time.Now(), 0
	for read < count {
		polled := consumer.PollFetches(ctx)
		if err := polled.Err(); err != nil {
			t.Fatal(err)
		}
		read += polled.NumRecords()
	}
	if took := time.Since(begun); took < time.Second {
		t.Errorf("%d bytes were consumed in %s", count*len(value), took)
	}
	alter(0, true)
	time.Sleep(2 * time.Second) // the client sleeps for as long as it was told last
	told := hook.told.Load()
	produce(20 * count)
	if hook.told.Load() != told {
		t.Error("held back without a quota")
	}
}
