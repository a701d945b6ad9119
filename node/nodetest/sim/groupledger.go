package sim

import (
	"fmt"
	"sync"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// groupLedger is what the members of a group were told and did, and finds what must not be. Its methods may be called from any goroutine.
//
// It goes by the order of calls: what is acknowledged before a call begins, the call must know of. A member learns of a partition after the coordinator has decided; so a commit that
// is asked for when another member knows already that the partition is its own must not count.
type groupLedger struct {
	mu   sync.Mutex
	now  int // counts calls
	res  GroupResult
	of   map[int32]*partitionLedger
	seen map[string]bool // what was found wrong already, but for its details
}

// partitionLedger is what happened in one partition.
type partitionLedger struct {
	end   mq.Offset            // behind the last record that was acknowledged as produced
	owner string               // the last member that was told that it is its own; empty: that one has given it up or lost it
	since int                  // when it was told
	acked mq.Offset            // the greatest that was acknowledged as committed
	found mq.Offset            // the greatest that the coordinator said is committed
	times map[mq.Offset]int    // how often each was consumed
	claim map[string]mq.Offset // of each member that has it, as far as that knows: the least that it may consume next
}

func newGroupLedger() *groupLedger {
	return &groupLedger{of: make(map[int32]*partitionLedger), seen: make(map[string]bool)}
}

func (l *groupLedger) at(p int32) *partitionLedger {
	if l.of[p] == nil {
		l.of[p] = &partitionLedger{times: make(map[mq.Offset]int), claim: make(map[string]mq.Offset)}
	}
	return l.of[p]
}

// wrong notes what must not be.
func (l *groupLedger) wrong(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.note(format, args...)
}

// note is wrong with the mutex held. Of one kind it keeps the first.
func (l *groupLedger) note(format string, args ...any) {
	if !l.seen[format] {
		l.seen[format] = true
		l.res.Wrong = append(l.res.Wrong, fmt.Sprintf(format, args...))
	}
}

// produced notes that a record was acknowledged.
func (l *groupLedger) produced(partition int32, offset mq.Offset) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.res.Produced++
	p := l.at(partition)
	p.end = max(p.end, offset+1)
}

// end is what a partition has at least.
func (l *groupLedger) end(partition int32) mq.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at(partition).end
}

// tick is when a call begins.
func (l *groupLedger) tick() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now++
	return l.now
}

// assigned has a member know that partitions are its own.
func (l *groupLedger) assigned(member string, got []client.TopicPartition) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now++
	for _, tp := range got {
		p := l.at(tp.Partition)
		p.owner, p.since = member, l.now
		p.claim[member] = max(p.acked, p.found)
	}
}

// gone has a member know that partitions are its own no more.
func (l *groupLedger) gone(member string, gone []client.TopicPartition) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, tp := range gone {
		p := l.at(tp.Partition)
		delete(p.claim, member)
		if p.owner == member {
			p.owner = ""
		}
	}
}

// consumed has a member work on a record: on those of its own only, in order, and from what was committed on.
func (l *groupLedger) consumed(member string, tp client.TopicPartition, offset mq.Offset) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.at(tp.Partition)
	next, has := p.claim[member]
	switch {
	case !has:
		l.note("%s consumes %d of partition %d, which is not its own", member, offset, tp.Partition)
	case offset < next:
		l.note("%s consumes %d of partition %d, and was behind that or it was committed: %d is next", member, offset, tp.Partition, next)
	}
	p.claim[member] = offset + 1
	p.times[offset]++
	l.res.Consumed++
}

// committed is the outcome of a commit that began at a time.
func (l *groupLedger) committed(member string, tp client.TopicPartition, offset mq.Offset, began int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.at(tp.Partition)
	if err != nil {
		l.res.Refused++
		return
	}
	l.res.Commits++
	if p.owner != "" && p.owner != member && p.since < began {
		l.note("%s commits %d of partition %d, which %s had before that", member, offset, tp.Partition, p.owner)
	}
	p.acked = max(p.acked, offset)
}

// acknowledged is what of each partition was acknowledged as committed, or said to be.
func (l *groupLedger) acknowledged() map[int32]mq.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[int32]mq.Offset)
	for i, p := range l.of {
		out[i] = max(p.acked, p.found)
	}
	return out
}

// look compares what the coordinator says is committed with what was acknowledged before it was asked.
func (l *groupLedger) look(before, found map[int32]mq.Offset) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, want := range before {
		if got := found[i]; want > 0 && got < want {
			l.note("partition %d: %d is committed, and %d was", i, got, want)
		}
	}
	for i, got := range found {
		p := l.at(i)
		p.found = max(p.found, got)
	}
}

// finish has each record consumed that there is.
func (l *groupLedger) finish(ends map[int32]mq.Offset) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, end := range ends {
		p := l.at(i)
		for o := range end {
			if p.times[o] == 0 {
				l.note("record %d of partition %d was never consumed, of %d", o, i, end)
			}
		}
	}
}

func (l *groupLedger) result() *GroupResult {
	l.mu.Lock()
	defer l.mu.Unlock()
	res := l.res
	for _, p := range l.of {
		for _, n := range p.times {
			res.Again += n - 1
		}
	}
	return &res
}
