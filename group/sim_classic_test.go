package group

import (
	"fmt"
	"slices"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// simClassic is a process that consumes with the classic protocol: eagerly, when it gives up everything before it joins again, or cooperatively.
type simClassic struct {
	group            string
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
	m := &simClassic{group: l.oneOf(classicGroup), name: fmt.Sprintf("c%03d", l.made), positions: make(map[partition]int64), next: l.now, rejoin: true}
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
	if !l.coop || m.id == "" {
		clear(m.positions)
	}
	m.synced, m.other = false, 0 // what was asked about what it had is of no use
	l.made++
	m.send(l, &JoinRequest{
		Group: m.group, Member: m.id, NewMember: fmt.Sprintf("%s-%d", m.name, l.made), RequireMember: true, SkipAssignment: true, Instance: m.instance,
		SessionTimeout: 10 * time.Second, RebalanceTimeout: 5 * time.Second, ProtocolType: consumerType, Protocols: m.protocols(l),
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
	r := &SyncRequest{Group: m.group, Member: m.id, Instance: m.instance, Generation: m.generation}
	if len(m.leader) > 0 {
		r.Assignments = m.assign(l)
	}
	m.send(l, r, 15*time.Second, func(response Response, err error) {
		if err != nil {
			m.failed(l, "a sync", err)
			return
		}
		m.synced = true
		assigned := readAssignment(l, response.(*SyncResponse).Assignment)
		for p := range m.positions {
			if !slices.Contains(assigned, p) {
				delete(m.positions, p)
				m.rejoin, m.next = true, l.now // somebody waits for it
			}
		}
		for _, p := range assigned {
			if _, ok := m.positions[p]; !ok {
				m.positions[p] = -1
			}
		}
	})
}

// protocols is what it brings.
func (m *simClassic) protocols(l *life) []ClassicProtocol {
	var topics []string
	owned := make(map[string][]int32)
	for _, t := range l.topics {
		topics = append(topics, t.Name)
		for index := range t.Partitions {
			if _, ok := m.positions[partition{t.ID, index}]; ok {
				owned[t.Name] = append(owned[t.Name], index)
			}
		}
	}
	return []ClassicProtocol{{Name: "sim", Metadata: subscriptionOf(topics, owned)}}
}

// assign gives everybody a share. What another one still has goes to nobody for now.
func (m *simClassic) assign(l *life) (all []ClassicAssignment) {
	holders := make(map[partition]int)
	for i, other := range m.leader {
		sub, err := l.shard.readSubscription(other.Metadata)
		if err != nil {
			l.failf("%v", err)
		}
		for _, p := range sub.owned.list() {
			holders[p] = i
		}
	}
	sets := make([][]partition, len(m.leader))
	n := 0
	for _, t := range l.topics {
		for index := range t.Partitions {
			p, to := partition{t.ID, index}, n%len(sets)
			n++
			if holder, held := holders[p]; !held || holder == to {
				sets[to] = append(sets[to], p)
			}
		}
	}
	for i, other := range m.leader {
		slices.SortFunc(sets[i], comparePartitions)
		all = append(all, ClassicAssignment{Member: other.Member, Assignment: l.shard.writeAssignment(fromSorted(sets[i]))})
	}
	return all
}

func readAssignment(l *life, b []byte) []partition {
	set, err := l.shard.readAssignment(b)
	if err != nil {
		l.failf("%v", err)
	}
	return set.list()
}

func (m *simClassic) heartbeat(l *life) {
	m.send(l, &ClassicHeartbeatRequest{Group: m.group, Member: m.id, Instance: m.instance, Generation: m.generation}, 2*time.Second,
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
	if g := l.shard.groups[m.group]; g != nil && g.classic != nil {
		for _, other := range g.classic.members {
			assigned += len(readAssignment(l, other.assignment))
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
		token = l.ask(l.fetchRequest(m.group, "", NoGeneration, unknown), func(response Response, err error) {
			if m.stopped(l) || m.other != token {
				return
			}
			m.other = 0
			if err == nil && m.synced && !m.rejoin {
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
	id := m.id
	token = l.commit(m.group, m.id, m.generation, offsets, func(p partition) bool {
		g := l.shard.groups[m.group]
		if g.protocol == ProtocolConsumer {
			return g.owners[p] != nil && g.owners[p].id == id
		}
		return slices.Contains(readAssignment(l, g.classic.members[id].assignment), p)
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
		l.ask(&LeaveRequest{Group: m.group, Members: []LeavingMember{{Member: m.id}}}, func(Response, error) {})
	}
	m.gone = true
	if m.instance != "" && l.chance(0.7) { // another life of the same
		next := l.newClassic()
		next.group, next.name, next.instance = m.group, m.instance, m.instance
		next.next = l.now.Add(time.Duration(l.rand.IntN(15)) * time.Second)
		l.classics = append(l.classics, next)
	}
}
