package kafkaproto

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// fakeGroups notes what is asked of it, and answers with what it was told to.
type fakeGroups struct {
	groupsMu sync.Mutex
	asked    []any
	fakeAnswers
}

// fakeAnswers are what it was told.
type fakeAnswers struct {
	groupErr error // for everything but what is about one partition or member
	joined   Joined
	joining  func(ctx context.Context)
	listed   []Group
	loading  bool
	groups   map[string]*GroupDescription
	assigned ConsumerAssigned
	offsets  []TopicOffsets // what is committed
	each     error          // for each partition or member
}

// say notes what was asked, and gives the answers.
func (f *fakeGroups) say(what any) fakeAnswers {
	f.groupsMu.Lock()
	defer f.groupsMu.Unlock()
	f.asked = append(f.asked, what)
	return f.fakeAnswers
}

// tell changes the answers.
func (f *fakeGroups) tell(change func(a *fakeAnswers)) {
	f.groupsMu.Lock()
	defer f.groupsMu.Unlock()
	change(&f.fakeAnswers)
}

// committed is what was committed last.
func (f *fakeGroups) committed() []TopicOffsets {
	f.groupsMu.Lock()
	defer f.groupsMu.Unlock()
	return f.offsets
}

// last is what was asked last.
func (f *fakeGroups) last() any {
	f.groupsMu.Lock()
	defer f.groupsMu.Unlock()
	return f.asked[len(f.asked)-1]
}

func (f *fakeGroups) Coordinator(context.Context, *Session, string) (mq.NodeID, error) { return 1, nil }

func (f *fakeGroups) JoinGroup(ctx context.Context, _ *Session, j *JoinGroup) (Joined, error) {
	a := f.say(j)
	if a.joining != nil {
		a.joining(ctx)
	}
	return a.joined, a.groupErr
}

func (f *fakeGroups) SyncGroup(_ context.Context, _ *Session, y *SyncGroup) (Synced, error) {
	if err := f.say(y).groupErr; err != nil {
		return Synced{}, err
	}
	got := Synced{ProtocolType: y.ProtocolType, Protocol: y.Protocol}
	if len(y.Assignments) > 0 {
		got.Assignment = y.Assignments[0].Assignment
	}
	return got, nil
}

func (f *fakeGroups) Heartbeat(_ context.Context, _ *Session, m Membership) error {
	return f.say(m).groupErr
}

func (f *fakeGroups) LeaveGroup(_ context.Context, _ *Session, _ string, members []Membership) ([]error, error) {
	a := f.say(members)
	return slices.Repeat([]error{a.each}, len(members)), a.groupErr
}

func (f *fakeGroups) ConsumerHeartbeat(_ context.Context, _ *Session, h *ConsumerHeartbeat) (ConsumerAssigned, error) {
	a := f.say(h)
	return a.assigned, a.groupErr
}

func (f *fakeGroups) CommitOffsets(_ context.Context, _ *Session, m Membership, topics []TopicOffsets) error {
	a := f.say(m)
	if a.groupErr != nil {
		return a.groupErr
	}
	f.tell(func(now *fakeAnswers) {
		now.offsets = nil
		for _, t := range topics {
			now.offsets = append(now.offsets, TopicOffsets{Name: t.Name, ID: t.ID, Offsets: slices.Clone(t.Offsets)})
		}
	})
	failAll(topics, a.each)
	return nil
}

func failAll(topics []TopicOffsets, err error) {
	for _, t := range topics {
		for i := range t.Offsets {
			t.Offsets[i].Err = err
		}
	}
}

func (f *fakeGroups) FetchOffsets(_ context.Context, _ *Session, m Membership, topics []TopicOffsets) ([]TopicOffsets, error) {
	a := f.say(m)
	if a.groupErr != nil || topics == nil {
		return a.offsets, a.groupErr
	}
	failAll(topics, a.each)
	for _, t := range topics {
		for i := range t.Offsets {
			for _, known := range a.offsets {
				for _, o := range known.Offsets {
					if known.Name == t.Name && known.ID == t.ID && o.Partition == t.Offsets[i].Partition {
						t.Offsets[i] = o
					}
				}
			}
		}
	}
	return topics, nil
}

func (f *fakeGroups) DeleteOffsets(_ context.Context, _ *Session, _ string, topics []TopicOffsets) error {
	a := f.say(topics)
	failAll(topics, a.each)
	return a.groupErr
}

func (f *fakeGroups) ListGroups(context.Context, *Session) ([]Group, bool, error) {
	a := f.say("list")
	return a.listed, a.loading, a.groupErr
}

func (f *fakeGroups) DescribeGroup(_ context.Context, _ *Session, name string) (*GroupDescription, error) {
	a := f.say(name)
	if a.groupErr != nil {
		return nil, a.groupErr
	}
	if g := a.groups[name]; g != nil {
		return g, nil
	}
	return nil, mq.Errorf(mq.GroupIDNotFound, "no group %q", name)
}

func (f *fakeGroups) DeleteGroup(_ context.Context, _ *Session, name string) error {
	return f.say(name).groupErr
}

// newFakeGroups knows a group of each kind.
func newFakeGroups() fakeAnswers {
	return fakeAnswers{
		joined: Joined{
			Generation: 7, ProtocolType: "consumer", Protocol: "range", Leader: "m", Member: "m", SkipAssignment: true,
			Members: []GroupMember{{Member: "m", Instance: "i", Metadata: []byte("of m")}, {Member: "n"}},
		},
		assigned: ConsumerAssigned{Member: "m", Epoch: 3, HeartbeatInterval: time.Second, Changed: true, Assigned: []OwnedTopic{{ID: mq.TopicID{1}, Partitions: []int32{4}}}},
		groups: map[string]*GroupDescription{
			"classic": {
				Group: Group{Name: "classic", ProtocolType: "consumer", State: "Stable"}, Protocol: "range", Epoch: 7,
				Members: []GroupMember{{Member: "m", Instance: "i", ClientID: "c", ClientHost: "h", Classic: true, Metadata: []byte("brought"), Assignment: []byte("got")}, {Member: "n"}},
			},
			"modern": {
				Group: Group{Name: "modern", Consumer: true, ProtocolType: "consumer", State: "Stable"}, Protocol: "uniform", Epoch: 8, AssignmentEpoch: 8,
				Members: []GroupMember{{
					Member: "m", Rack: "r", ClientID: "c", Epoch: 8, Topics: []string{"t"}, Pattern: "t.*",
					Assigned: []OwnedTopic{{ID: mq.TopicID{1}, Name: "t", Partitions: []int32{0}}}, Target: []OwnedTopic{{ID: mq.TopicID{1}, Name: "t", Partitions: []int32{0, 1}}},
				}},
			},
		},
		listed: []Group{{Name: "classic", ProtocolType: "consumer", State: "Stable"}, {Name: "modern", Consumer: true, ProtocolType: "consumer", State: "Empty"}},
	}
}
