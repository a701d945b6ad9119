package replication

import (
	"testing"

	"google.golang.org/protobuf/proto"

	replicationpb "github.com/rustmq/rustmq/api/replication/v1"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
)

// FuzzLeader: whatever a follower answers, the leader's log stays what it is, its watermark in it, and its account of what is under way in order.
func FuzzLeader(f *testing.F) {
	for _, m := range []*replicationpb.ReplicateResponse{
		{States: []*replicationpb.State{{LogEnd: 3}}, Acks: []*replicationpb.Acked{{End: 5}}},
		{States: []*replicationpb.State{{Asks: true, LastEpoch: 1, LogEnd: 9}, {LogEnd: 100}}},
		{States: []*replicationpb.State{{LogEnd: -1}}, Acks: []*replicationpb.Acked{{End: -1}, {End: 1 << 62}}},
		{States: []*replicationpb.State{{Code: int32(mq.FencedLeaderEpoch)}, {Code: int32(mq.StorageFull)}}},
	} {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	c := newCluster(f, 2, 1, 1, 1).start()
	f.Cleanup(c.close)
	c.acked(0, 5, 0, 30)
	b := c.brokers[1]
	b.peers.mu.Lock()
	p := b.peers.peers[2]
	b.peers.mu.Unlock()
	part := b.partition(id(0))
	from := partition.Replica{Node: 2, Incarnation: c.brokers[2].epoch.Load()}
	_, _, logEnd, _ := part.Offsets()
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &replicationpb.ReplicateResponse{}
		if proto.Unmarshal(data, m) != nil {
			return
		}
		handle, round := p.anew()
		for _, s := range m.GetStates() {
			s.Handle, s.Round = handle, round
			p.stated(s)
		}
		for _, a := range m.GetAcks() {
			a.Handle, a.Round = handle, round
			if p.acked(from, a) != nil {
				break
			}
		}
		p.mu.Lock()
		inFlight := p.inFlight
		p.mu.Unlock()
		if _, high, end, object := part.Offsets(); end != logEnd || high > end || object > high || inFlight < 0 {
			t.Fatalf("watermark %d, tiered end %d, log end %d, which was %d; %d bytes are under way", high, object, end, logEnd, inFlight)
		}
	})
}

// anew has the one cursor that there is wait for a state in a new round.
func (p *peer) anew() (handle, round uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.cursors {
		c.forgetSent()
		c.phase = phaseWait
		c.round++
		handle, round = c.handle, c.round
	}
	return handle, round
}
