package group

import (
	"fmt"
	"slices"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// simClassic is a process that consumes with the classic protocol, eagerly: it gives up everything before it joins again.
type simClassic struct {
	name, instance   string
	id               string // given by the coordinator
	generation       int32
	synced           bool
	rejoin           bool
	leads            bool
	leader           []JoinedMember
	positions        map[partition]int64
	next             time.Time
	call             Token
	callUntil        time.Time
	other            Token
	otherUntil       time.Time
	pausedUntil      time.Time
	commits          Token
	commitGeneration int32
	gone             bool
}

func (l *life) newClassic() *simClassic {
	l.made++
	m := &simClassic{name: fmt.Sprintf("c%03d", l.made), positions: make(map[partition]int64), next: l.now, rejoin: true}
	if l.chance(0.3) {
		m.instance = m.name
	}
	return m
}

func (m *simClassic) stopped(l *life) bool { return m.gone || l.now.Before(m.pausedUntil) }

func (m *simClassic) act(l *life) {
	if m.stopped(l) {
		return
	}
	if m.call != 0 && m.callUntil.Before(l.now) {
		m.call, m.rejoin, m.next = 0, true, l.now
	}
	if m.call == 0 && !m.next.After(l.now) {
		switch {
		case m.rejoin:
			m.join(l)
		case !m.synced:
			m.sync(l)
		default:
			m.heartbeat(l)
		}
	}
	if m.other != 0 && m.otherUntil.Before(l.now) {
		m.other = 0
	}
	if m.other == 0 && m.synced && !m.rejoin && l.chance(0.3) {
		m.consume(l)
	}
}

// send asks, and hears only the answer to what it asked last.
func (m *simClassic) send(l *life, r Request, wait time.Duration, then func(Response, error)) {
	m.callUntil = l.now.Add(wait)
	m.next = l.now.Add(l.cfg.HeartbeatInterval)
	var token Token
	token = l.ask(r, func(response Response, err error) {
		if m.stopped(l) || m.call != token {
			return
		}
		m.call = 0
		then(response, err)
	})
	m.call = token
}

func (m *simClassic) failed(l *life, what string, err error) {
	m.next = l.now
	switch mq.CodeOf(err) {
	case mq.UnknownMemberID, mq.FencedInstanceID:
		m.id, m.rejoin = "", true
		clear(m.positions)
	case mq.IllegalGeneration:
		m.rejoin = true
		clear(m.positions)
	case mq.RebalanceInProgress:
		m.rejoin = true
	case mq.NotCoordinator:
		m.next = l.now.Add(100 * time.Millisecond)
	default:
		l.failf("%s of %s: %v", what, m.name, err)
	}
}

func (m *simClassic) join(l *life) {
	clear(m.positions)
	m.synced, m.other = false, 0 // what was asked about what it had is of no use
	l.made++
	m.send(l, &JoinRequest{
		Group: classicGroup, Member: m.id, NewMember: fmt.Sprintf("%s-%d", m.name, l.made), RequireMember: true, SkipAssignment: true, Instance: m.instance,
		SessionTimeout: 10 * time.Second, RebalanceTimeout: 5 * time.Second, ProtocolType: "sim", Protocols: []ClassicProtocol{{Name: "range"}},
	}, 15*time.Second, func(response Response, err error) {
		if mq.CodeOf(err) == mq.MemberIDRequired {
			m.id, m.next = response.(*JoinResponse).Member, l.now
			return
		}
		if err != nil {
			m.failed(l, "a join", err)
			return
		}
		joined := response.(*JoinResponse)
		m.id, m.generation, m.rejoin, m.next, m.leader = joined.Member, joined.Generation, false, l.now, nil
		if m.leads = joined.Leader == m.id; m.leads && !joined.SkipAssignment {
			m.leader = joined.Members
		}
	})
}

func (m *simClassic) sync(l *life) {
	r := &SyncRequest{Group: classicGroup, Member: m.id, Instance: m.instance, Generation: m.generation}
	if len(m.leader) > 0 {
		parts := make([][]byte, len(m.leader))
		n := 0
		for i, t := range l.topics {
			for index := range t.Partitions {
				parts[n%len(parts)] = append(parts[n%len(parts)], byte(i), byte(index))
				n++
			}
		}
		for i, other := range m.leader {
			r.Assignments = append(r.Assignments, ClassicAssignment{Member: other.Member, Assignment: parts[i]})
		}
	}
	m.send(l, r, 15*time.Second, func(response Response, err error) {
		if err != nil {
			m.failed(l, "a sync", err)
			return
		}
		m.synced = true
		for _, p := range readAssignment(l, response.(*SyncResponse).Assignment) {
			m.positions[p] = -1
		}
	})
}

func readAssignment(l *life, b []byte) (all []partition) {
	for i := 0; i+1 < len(b); i += 2 {
		all = append(all, partition{l.topics[b[i]].ID, int32(b[i+1])})
	}
	return all
}

func (m *simClassic) heartbeat(l *life) {
	m.send(l, &ClassicHeartbeatRequest{Group: classicGroup, Member: m.id, Instance: m.instance, Generation: m.generation}, 2*time.Second,
		func(_ Response, err error) {
			if err != nil {
				m.failed(l, "a heartbeat", err)
			} else if m.leads && (!l.churn || l.chance(0.1)) {
				m.lookAtTopics(l)
			}
		})
}

// lookAtTopics is how a leader notices partitions that came.
func (m *simClassic) lookAtTopics(l *life) {
	assigned := 0
	if g := l.shard.groups[classicGroup]; g != nil && g.classic != nil {
		for _, other := range g.classic.members {
			assigned += len(other.assignment) / 2
		}
	}
	there := 0
	for _, t := range l.topics {
		there += int(t.Partitions)
	}
	if assigned != there {
		m.rejoin = true
	}
}

func (m *simClassic) consume(l *life) {
	if m.commits != 0 && m.commitGeneration == m.generation {
		return // it may still arrive, after another one
	}
	var unknown []partition
	offsets := make(map[partition]int64)
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
		token = l.ask(l.fetchRequest(classicGroup, "", NoGeneration, unknown), func(response Response, err error) {
			if m.stopped(l) || m.other != token {
				return
			}
			m.other = 0
			if err == nil && m.synced && !m.rejoin {
				begin(l, classicGroup, m.positions, response)
			}
		})
		m.other = token
		return
	}
	if len(offsets) == 0 {
		return
	}
	move(l, m.positions, offsets)
	id := m.id
	token = l.commit(classicGroup, m.id, m.generation, offsets, func(p partition) bool {
		mine := l.shard.groups[classicGroup].classic.members[id]
		return slices.Contains(readAssignment(l, mine.assignment), p)
	}, func(token Token) {
		if m.commits == token {
			m.commits = 0
		}
	})
	m.commits, m.commitGeneration = token, m.generation
}

func (m *simClassic) leave(l *life) {
	if len(l.classics) < 2 {
		return
	}
	l.classics = slices.DeleteFunc(l.classics, func(other *simClassic) bool { return other == m })
	if !m.stopped(l) && m.id != "" && m.instance == "" && l.chance(0.6) {
		l.ask(&LeaveRequest{Group: classicGroup, Members: []LeavingMember{{Member: m.id}}}, func(Response, error) {})
	}
	m.gone = true
	if m.instance != "" && l.chance(0.7) { // another life of the same
		next := l.newClassic()
		next.name, next.instance = m.instance, m.instance
		next.next = l.now.Add(time.Duration(l.rand.IntN(15)) * time.Second)
		l.classics = append(l.classics, next)
	}
}
