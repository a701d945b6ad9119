package group

import (
	"fmt"
	"slices"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// simMember is a process that consumes with the consumer protocol.
type simMember struct {
	group        string
	id, instance string
	rack         string
	topics       []string
	pattern      string
	assignor     string

	epoch       int32
	tell        bool // what it may consume has changed, and it has not said so
	mustSay     bool // an answer is missing
	assigned    Partitions
	positions   map[partition]int64 // of what it consumes; -1 before it knows where to begin
	revokeAt    time.Time           // when it will have given up what it is no longer assigned
	next        time.Time
	beat        Token // under way
	beatUntil   time.Time
	other       Token // a fetch under way
	otherUntil  time.Time
	commits     Token // a commit under way
	commitEpoch int32
	pausedUntil time.Time
	gone        bool
}

func (l *life) newMember() *simMember {
	l.made++
	m := &simMember{group: l.oneOf(consumerGroup), id: fmt.Sprintf("m%03d", l.made), positions: make(map[partition]int64), next: l.now, mustSay: true}
	if l.chance(0.3) {
		m.instance = fmt.Sprintf("i%03d", l.made)
	}
	if l.chance(0.5) {
		m.rack = string("abc"[l.rand.IntN(3)])
	}
	switch l.rand.IntN(3) {
	case 0:
		m.pattern = "topic-[0-9]"
	default:
		for _, t := range l.topics {
			m.topics = append(m.topics, t.Name)
		}
	}
	m.assignor = []string{"", AssignorUniform, AssignorRange}[l.rand.IntN(3)]
	return m
}

// oneOf gives a group, or seldom the one in which both protocols are spoken.
func (l *life) oneOf(group string) string {
	if l.chance(0.3) {
		return mixedGroup
	}
	return group
}

func (m *simMember) stopped(l *life) bool { return m.gone || l.now.Before(m.pausedUntil) }

func (m *simMember) owned() Partitions {
	all := make([]partition, 0, len(m.positions))
	for p := range m.positions {
		all = append(all, p)
	}
	slices.SortFunc(all, comparePartitions)
	return fromSorted(all)
}

// act does what is due.
func (m *simMember) act(l *life) {
	if m.stopped(l) {
		return
	}
	if !m.revokeAt.IsZero() && !m.revokeAt.After(l.now) {
		m.revokeAt = time.Time{}
		for p := range m.positions {
			if !m.assigned.Has(p.topic, p.index) {
				delete(m.positions, p)
			}
		}
		m.next = l.now
	}
	if m.beat != 0 && m.beatUntil.Before(l.now) {
		m.beat, m.mustSay, m.next = 0, true, l.now
	}
	if m.beat == 0 && !m.next.After(l.now) {
		m.heartbeat(l)
	}
	if m.other != 0 && m.otherUntil.Before(l.now) {
		m.other = 0
	}
	if m.other == 0 && m.epoch > 0 && l.chance(0.3) {
		m.consume(l)
	}
}

func (m *simMember) heartbeat(l *life) {
	r := &HeartbeatRequest{Group: m.group, Member: m.id, Epoch: m.epoch, Instance: m.instance}
	if m.epoch == EpochJoin {
		clear(m.positions)
		m.assigned, m.revokeAt = nil, time.Time{}
	}
	owned := m.owned()
	if m.epoch == EpochJoin || m.mustSay {
		r.Rack, r.RebalanceTimeout, r.Topics, r.Assignor = m.rack, 5*time.Second, slices.Clone(m.topics), &m.assignor
		if r.Topics == nil {
			r.Topics = []string{}
		}
		r.Pattern = &m.pattern
	}
	if m.epoch != EpochJoin && (m.mustSay || m.tell && m.revokeAt.IsZero()) {
		r.Owned = owned
		if r.Owned == nil {
			r.Owned = Partitions{}
		}
	}
	m.next = l.now.Add(l.cfg.HeartbeatInterval)
	m.beatUntil = l.now.Add(2 * time.Second)
	var token Token
	token = l.ask(r, func(response Response, err error) {
		if m.stopped(l) || m.beat != token {
			return
		}
		m.beat = 0
		m.heard(l, r, response, err)
	})
	m.beat = token
}

func (m *simMember) heard(l *life, r *HeartbeatRequest, response Response, err error) {
	switch code := mq.CodeOf(err); code {
	case mq.None:
	case mq.UnknownMemberID, mq.FencedMemberEpoch, mq.FencedInstanceID:
		m.epoch, m.mustSay, m.next = EpochJoin, true, l.now
		clear(m.positions)
		m.assigned = nil
		return
	case mq.NotCoordinator, mq.UnreleasedInstanceID, mq.InconsistentGroupProtocol:
		m.mustSay, m.next = true, l.now.Add(100*time.Millisecond)
		return
	default:
		l.failf("a heartbeat of %s: %v", m.id, err)
		return
	}
	m.mustSay, m.tell = false, m.tell && r.Owned == nil
	answer := response.(*HeartbeatResponse)
	m.epoch = answer.Epoch
	if !answer.Changed {
		return
	}
	m.assigned, m.tell, m.other = answer.Assigned, true, 0 // what was asked about what it had is of no use
	for _, p := range answer.Assigned.list() {
		if _, ok := m.positions[p]; !ok {
			m.positions[p] = -1
		}
	}
	if len(m.positions) > answer.Assigned.Len() {
		m.revokeAt = l.now.Add(time.Duration(l.rand.IntN(3000)) * time.Millisecond)
		if !l.churn {
			m.revokeAt = l.now
		}
	} else {
		m.revokeAt = time.Time{}
	}
}

// consume learns where to begin, or goes on and commits.
func (m *simMember) consume(l *life) {
	var unknown []partition
	offsets := make(map[partition]int64)
	if m.commits != 0 && m.commitEpoch == m.epoch {
		return // it may still arrive, after another one
	}
	for p, at := range m.positions {
		if at < 0 {
			unknown = append(unknown, p)
		} else {
			offsets[p] = at
		}
	}
	m.otherUntil = l.now.Add(2 * time.Second)
	var token Token
	if len(unknown) > 0 {
		token = l.ask(l.fetchRequest(m.group, m.id, m.epoch, unknown), func(response Response, err error) {
			if m.stopped(l) || m.other != token {
				return
			}
			m.other = 0
			if err == nil {
				begin(l, m.group, m.positions, response)
			}
		})
		m.other = token
		return
	}
	if len(offsets) == 0 {
		return
	}
	move(l, m.positions, offsets)
	epoch := m.epoch
	token = l.commit(m.group, m.id, epoch, offsets, func(p partition) bool {
		g := l.shard.groups[m.group]
		return g != nil && g.protocol == ProtocolConsumer && g.owners[p] != nil && g.owners[p].id == m.id
	}, func(token Token) {
		if m.commits == token {
			m.commits = 0
		}
	})
	m.commits, m.commitEpoch = token, epoch
}

// begin sets positions to what is committed.
func begin(l *life, group string, positions map[partition]int64, response Response) {
	for _, t := range response.(*FetchResponse).Topics {
		for _, o := range t.Offsets {
			p := partition{t.ID, o.Partition}
			if o.Offset >= 0 {
				l.told[place{group, p}] = max(l.told[place{group, p}], int64(o.Offset))
			}
			if at, ok := positions[p]; ok && at < 0 {
				positions[p] = max(0, int64(o.Offset))
			}
		}
	}
}

// move consumes some records of each partition, in an order that the seed decides.
func move(l *life, positions, offsets map[partition]int64) {
	all := make([]partition, 0, len(offsets))
	for p := range offsets {
		all = append(all, p)
	}
	slices.SortFunc(all, comparePartitions)
	for _, p := range all {
		positions[p] += l.rand.Int64N(10)
		offsets[p] = positions[p]
	}
}

// commit commits, and holds that it is taken only of who owns all of it. It may be on its way for a while.
func (l *life) commit(group, member string, generation int32, offsets map[partition]int64, owns func(partition) bool, heard func(Token)) Token {
	l.token++
	token := l.token
	send := func() {
		fx := l.shard.Handle(l.now, token, l.commitRequest(group, member, generation, offsets))
		for _, r := range fx.Replies {
			if r.Token != token || r.Err != nil {
				continue
			}
			for p := range offsets {
				if !owns(p) {
					l.failf("a commit of %s in %d was taken, which does not own %s-%d", member, generation, l.name(p.topic), p.index)
				}
			}
			l.tookCommit(group, member, offsets)
		}
		l.waiting[token] = func(_ Response, err error) {
			heard(token)
			if err == nil {
				for p, offset := range offsets {
					l.told[place{group, p}] = max(l.told[place{group, p}], offset)
				}
			}
		}
		l.do(fx)
	}
	if l.churn && l.chance(0.2) {
		l.late = append(l.late, lateCommit{l.now.Add(time.Duration(l.rand.IntN(5000)) * time.Millisecond), send})
	} else {
		send()
	}
	return token
}

// leave ends the process: it says so, in one of the ways there are, or it does not.
func (m *simMember) leave(l *life) {
	if len(l.members) < 2 {
		return
	}
	l.members = slices.DeleteFunc(l.members, func(other *simMember) bool { return other == m })
	away := false
	switch {
	case m.stopped(l) || m.epoch == EpochJoin || l.chance(0.4): // it crashes
	case m.instance != "" && l.chance(0.7):
		away = true
		l.ask(&HeartbeatRequest{Group: m.group, Member: m.id, Instance: m.instance, Epoch: EpochLeaveStatic}, func(Response, error) {})
	default:
		l.ask(&HeartbeatRequest{Group: m.group, Member: m.id, Instance: m.instance, Epoch: EpochLeave}, func(Response, error) {})
	}
	m.gone = true
	if m.instance != "" && (away || l.chance(0.5)) { // another life of the same
		next := l.newMember()
		next.group, next.instance, next.topics, next.pattern, next.rack, next.assignor = m.group, m.instance, m.topics, m.pattern, m.rack, m.assignor
		next.next = l.now.Add(time.Duration(l.rand.IntN(15)) * time.Second)
		l.members = append(l.members, next)
	}
}
