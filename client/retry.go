package client

import (
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

const (
	firstBackoff = 20 * time.Millisecond
	maxBackoff   = 2 * time.Second
)

// newBackoff is the pause between attempts of whatever kind: growing, and spread by half so that clients do not move in step.
func newBackoff() *backoff.ExponentialBackOff {
	b := &backoff.ExponentialBackOff{
		InitialInterval: firstBackoff, MaxInterval: maxBackoff, Multiplier: 2, RandomizationFactor: backoff.DefaultRandomizationFactor,
	}
	b.Reset()
	return b
}

// produceBackoff is newBackoff for what records wait for: no pause takes much of the time that a record has, or one that is produced as the
// trouble ends would expire before it is tried once.
func (c *Client) produceBackoff() *backoff.ExponentialBackOff {
	b := newBackoff()
	b.MaxInterval = min(maxBackoff, max(firstBackoff, c.cfg.deliveryTimeout/8))
	return b
}

// While a leader is being elected the pauses stay short, for so many times: some ten seconds. After that a cluster is in trouble that more questions do
// not end.
const (
	eagerPause = 100 * time.Millisecond
	eagerTimes = 100
)

// eagerBackoff is the pause between looks for a leader.
type eagerBackoff struct {
	b     *backoff.ExponentialBackOff
	times int
}

func newEagerBackoff() *eagerBackoff { return &eagerBackoff{b: newBackoff()} }

func (e *eagerBackoff) next() time.Duration {
	d := e.b.NextBackOff()
	if e.times++; e.times <= eagerTimes {
		d = min(d, eagerPause)
	}
	return d
}

// answered takes the answer to b and adds the verdicts that it leads to.
func (p *partition) answered(st *produceStream, b *batch, ack *quicproto.Ack, out []verdict) []verdict {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.state != onWire || b.stream != st {
		return out // given up in the meantime
	}
	if ack.Code == mq.None {
		b.answered = true
		p.retry, p.seeking = nil, false
		if ack.Duplicate {
			p.c.count.duplicates.Add(1)
		}
		out = p.settle(out, verdict{b: b, base: ack.Base, timestamp: ack.Timestamp, reached: ack.Mark})
	} else {
		out = p.refuse(b, ack.Err(), out)
	}
	return p.regroup(out)
}

// refuse decides what becomes of a batch that the server did not take. The mutex is held.
func (p *partition) refuse(b *batch, err error, out []verdict) []verdict {
	p.refused = true
	code := mq.CodeOf(err)
	missed := (code == mq.OutOfOrderSequence || code == mq.UnknownProducerID) && (p.broken || p.behind(b))
	if !missed { // what is missed is told of by the one before it that is to blame
		p.c.noteTrouble(&PartitionError{Topic: p.topic.name, Partition: p.index, Err: err})
	}
	switch code {
	case mq.OutOfOrderSequence, mq.UnknownProducerID:
		switch {
		case missed: // only for want of one before it
		case code == mq.UnknownProducerID && !b.unsure: // forgotten by the server, and so certainly not appended
			p.broken = true
		default:
			p.fatal = err
		}
		return p.resend(b, out)
	case mq.InvalidProducerEpoch, mq.DuplicateSequence:
		p.fatal = err
		return p.resend(b, out)
	}
	if code.Retriable() {
		b.unsure = b.unsure || maybeAppended(code)
		p.moved = p.moved || leaderUnknown(code)
		return p.resend(b, out)
	}
	if p.id != nil {
		if last := p.sent.all(); last[len(last)-1] == b && !b.unsure {
			p.next = b.sequence // nobody will miss it
		} else {
			p.broken = true
		}
	}
	return p.settle(out, verdict{b: b, err: err})
}

// behind reports whether a batch sent before b has no good end yet. The mutex is held.
func (p *partition) behind(b *batch) bool {
	for _, other := range p.sent.all() {
		if other == b {
			return false
		}
		if other.state == again || other.state == onWire {
			return true
		}
	}
	return false
}

// resend marks a batch on the wire to be sent again. The mutex is held.
func (p *partition) resend(b *batch, out []verdict) []verdict {
	b.state = again
	p.onWire--
	p.again++
	return out
}

// maybeAppended reports whether the server may have appended a batch that it answered with code.
func maybeAppended(code mq.Code) bool {
	switch code {
	case mq.StorageFull, mq.TooManyRequests, mq.ThrottlingQuotaExceeded, mq.NotEnoughReplicas,
		mq.UnknownTopicOrPartition, mq.UnknownTopicID, mq.CorruptMessage:
		return false
	default:
		return true
	}
}

// leaderUnknown reports whether code calls for a look at the metadata.
func leaderUnknown(code mq.Code) bool {
	switch code {
	case mq.NotLeaderOrFollower, mq.LeaderNotAvailable, mq.UnknownTopicOrPartition, mq.UnknownTopicID,
		mq.FencedLeaderEpoch, mq.UnknownLeaderEpoch, mq.KafkaStorageError, mq.ShuttingDown:
		return true
	case mq.NotEnoughReplicas, mq.NotEnoughReplicasAfterAppend, mq.RequestTimedOut, mq.NetworkException, mq.NotController, mq.OffsetNotAvailable:
		return true // it may have lost touch with the others, and they go on without it
	default:
		return false
	}
}

// regroup trims what is settled and, once all answers are there after a refusal, sees how to go on. The mutex is held.
func (p *partition) regroup(out []verdict) []verdict {
	if p.onWire > 0 || !p.refused {
		p.trim()
		return out
	}
	p.refused = false
	if p.fatal != nil {
		p.c.log.Error("producer sequence is beyond repair, records are lost or of unknown fate",
			"topic", p.topic.name, "partition", p.index, "batches", p.again, "err", p.fatal)
		out = p.failSent(out, p.fatal, func(*batch) bool { return true })
		p.broken, p.fatal = true, nil
	}
	if p.broken {
		// Those that may be there already must not go out under another identity.
		out = p.failSent(out, mq.Errorf(mq.OutOfOrderSequence, "a batch before this one failed, and it is not known whether this one was appended"),
			func(b *batch) bool { return b.unsure })
		p.anew()
	}
	p.trim()
	if p.moved {
		p.moved, p.seeking = false, p.again > 0
		p.detach()
		p.c.refresh(p.topic)
	}
	if p.again > 0 {
		p.pause()
	}
	return out
}

// failSent settles those batches that wait to be sent again and that doomed picks. The mutex is held.
func (p *partition) failSent(out []verdict, err error, doomed func(*batch) bool) []verdict {
	for _, b := range p.sent.all() {
		if b.state == again && doomed(b) {
			out = p.settle(out, verdict{b: b, err: err})
		}
	}
	return out
}

// anew gives up the identity: the next batch goes out under another. Nothing may be on the wire. The mutex is held.
func (p *partition) anew() {
	p.broken = false
	if p.id != nil {
		p.stale, p.id = p.id.generation, nil
	}
	p.sent.keep(func(b *batch) bool {
		if b.state == settled {
			b.trimmed = true
			p.reuse(b)
			return false
		}
		return true
	})
}

// detach takes the partition off its stream, so that its leader is looked up. The mutex is held.
func (p *partition) detach() {
	p.stream, p.link = nil, nil
	p.queued, p.searched = false, false
}

// pause waits before anything is sent again. The mutex is held.
func (p *partition) pause() {
	if p.retry == nil {
		p.retry = p.c.produceBackoff()
	}
	p.paused = true
	p.resume = time.AfterFunc(p.retry.NextBackOff(), func() {
		p.mu.Lock()
		p.paused = false
		st, search := p.poke()
		p.mu.Unlock()
		p.dispatch(st, search)
	})
}

// leave takes the partition off st once nothing is on the wire.
func (p *partition) leave(st *produceStream) {
	p.mu.Lock()
	var out []verdict
	if p.stream == st {
		p.refused, p.moved = true, true
		out = p.regroup(out)
	}
	to, search := p.poke()
	p.mu.Unlock()
	p.c.tell(out)
	p.dispatch(to, search)
}

// lost is called when st is gone and nobody writes to it any more. What was on the wire may have been appended or not: it is sent again, and the
// server knows by its sequence.
func (p *partition) lost(st *produceStream) {
	p.mu.Lock()
	var out []verdict
	if p.stream == st || p.stream == nil && p.link == st.link {
		p.detach()
	}
	for _, b := range p.sent.all() {
		if b.state == onWire && b.stream == st {
			b.unsure = true
			out = p.resend(b, out)
		}
	}
	out = p.regroup(out)
	to, search := p.poke()
	p.mu.Unlock()
	p.c.tell(out)
	p.dispatch(to, search)
}

// expire fails what is older than the delivery timeout. Behind a batch whose fate is unknown nothing that was sent can be sent again, for its
// sequence may have a hole there: it fails too.
func (p *partition) expire(now time.Time) {
	late := now.Add(-p.c.cfg.deliveryTimeout)
	p.mu.Lock()
	var out []verdict
	err := error(nil)
	timedOut := func() error {
		if err == nil {
			err = p.c.timeoutError()
		}
		return err
	}
	for p.full.len() > 0 && p.full.all()[0].born.Before(late) {
		out = p.settle(out, verdict{b: p.full.pop(), err: timedOut()})
	}
	if p.open != nil && p.open.born.Before(late) {
		out = p.settle(out, verdict{b: p.open, err: timedOut()})
		p.open = nil
	}
	cut := false
	for _, b := range p.sent.all() {
		if b.state != settled && (b.born.Before(late) || cut) {
			out = p.settle(out, verdict{b: b, err: timedOut()})
			cut = p.c.cfg.idempotent
		}
	}
	if cut {
		p.refused, p.fatal = false, nil
		p.anew()
	}
	p.trim()
	st, search := p.poke()
	p.mu.Unlock()
	p.c.tell(out)
	p.dispatch(st, search)
}

// renew goes on under another identity, for the topic was created anew, and fails what may have been appended to the old one. What is on the
// wire for the first time is left to its answer: it may well have been sent to the new topic, and whoever was told that it failed would
// send it twice.
func (p *partition) renew(err error) {
	p.mu.Lock()
	var out []verdict
	for _, b := range p.sent.all() {
		if b.state == again || b.state == onWire && b.unsure {
			out = p.settle(out, verdict{b: b, err: err})
		}
	}
	p.refused, p.broken, p.fatal = true, true, nil
	p.epoch = mq.NoEpoch // the new topic's epochs are others
	out = p.regroup(out)
	p.mu.Unlock()
	p.c.tell(out)
}

// fail settles everything with err. With last, nothing more is accepted.
func (p *partition) fail(err error, last bool) {
	p.mu.Lock()
	var out []verdict
	sent := false
	for _, b := range p.sent.all() {
		if b.state != settled {
			out = p.settle(out, verdict{b: b, err: err})
			sent = true
		}
	}
	for p.full.len() > 0 {
		out = p.settle(out, verdict{b: p.full.pop(), err: err})
	}
	if p.open != nil {
		out = p.settle(out, verdict{b: p.open, err: err})
		p.open = nil
	}
	if sent {
		p.refused, p.fatal = false, nil
		p.anew()
	}
	p.trim()
	if last {
		p.closed = true
		if p.linger != nil {
			p.linger.Stop()
		}
	}
	p.mu.Unlock()
	p.c.tell(out)
}
