package gateway

import (
	"context"
	"testing"

	"google.golang.org/protobuf/proto"

	rustmqpb "github.com/rustmq/rustmq/api/rustmq/v1"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// FuzzDecode: whatever comes is records within bounds, or an error that has a code.
func FuzzDecode(f *testing.F) {
	for _, req := range []*rustmqpb.ProduceRequest{
		{Topic: "orders", Records: []*rustmqpb.ProduceRecord{{}}},
		{Durability: rustmqpb.Durability_DURABILITY_OBJECT, Records: []*rustmqpb.ProduceRecord{{
			Topic: "t", Partition: new(int32(3)), KeyAs: &rustmqpb.ProduceRecord_Key{Key: []byte{}}, Headers: []*rustmqpb.Header{{Key: "k"}},
		}}},
		{Durability: -1, Records: []*rustmqpb.ProduceRecord{nil}},
	} {
		b, err := proto.Marshal(req)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var req rustmqpb.ProduceRequest
		if proto.Unmarshal(b, &req) != nil {
			return
		}
		records, err := decode(&req)
		if err != nil {
			if code := mq.CodeOf(err); code == mq.Unknown || code == mq.None {
				t.Errorf("%v has no code", err)
			}
			return
		}
		if len(records) != len(req.GetRecords()) || len(records) > maxRecords {
			t.Errorf("%d records of %d", len(records), len(req.GetRecords()))
		}
		for i, rec := range records {
			in := req.GetRecords()[i]
			if mq.ValidTopicName(rec.Topic) != nil || rec.Partition < -1 || (rec.Partition == -1) != (in.Partition == nil) || rec.Acks == client.AcksDefault || rec.Acks > client.AcksObject {
				t.Errorf("record %d: %+v", i, rec)
			}
			if (rec.Key == nil) != (in.GetKeyAs() == nil) || (rec.Value == nil) != (in.GetValueAs() == nil) {
				t.Errorf("record %d: null is not what it was", i)
			}
		}
	})
}

// TestRecordWithoutAnOutcomeIsNotCalledFailed: when the time is over it may still be delivered, and the code says so.
func TestRecordWithoutAnOutcomeIsNotCalledFailed(t *testing.T) {
	p := &pending{left: 2, done: make(chan struct{}), ended: func() {}, results: make([]*rustmqpb.ProduceResult, 2)}
	p.settle(1, resultOf(&client.Record{Topic: "orders", Offset: 7, Reached: mq.MarkLocal}, nil))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	resp := p.wait(ctx)
	if e := resp.GetResults()[0].GetError(); mq.Code(e.GetCode()) != mq.RequestTimedOut || resp.GetFailed() != 1 {
		t.Errorf("%v", resp)
	}
	if r := resp.GetResults()[1].GetRecord(); r.GetOffset() != 7 || r.GetReached() != rustmqpb.Mark_MARK_LOCAL {
		t.Errorf("%v", resp)
	}
	p.settle(0, resultOf(&client.Record{Topic: "orders"}, nil)) // later than anybody waits for
	if resp := p.wait(t.Context()); resp.GetFailed() != 0 {
		t.Errorf("%v", resp)
	}
}
