package control

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
)

// judge decides which brokers live. It is a pure core: events with the time at which they happened come in, leases and orders go out.
// Times are of one monotonic clock, that of the controller it belongs to.
//
// What must hold: when a broker that is silent can be fenced, every lease that anybody granted it is over. A lease is counted from
// when its heartbeat was sent, or from when this controller was last proven to lead if that is earlier; silence is counted from
// when the last heartbeat came, or from when this controller began to lead if that is later; and a session is longer than a lease. So a
// controller that was deposed and does not know it grants what is over before its successor, which began to count later, can
// fence. A broker that is to be fenced is granted nothing more, unless the cluster cannot take the command (its metadata has no room): while
// none is under way or in doubt, who is heard of again is pardoned.
type judge struct {
	timing    Timing
	leading   bool
	proven    bool          // that this node leads, since it began to
	confirmed time.Duration // when it was still true
	ticked    time.Duration
	brokers   map[mq.NodeID]*liveness // those that are not fenced
	planted   planted
}

// planted are bugs that tests put in, to see that they would be found.
type planted struct {
	proofIgnored    bool // a controller grants leases without a proof that it leads
	ageIgnored      bool // a lease does not count from the proof
	condemnedLeased bool // who is about to be fenced is granted another lease
	doubtForgotten  bool // a refused command counts for those in doubt, too
	sessionsKept    bool // silence counts from before this controller led
}

// liveness is what is known of one registration of a broker.
type liveness struct {
	epoch     uint64
	address   string        // of its RPC listener, "" when it has none
	heard     time.Duration // silence counts from then on
	stream    uint64        // over which heartbeats come; 0: none
	dialing   bool
	dialAfter time.Duration // not to be dialed before
	pause     time.Duration // from an attempt to the next
	condemned string        // why it is to be fenced, "" while it is not
	fenceNext time.Duration // when to propose that (again)
	fences    int           // commands that were ordered and may be carried out yet
	image     uint64        // index of its image
	leaving   bool
}

// heartbeat is one heartbeat, as it came in over a stream.
type heartbeat struct {
	node    mq.NodeID
	epoch   uint64
	stream  uint64
	image   uint64
	leaving bool
}

// dialOrder asks for one attempt to connect to a broker, of which dialed is told.
type dialOrder struct {
	node    mq.NodeID
	epoch   uint64
	address string
}

// fenceOrder asks for a FenceBroker command.
type fenceOrder struct {
	node  mq.NodeID
	epoch uint64
	why   string
}

func newJudge(timing Timing) *judge {
	return &judge{timing: timing, brokers: map[mq.NodeID]*liveness{}}
}

// lead begins to judge: the controller leads, and what it sees is the present state. Every session begins anew. Brokers that died
// together with the leader before are found by dialing all.
func (j *judge) lead(now time.Duration, img *metadata.Image) {
	j.leading, j.proven, j.ticked = true, false, now
	if !j.planted.sessionsKept {
		clear(j.brokers)
	}
	j.sync(now, img)
	for _, l := range j.brokers {
		l.dialAfter = now
	}
}

// yield ends it: another controller leads, or none does.
func (j *judge) yield() {
	j.leading, j.proven = false, false
	if !j.planted.sessionsKept {
		clear(j.brokers)
	}
}

// confirm says that the controller was proven to lead, without a break since lead, by a majority that was asked at a time.
func (j *judge) confirm(asked time.Duration) {
	if j.leading && (!j.proven || asked > j.confirmed) {
		j.proven, j.confirmed = true, asked
	}
}

// sync takes over who is registered and not fenced.
func (j *judge) sync(now time.Duration, img *metadata.Image) {
	for id := range j.brokers {
		if b := img.Broker(id); b == nil || b.Fenced {
			delete(j.brokers, id)
		}
	}
	for _, b := range img.Brokers() {
		if l := j.brokers[b.ID]; !b.Fenced && (l == nil || l.epoch != b.Epoch) {
			// Its stream is about to come.
			j.brokers[b.ID] = &liveness{epoch: b.Epoch, address: rpcAddress(b), heard: now, dialAfter: now + j.timing.Redial, pause: j.timing.Redial}
		}
	}
}

// hear takes a heartbeat and gives the lease that answers it, from when it was sent. StaleBrokerEpoch for a registration that is over.
func (j *judge) hear(now time.Duration, h heartbeat, img *metadata.Image) (lease time.Duration, fenced bool, err error) {
	j.sync(now, img)
	l := j.brokers[h.node]
	switch b := img.Broker(h.node); {
	case b == nil:
		return 0, false, mq.Errorf(mq.StaleBrokerEpoch, "broker %d is not registered", h.node)
	case b.Epoch != h.epoch:
		return 0, false, mq.Errorf(mq.StaleBrokerEpoch, "broker %d of epoch %d: its epoch is %d", h.node, h.epoch, b.Epoch)
	case b.Fenced:
		return 0, true, nil
	}
	l.stream, l.image, l.leaving = h.stream, h.image, h.leaving
	if l.condemned != "" && l.fences > 0 && !j.planted.condemnedLeased {
		return 0, false, nil
	}
	l.heard, l.condemned = now, ""
	if !j.proven && !j.planted.proofIgnored {
		return 0, false, nil
	}
	if j.planted.ageIgnored || !j.proven {
		return j.timing.Lease, false, nil
	}
	return max(0, j.timing.Lease-max(0, now-j.confirmed)), false, nil
}

// firstRedial is from the first attempt to reach a broker whose stream broke to the second; each pause is twice the one before, up to
// Timing.Redial. A process that ends closes one socket after the other: its listener may take a connection when the stream is gone already.
const firstRedial = 5 * time.Millisecond

// broke says that a stream of a broker ended. Its process may have: the next orders have it dialed.
func (j *judge) broke(now time.Duration, node mq.NodeID, epoch, stream uint64) {
	if l := j.brokers[node]; l != nil && l.epoch == epoch && l.stream == stream {
		l.stream, l.dialAfter, l.pause = 0, now, min(firstRedial, j.timing.Redial)
	}
}

// dialed says what became of an order. Refused: nothing listens at the broker's address, so its process is gone, and with it whoever
// could use a lease.
func (j *judge) dialed(now time.Duration, o dialOrder, refused bool) {
	l := j.brokers[o.node]
	if l == nil || l.epoch != o.epoch {
		return
	}
	l.dialing, l.dialAfter, l.pause = false, now+l.pause, min(2*l.pause, j.timing.Redial)
	if refused && l.stream == 0 && l.condemned == "" {
		l.condemned = "nothing listens at " + o.address + ": its process has ended"
	}
}

// tick looks at who has been silent for too long. Time in which nobody ticked is not held against anybody: a controller that
// was stopped for a while has not listened.
func (j *judge) tick(now time.Duration) {
	missed := max(0, now-j.ticked-4*j.timing.Tick)
	j.ticked = now
	for _, l := range j.brokers {
		l.heard = min(now, l.heard+missed)
		if silent := now - l.heard; silent >= j.timing.Session && l.condemned == "" {
			l.condemned = fmt.Sprintf("it was silent for %v", silent)
		}
	}
}

// orders are what is to be done now, by ascending node id. An order is not given again before it may be needed again.
func (j *judge) orders(now time.Duration) (dials []dialOrder, fences []fenceOrder) {
	for id, l := range j.brokers {
		switch {
		case l.condemned != "" && now >= l.fenceNext:
			l.fenceNext = now + j.timing.Redial
			l.fences++
			fences = append(fences, fenceOrder{id, l.epoch, l.condemned})
		case l.condemned == "" && l.stream == 0 && l.address != "" && !l.dialing && now >= l.dialAfter:
			l.dialing = true
			dials = append(dials, dialOrder{id, l.epoch, l.address})
		}
	}
	slices.SortFunc(dials, func(a, b dialOrder) int { return cmp.Compare(a.node, b.node) })
	slices.SortFunc(fences, func(a, b fenceOrder) int { return cmp.Compare(a.node, b.node) })
	return dials, fences
}

// unfenced says that the command of an order was not carried out, and will not be.
func (j *judge) unfenced(o fenceOrder) {
	if l := j.brokers[o.node]; l != nil && l.epoch == o.epoch {
		l.fences--
		if j.planted.doubtForgotten {
			l.fences = 0
		}
	}
}

// leaving are the brokers that want to go, ascending.
func (j *judge) leaving() (ids []mq.NodeID) {
	for id, l := range j.brokers {
		if l.leaving {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
