package replication

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	replicationpb "github.com/rustmq/rustmq/api/replication/v1"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// greeted is a stream of node 1 to node 2, who has answered a hello of this incarnation.
func greeted(t *testing.T, p *peer, to Peer) leaderStream {
	t.Helper()
	conn, err := to.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := leaderStream{newStream(conn)}
	if _, err := p.greet(s, to); err != nil {
		t.Fatal(err)
	}
	return s
}

// A leader that breaks a stream off and makes another one has one stream: what it said over the first and what that began, as a reset that waits for the controllers,
// is over when the second one is welcome. A follower that went on with it threw away what it had acknowledged over the second.
func TestNewStreamOfALeaderEndsTheOneBefore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, 1, 1, 3)
		log, _, err := wal.Open(wal.Options{FS: crashfs.New(1), Dir: "wal", SegmentBytes: 256 << 10}, func(wal.Entry) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		asked := make(chan struct{})
		answer := make(chan partition.Checkpoint)
		part, err := partition.Open(partition.Config{
			ID: id(0), Node: 2, Log: log, Tail: partition.NewTailBudget(1 << 20), Now: time.Now, Settings: func() partition.Settings { return partition.Settings{} },
			Checkpoint: func(ctx context.Context, _ mq.PartitionID) (partition.Checkpoint, error) {
				close(asked)
				select {
				case c := <-answer:
					return c, nil
				case <-ctx.Done():
					return partition.Checkpoint{}, ctx.Err()
				}
			},
		}, nil, partition.Checkpoint{})
		if err != nil {
			t.Fatal(err)
		}
		defer part.Close()
		if err := part.Follow(1, 1); err != nil {
			t.Fatal(err)
		}
		f := NewFollower(FollowerConfig{
			Self: partition.Replica{Node: 2, Incarnation: 20}, Logger: c.logger, Lookup: func(mq.PartitionID) *partition.Partition { return part },
		})
		var answers atomic.Pointer[Follower]
		answers.Store(f)
		defer c.net.serve(2, &answers)()
		defer f.Close()
		to := Peer{Node: 2, Dial: c.net.dialer(1, 2)}
		leader := Open(Config{Self: self, Propose: c.ctl.propose, Logger: c.logger})
		defer leader.Close()
		p := newPeer(leader, to)

		first := greeted(t, p, to)
		for _, m := range []request{
			open(1, 1, id(0), 1), saying(&replicationpb.ReplicateRequest{Resets: []*replicationpb.Reset{{Handle: 1, Round: 1}}}),
		} {
			if err := first.Send(m); err != nil {
				t.Fatal(err)
			}
		}
		<-asked
		second := greeted(t, p, to)
		for _, m := range []request{open(1, 1, id(0), 1), part3(t)} {
			if err := second.Send(m); err != nil {
				t.Fatal(err)
			}
		}
		for acked := int64(0); acked < 3; {
			m, err := second.Receive()
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range m.GetAcks() {
				acked = a.GetEnd()
			}
		}
		select {
		case answer <- partition.Checkpoint{}:
		case <-time.After(time.Millisecond): // nobody asks any more
		}
		synctest.Wait()
		if _, _, end, _ := part.Offsets(); end != 3 {
			t.Fatalf("the log ends at %d, and 3 was acknowledged", end)
		}
		for {
			if _, err := first.Receive(); err != nil {
				break
			}
		}

		late := newPeer(leader, to)
		late.owner = &Peers{cfg: Config{Self: partition.Replica{Node: 1, Incarnation: self.Incarnation - 1}}}
		conn, err := to.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		stale := leaderStream{newStream(conn)}
		defer stale.close()
		if _, err := late.greet(stale, to); mq.CodeOf(err) != mq.StaleBrokerEpoch {
			t.Errorf("a hello of an incarnation that is over: %v", err)
		}
		second.close()
	})
}

// part3 is three records in handle 1, round 1.
func part3(t *testing.T) request {
	return part(1, 1, 0, stamped(t, 0, 1), stamped(t, 1, 1), stamped(t, 2, 1))
}
