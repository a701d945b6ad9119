package replication

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	replicationpb "github.com/rustmq/rustmq/api/replication/v1"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
)

// script is a follower's end of a stream without a stream: it notes what is answered.
type script struct {
	session *session
	said    []string
}

// Send implements sink.
func (s *script) Send(m *replicationpb.ReplicateResponse) error {
	for _, x := range m.GetStates() {
		line := fmt.Sprintf("state %d/%d end=%d", x.GetHandle(), x.GetRound(), x.GetLogEnd())
		if x.GetAsks() {
			line += fmt.Sprintf(" asks=%d", x.GetLastEpoch())
		}
		if x.GetCode() != 0 {
			line = fmt.Sprintf("state %d/%d %v", x.GetHandle(), x.GetRound(), mq.Code(x.GetCode()))
		}
		s.said = append(s.said, line)
	}
	for _, x := range m.GetAcks() {
		s.said = append(s.said, fmt.Sprintf("acked %d/%d %d", x.GetHandle(), x.GetRound(), x.GetEnd()))
	}
	return nil
}

// listen begins a session of leader with broker b.
func listen(b *broker, leader mq.NodeID) *script {
	f := NewFollower(FollowerConfig{Self: partition.Replica{Node: b.id, Incarnation: 1}, Lookup: b.partition, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	s := &script{session: newSession(ctx, f, cancel, leader)}
	go func() { _ = s.session.answer(s) }()
	return s
}

// saying is a message without batches.
func saying(m *replicationpb.ReplicateRequest) request { return request{ReplicateRequest: m} }

func open(handle, round uint32, p mq.PartitionID, epoch mq.Epoch) request {
	return saying(&replicationpb.ReplicateRequest{Opens: []*replicationpb.Open{
		{Handle: handle, Round: round, TopicId: p.Topic[:], Partition: p.Index, LeaderEpoch: int32(epoch)},
	}})
}

func truncate(handle, round uint32, epoch mq.Epoch, end mq.Offset) request {
	return saying(&replicationpb.ReplicateRequest{Truncates: []*replicationpb.Truncate{{Handle: handle, Round: round, Epoch: int32(epoch), End: int64(end)}}})
}

func part(handle, round uint32, high mq.Offset, batches ...mq.Batch) request {
	p := &replicationpb.Part{Handle: handle, Round: round, HighWatermark: int64(high)}
	m := request{&replicationpb.ReplicateRequest{Parts: []*replicationpb.Part{p}}, make([][][]byte, 1)}
	for _, b := range batches {
		p.BatchBytes += uint32(len(b))
		m.batches[0] = append(m.batches[0], b)
	}
	return m
}

// stamped is a record as a leader of epoch sends it.
func stamped(t testing.TB, offset mq.Offset, epoch mq.Epoch) mq.Batch {
	b := batch(t, mq.NoProducerID, -1, -1, 10)
	b.SetBaseOffset(offset)
	b.SetLeaderEpoch(epoch)
	return b
}

// The follower's half of the conversation, line by line.
// settled is what was said, without the acknowledgements that a later one goes beyond: how many groups the log made of a message is a matter of time.
func (s *script) settled() string {
	var kept []string
	for i, line := range s.said {
		handle, _, _ := strings.Cut(strings.TrimPrefix(line, "acked "), " ")
		if strings.HasPrefix(line, "acked ") && i+1 < len(s.said) && strings.HasPrefix(s.said[i+1], "acked "+handle+" ") {
			continue
		}
		kept = append(kept, line)
	}
	return strings.Join(kept, "; ")
}

func TestFollowerAnswersInThisOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1, 2, 1, 1).start()
		defer c.close()
		settle()
		b := c.brokers[1]
		b.deaf.Store(true)
		b.follow(0, 10, 2)
		s := listen(b, 2)
		defer s.session.end()
		for _, step := range []struct {
			say  request
			want string
		}{
			{open(1, 1, mq.PartitionID{Topic: mq.TopicID{9}}, 10), "state 1/1 UNKNOWN_TOPIC_OR_PARTITION"},
			{open(2, 1, id(0), 9), "state 2/1 FENCED_LEADER_EPOCH"},
			{open(2, 2, id(0), 11), "state 2/2 UNKNOWN_LEADER_EPOCH"},
			{open(3, 1, id(1), 10), "state 3/1 UNKNOWN_LEADER_EPOCH"}, // it leads that itself
			{open(2, 3, id(0), 10), "state 2/3 end=0; acked 2/3 0"},
			{part(2, 3, 0, stamped(t, 0, 7), stamped(t, 1, 10), stamped(t, 2, 10)), "acked 2/3 3"},
			{part(2, 3, 2), ""},
			{part(2, 2, 0, stamped(t, 3, 10)), ""}, // an earlier round
			{part(9, 1, 0, stamped(t, 3, 10)), ""}, // no such handle
			{part(2, 3, 0, stamped(t, 4, 10)), "state 2/3 OFFSET_OUT_OF_RANGE"},
			{part(2, 3, 0, stamped(t, 3, 10)), ""}, // that round is over
			{open(2, 4, id(0), 10), "state 2/4 end=3; acked 2/4 3"},
			{saying(&replicationpb.ReplicateRequest{Closes: []uint32{2}}), ""},
			{part(2, 4, 0, stamped(t, 3, 10)), ""},
		} {
			s.said = nil
			if err := s.session.take(step.say); err != nil {
				t.Fatalf("%v: %v", step.say, err)
			}
			synctest.Wait()
			if got := s.settled(); got != step.want {
				t.Fatalf("%v is answered by %q, want %q", step.say, got, step.want)
			}
		}
		b.follow(0, 12, 2) // the next leader had less of epoch 10, and nothing of 7
		for _, step := range []struct {
			say  request
			want string
		}{
			{open(4, 1, id(0), 12), "state 4/1 end=3 asks=10"},
			{part(4, 1, 0, stamped(t, 3, 12)), "state 4/1 OFFSET_OUT_OF_RANGE"}, // it does not continue what was not compared
			{open(4, 2, id(0), 12), "state 4/2 end=3 asks=10"},
			{truncate(4, 2, 11, 3), "state 4/2 INVALID_REQUEST"}, // an answer to another question
			{open(4, 3, id(0), 12), "state 4/3 end=3 asks=10"},
			{truncate(4, 3, 10, 2), "state 4/3 end=2; acked 4/3 2"},
			{part(4, 3, 2, stamped(t, 2, 12)), "acked 4/3 3"},
		} {
			s.said = nil
			if err := s.session.take(step.say); err != nil {
				t.Fatalf("%v: %v", step.say, err)
			}
			synctest.Wait()
			if got := s.settled(); got != step.want {
				t.Fatalf("%v is answered by %q, want %q", step.say, got, step.want)
			}
		}
		for name, m := range map[string]*replicationpb.ReplicateRequest{
			"a second hello": {Hello: &replicationpb.Hello{}},
			"a short topic":  {Opens: []*replicationpb.Open{{Handle: 1, TopicId: []byte("short")}}},
		} {
			if err := s.session.take(saying(m)); mq.CodeOf(err) != mq.ProtocolViolation {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// follow gives partition i another leader, whatever the controllers say.
func (b *broker) follow(i int, epoch mq.Epoch, leader mq.NodeID) {
	b.cluster.t.Helper()
	if err := b.partition(id(i)).Follow(epoch, leader); err != nil {
		b.cluster.t.Fatal(err)
	}
}

// FuzzFollower: whatever a leader says, the follower's log stays one, and nothing is acknowledged that is not in it.
func FuzzFollower(f *testing.F) {
	for _, m := range []request{
		open(1, 1, id(0), 3), part(1, 1, 1, stamped(f, 0, 3)), truncate(1, 1, 2, 0),
		saying(&replicationpb.ReplicateRequest{Resets: []*replicationpb.Reset{{Handle: 1, Round: 1, TieredEnd: 5}}}),
		saying(&replicationpb.ReplicateRequest{Closes: []uint32{1}}),
	} {
		f.Add(written(f, m))
	}
	c := newCluster(f, 1, 1, 1, 1).start()
	f.Cleanup(c.close)
	b := c.brokers[1]
	for b.partition(id(0)) == nil {
		settle()
	}
	b.deaf.Store(true)
	settle()
	epoch := mq.Epoch(10)
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := (followerStream{newStream(heard{bytes.NewReader(data)})}).Receive()
		if err != nil {
			return
		}
		epoch++
		if err := b.partition(id(0)).Follow(epoch, 2); err != nil {
			t.Fatal(err)
		}
		for _, o := range m.GetOpens() {
			o.LeaderEpoch += int32(epoch) - 3
		}
		ctx, cancel := context.WithCancel(context.Background())
		s := newSession(ctx, NewFollower(FollowerConfig{Self: partition.Replica{Node: 1}, Lookup: b.partition, Logger: slog.New(slog.DiscardHandler)}), cancel, 2)
		for range 2 {
			if s.take(m) != nil {
				break
			}
		}
		s.end()
		_, high, end, object := b.partition(id(0)).Offsets()
		if _, durable, ok := b.partition(id(0)).Durable(); high > end || object > high || ok && durable > end {
			t.Fatalf("watermark %d, tiered end %d, durable %d, log end %d", high, object, durable, end)
		}
	})
}
