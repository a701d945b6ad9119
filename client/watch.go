package client

import (
	"time"

	"github.com/rustmq/rustmq/mq"
)

// What follows from silence, in looks of lookEvery. Nobody is given up for silence alone before giveUpAfter: that others lead is what metadata
// says, with a newer leader epoch.
const (
	// overdueAfter is how long an acknowledgement may take, beside twice the round trip, until other nodes are asked who leads.
	overdueAfter = 100 * time.Millisecond
	// askAfter is when a server that has not been heard of is asked for a sign of life.
	askAfter = 2
	// giveUpAfter is when the connection to a server that has not been heard of is given up: 5 s.
	giveUpAfter = 100
	// eagerLooks is for how long metadata is asked for every eagerEvery, and after that every slowEvery.
	eagerLooks = 200
	eagerEvery = 2
	slowEvery  = 20
)

// watch is called each lookEvery. When answers are awaited and the server has not been heard of for some time, it asks for a sign of life,
// and later gives up the connection. It returns the topics whose metadata is to be fetched, for their acknowledgements are overdue: their leader may
// be dead, or cut off from the controllers, and another one elected.
func (st *produceStream) watch() []*topic {
	packets := st.sess.packets()
	st.mu.Lock()
	if st.dead {
		st.mu.Unlock()
		return nil
	}
	st.looks++
	st.silent++
	if packets != st.packets || len(st.flight) == 0 {
		st.packets, st.silent = packets, 0
	}
	if st.silent == askAfter {
		st.probe = true
	}
	topics, patient := st.overdue(patience(st.sess.conn.RTT()))
	claimed := st.claim()
	st.mu.Unlock()
	if st.silent >= askAfter {
		st.sess.conn.Probe() // the stream's own may wait behind what the server has no room for
		st.sess.doubt(st.packets)
	}
	if st.silent >= giveUpAfter {
		st.sess.close(mq.NetworkException, "server does not answer")
	}
	if claimed {
		st.drain(true)
	}
	if len(topics) == 0 {
		st.stalled = 0
		return nil
	}
	st.stalled++
	if !timeToAsk(st.stalled-1, patient) {
		return nil
	}
	return topics
}

// patience is how many looks an acknowledgement may take.
func patience(rtt time.Duration) int {
	return int((overdueAfter + 2*rtt + lookEvery - 1) / lookEvery)
}

// timeToAsk reports whether metadata is to be asked for that many looks after it was first. Who is patient, as one who waits for the object store,
// asks soon less often.
func timeToAsk(looks int, patient bool) bool {
	switch {
	case looks%slowEvery == 0:
		return true
	case patient:
		return looks < slowEvery && looks&(looks-1) == 0
	default:
		return looks < eagerLooks && looks%eagerEvery == 0
	}
}

// overdue lists the topics of batches whose acknowledgement is overdue. patient says that all of them ask for the object store, which takes its
// time. The mutex is held.
func (st *produceStream) overdue(after int) (topics []*topic, patient bool) {
	patient = true
	var seen map[*topic]bool
	for _, b := range st.flight {
		if st.looks-b.look < after {
			continue
		}
		patient = patient && b.want == mq.DurabilityObject
		if t := b.part.topic; !seen[t] {
			if seen == nil {
				seen = make(map[*topic]bool)
			}
			seen[t] = true
			topics = append(topics, t)
		}
	}
	return topics, patient
}

// overtaken is called when another node leads p now, in a newer epoch. If this one still acknowledges, it will say so itself. If not, all that is in
// flight goes elsewhere: nobody can know of it whether it was appended, and the new leader knows what it has.
func (st *produceStream) overtaken(p *partition) {
	after := patience(st.sess.conn.RTT())
	st.mu.Lock()
	stuck := false
	for _, b := range st.flight {
		stuck = stuck || b.part == p && st.looks-b.look >= after
	}
	st.mu.Unlock()
	switch {
	case !stuck:
	case st.sess.suspect():
		st.sess.close(mq.NetworkException, "server does not answer, and another one leads")
	default:
		st.abandon()
	}
}
