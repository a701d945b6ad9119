package gateway

import (
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	rustmqpb "github.com/rustmq/rustmq/api/rustmq/v1"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// acks is what a durability asks for.
func acks(d rustmqpb.Durability) (client.Acks, error) {
	if d == rustmqpb.Durability_DURABILITY_UNSPECIFIED {
		return client.AcksAll, nil
	}
	if _, ok := rustmqpb.Durability_name[int32(d)]; !ok {
		return 0, mq.Errorf(mq.InvalidRequiredAcks, "durability %d: there are none, leader, all and object", d)
	}
	return client.AcksOf(mq.Durability(d - rustmqpb.Durability_DURABILITY_NONE)), nil
}

func mark(m mq.Mark) rustmqpb.Mark { return rustmqpb.Mark(m) + rustmqpb.Mark_MARK_NONE }

func isolation(i rustmqpb.Isolation) (mq.Isolation, error) {
	switch i {
	case rustmqpb.Isolation_ISOLATION_UNSPECIFIED, rustmqpb.Isolation_ISOLATION_COMMITTED:
		return mq.IsolationCommitted, nil
	case rustmqpb.Isolation_ISOLATION_OBJECT:
		return mq.IsolationObject, nil
	}
	return 0, invalid("isolation %d: there are committed and object", i)
}

// edge is a position at an end.
func edge(e rustmqpb.Edge) (client.Position, error) {
	switch e {
	case rustmqpb.Edge_EDGE_UNSPECIFIED, rustmqpb.Edge_EDGE_EARLIEST:
		return client.Start(), nil
	case rustmqpb.Edge_EDGE_LATEST:
		return client.End(), nil
	}
	return client.Position{}, invalid("edge %d: there are earliest and latest", e)
}

// atTime is the position of a time.
func atTime(t *timestamppb.Timestamp) (client.Position, error) {
	if !t.IsValid() {
		return client.Position{}, mq.Errorf(mq.InvalidTimestamp, "timestamp of %d s: it is from the year 1 to 9999", t.GetSeconds())
	}
	return client.AtTime(t.AsTime()), nil
}

// duration is d within bounds, or what holds where it is not there.
func duration(name string, d *durationpb.Duration, least, most, unset time.Duration) (time.Duration, error) {
	if d == nil {
		return unset, nil
	}
	if v := d.AsDuration(); d.IsValid() && v >= least && v <= most {
		return v, nil
	}
	return 0, invalid("%s of %vs: from %v to %v are allowed", name, d.GetSeconds(), least, most)
}

// produced is a record to produce, against the rules or not.
func produced(r *rustmqpb.ProduceRecord, topic string, a client.Acks) (*client.Record, error) {
	rec := &client.Record{Topic: r.GetTopic(), Partition: -1, Acks: a}
	if rec.Topic == "" {
		rec.Topic = topic
	}
	if err := mq.ValidTopicName(rec.Topic); err != nil {
		return nil, err
	}
	if r.Partition != nil {
		if rec.Partition = r.GetPartition(); rec.Partition < 0 {
			return nil, mq.Errorf(mq.InvalidPartitions, "partition %d: leave it out for the key to choose", rec.Partition)
		}
	}
	switch k := r.GetKeyAs().(type) {
	case *rustmqpb.ProduceRecord_Key:
		rec.Key = present(k.Key)
	case *rustmqpb.ProduceRecord_KeyText:
		rec.Key = []byte(k.KeyText)
	}
	switch v := r.GetValueAs().(type) {
	case *rustmqpb.ProduceRecord_Value:
		rec.Value = present(v.Value)
	case *rustmqpb.ProduceRecord_ValueText:
		rec.Value = []byte(v.ValueText)
	}
	for _, h := range r.GetHeaders() {
		header := mq.Header{Key: h.GetKey()}
		switch v := h.GetValueAs().(type) {
		case *rustmqpb.Header_Value:
			header.Value = present(v.Value)
		case *rustmqpb.Header_ValueText:
			header.Value = []byte(v.ValueText)
		}
		rec.Headers = append(rec.Headers, header)
	}
	if len(rec.Headers) > mq.MaxHeadersPerRecord {
		return nil, mq.Errorf(mq.RecordListTooLarge, "%d headers: at most %d are allowed", len(rec.Headers), mq.MaxHeadersPerRecord)
	}
	if t := r.GetTimestamp(); t != nil {
		if rec.Timestamp = t.AsTime(); !t.IsValid() || rec.Timestamp.UnixMilli() < 0 {
			return nil, mq.Errorf(mq.InvalidTimestamp, "timestamp of %d s: it is from 1970 on", t.GetSeconds())
		}
	}
	return rec, nil
}

// present is b, which is not null.
func present(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// timestamp is t, or the nearest that protobuf has: what others wrote may be of any year, above all where they took another unit for milliseconds.
func timestamp(t time.Time) *timestamppb.Timestamp {
	switch out := timestamppb.New(t); {
	case out.IsValid():
		return out
	case t.Before(time.Unix(0, 0)):
		return timestamppb.New(time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC))
	}
	return timestamppb.New(time.Date(9999, 12, 31, 23, 59, 59, int(999*time.Millisecond), time.UTC))
}

// consumed is a record that was read.
func consumed(r *client.Record, asText bool) *rustmqpb.ConsumedRecord {
	out := &rustmqpb.ConsumedRecord{Offset: int64(r.Offset), Timestamp: timestamp(r.Timestamp), LeaderEpoch: int32(r.LeaderEpoch)}
	switch {
	case r.Key == nil:
	case asText && utf8.Valid(r.Key):
		out.KeyAs = &rustmqpb.ConsumedRecord_KeyText{KeyText: string(r.Key)}
	default:
		out.KeyAs = &rustmqpb.ConsumedRecord_Key{Key: r.Key}
	}
	switch {
	case r.Value == nil:
	case asText && utf8.Valid(r.Value):
		out.ValueAs = &rustmqpb.ConsumedRecord_ValueText{ValueText: string(r.Value)}
	default:
		out.ValueAs = &rustmqpb.ConsumedRecord_Value{Value: r.Value}
	}
	for _, h := range r.Headers {
		header := &rustmqpb.Header{Key: text(h.Key)}
		switch {
		case h.Value == nil:
		case asText && utf8.Valid(h.Value):
			header.ValueAs = &rustmqpb.Header_ValueText{ValueText: string(h.Value)}
		default:
			header.ValueAs = &rustmqpb.Header_Value{Value: h.Value}
		}
		out.Headers = append(out.Headers, header)
	}
	return out
}

// sizeOf is what a record counts for in bounds on bytes.
func sizeOf(r *client.Record) int {
	n := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}
