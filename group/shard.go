package group

import (
	"cmp"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/rustmq/rustmq/mq"
)

// firesPerTick bounds the work of one [Shard.Tick], in timers. What is left is due at once.
const firesPerTick = 1000

// Shard coordinates all groups of one partition of __consumer_offsets. It belongs to one caller at a time.
//
// A new one first gets the partition's records by [Shard.Replay] and is then [Shard.Loaded]; nothing else may be called before. Times that it is
// given do not go back.
type Shard struct {
	cfg      Config
	override func(group string) Override
	planted  planted

	groups map[string]*group
	topics *Topics
	timers timers
	replay replay
	snap   snapshot

	now     time.Time // of the call that runs
	effects Effects
	touched []*group // have something to be written
	settle  []*group // have a target to be made
	swept   string   // the sweep goes on behind this group
	figures Figures
	bytes   int64   // that all groups hold
	limits  *limits // of them; nil for none
}

// NewShard makes a shard of no groups. Override, which may be nil, says what a group has instead of the configuration; it is asked during
// calls of the shard, and may give another thing in each: a member that is there already has what holds from its next heartbeat on.
func NewShard(cfg Config, override func(group string) Override) *Shard {
	if override == nil {
		override = func(string) Override { return Override{} }
	}
	return &Shard{cfg: cfg, override: override, groups: make(map[string]*group), topics: NewTopics(0, nil)}
}

// Configure changes the configuration for what comes.
func (s *Shard) Configure(cfg Config) { s.cfg = cfg }

// Loaded ends the replay. Every member has its whole session timeout from now on, and its whole rebalance timeout. CORRUPT when what was replayed
// does not begin where it can.
func (s *Shard) Loaded(now time.Time) error {
	if err := s.replay.complete(); err != nil {
		return err
	}
	s.now = now
	for _, id := range sortedKeys(s.groups) {
		s.groups[id].revive(s)
		s.groups[id].changes.more = true
		s.weigh(s.groups[id])
	}
	s.timers.set(timer{at: now.Add(s.cfg.OffsetsCheck), kind: timerSweep})
	return nil
}

// Spare gives every member its whole session timeout from now on, and its whole rebalance timeout: for a host that could not hear of its members for a while, or not answer them.
func (s *Shard) Spare(now time.Time) {
	s.now = now
	for _, id := range sortedKeys(s.groups) {
		s.groups[id].spare(s)
	}
}

// SetTopics tells what topics there are. Before the first time members whose coordinator assigns are answered COORDINATOR_LOAD_IN_PROGRESS. Groups look at them with their next request, or when the next [Shard.Tick] is due, which is at once.
// What is not newer than what is known changes nothing.
func (s *Shard) SetTopics(now time.Time, topics *Topics) {
	if topics.version <= s.topics.version {
		return
	}
	s.topics = topics
	for _, id := range sortedKeys(s.groups) {
		if g := s.groups[id]; g.protocol == ProtocolConsumer {
			s.timers.set(timer{at: now, kind: timerTopics, group: g})
		}
	}
}

// Handle handles a request. Its reply may come at once, or with a later call.
func (s *Shard) Handle(now time.Time, token Token, request Request) Effects {
	s.now = now
	response, err := s.dispatch(token, request)
	switch {
	case err != nil:
		s.reply(token, response, err)
	case response != nil:
		s.reply(token, response, nil)
	}
	return s.finish()
}

// Tick does what time has made due.
func (s *Shard) Tick(now time.Time) Effects {
	s.now = now
	for range firesPerTick {
		t, ok := s.timers.due(now)
		if !ok {
			break
		}
		if t.group != nil && s.groups[t.group.id] != t.group {
			continue // it is gone
		}
		s.fire(t)
	}
	return s.finish()
}

// Deadline is when the next [Shard.Tick] is due. It may be in the past; false when there is none.
func (s *Shard) Deadline() (time.Time, bool) {
	if len(s.timers.heap) == 0 {
		return time.Time{}, false
	}
	return s.timers.heap[0].at, true
}

// Figures are those of now.
func (s *Shard) Figures() Figures {
	f := s.figures
	f.Groups, f.Bytes = len(s.groups), s.bytes
	for _, g := range s.groups {
		f.Members += g.size()
		f.Offsets += g.offsets.n
	}
	return f
}

func (s *Shard) dispatch(token Token, request Request) (Response, error) {
	if err := s.room(request); err != nil {
		return nil, err
	}
	switch r := request.(type) {
	case *HeartbeatRequest:
		return orError(s.heartbeat(r))
	case *CommitRequest:
		return orError(s.commit(r))
	case *FetchRequest:
		return orError(s.fetch(r))
	case *JoinRequest:
		return s.join(token, r)
	case *SyncRequest:
		return s.sync(token, r)
	case *ClassicHeartbeatRequest:
		return orError(s.classicHeartbeat(r))
	case *LeaveRequest:
		return orError(s.leave(r))
	case *DeleteOffsetsRequest:
		return orError(s.deleteOffsets(r))
	case *ResetRequest:
		return orError(s.reset(r))
	case *DeleteGroupRequest:
		return orError(s.deleteGroup(r))
	case *DescribeRequest:
		return orError(s.describe(r))
	case *ListRequest:
		return s.list(), nil
	case *TopicsDeletedRequest:
		return s.topicsDeleted(r), nil
	}
	return nil, mq.Errorf(mq.UnsupportedVersion, "a request of type %T", request)
}

// orError makes an interface of a response that is none when there is an error.
func orError[R Response](response R, err error) (Response, error) {
	if err != nil {
		return nil, err
	}
	return response, nil
}

// fire does what a timer is for.
func (s *Shard) fire(t timer) {
	switch t.kind {
	case timerSession:
		s.sessionDue(t)
	case timerRevoke:
		s.revokeDue(t)
	case timerJoin:
		s.joinDue(t)
	case timerSync:
		s.syncDue(t)
	case timerPending:
		s.pendingDue(t)
	case timerTopics:
		t.group.lookAtTopics(s)
	case timerSweep:
		s.sweep()
	}
}

func (s *Shard) reply(token Token, response Response, err error) {
	r := Reply{Token: token, Response: response}
	if err != nil {
		r.Err = asError(err)
	}
	s.effects.Replies = append(s.effects.Replies, r)
}

func asError(err error) *mq.Error {
	if e, ok := err.(*mq.Error); ok { //nolint:errorlint // what wraps one is made one below
		return e
	}
	return mq.Errorf(mq.CodeOf(err), "%w", err)
}

// finish makes what is left to be made, and gives what the call has decided.
func (s *Shard) finish() Effects {
	for _, g := range s.settle {
		g.settling = false
		if s.groups[g.id] == g {
			g.retarget(s)
			g.wake(s)
		}
	}
	s.settle = s.settle[:0]
	slices.SortFunc(s.touched, func(a, b *group) int { return cmp.Compare(a.id, b.id) })
	for _, g := range s.touched {
		g.changes.listed = false
		if s.groups[g.id] != g {
			continue
		}
		if g.vanished() {
			s.forget(g)
			continue
		}
		s.weigh(g)
		s.write(g)
	}
	clear(s.touched)
	s.touched = s.touched[:0]
	done := s.effects
	s.effects = Effects{}
	return done
}

// named finds a group; it may have only offsets.
func (s *Shard) named(id string) (*group, bool) {
	g, ok := s.groups[id]
	return g, ok
}

// make gives the group of a name, and makes it when there is none. What is made and has nothing to keep at the end of the call is gone then. POLICY_VIOLATION
// when there are as many as there may be.
func (s *Shard) make(id string) (*group, error) {
	g := s.groups[id]
	if g == nil {
		if len(s.groups) >= s.cfg.MaxGroups {
			return nil, mq.Errorf(mq.PolicyViolation, "group %.80q is not made: its coordinator has %d groups, as many as groups.max_groups allows: delete some that nobody needs",
				id, len(s.groups))
		}
		g = newGroup(id)
		g.emptySince = s.now.UnixMilli()
		s.groups[id] = g
		g.touch(s)
	}
	return g, nil
}

// forget takes a group away, with all that is known of it.
func (s *Shard) forget(g *group) {
	delete(s.groups, g.id)
	s.bytes -= g.bytes
	if g.written {
		s.emit(g.id, removedRecord(g.id))
	}
}

func checkGroup(id string) error {
	if id == "" || len(id) > mq.MaxGroupIDBytes || !utf8.ValidString(id) {
		return mq.Errorf(mq.InvalidGroupID, "group %.40q: want 1 to %d bytes of UTF-8", id, mq.MaxGroupIDBytes)
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
