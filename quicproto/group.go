package quicproto

import (
	"time"

	"github.com/rustmq/rustmq/mq"
)

// GroupPartitions are partitions of one topic, in what a member of a group owns or is assigned.
type GroupPartitions struct {
	TopicID    mq.TopicID
	Topic      string // its name; a client may leave it empty, the server does for a topic that is gone
	Partitions []int32
}

const groupPartitionsMinSize = 16 + 2 + 4

func appendGroupPartitions(dst []byte, list []GroupPartitions) []byte {
	dst = appendUint32(dst, uint32(len(list)))
	for i := range list {
		dst = appendText(appendTopicID(dst, list[i].TopicID), list[i].Topic, MaxTopicName)
		dst = appendIndexes(dst, list[i].Partitions)
	}
	return dst
}

func (d *decoder) groupPartitions() []GroupPartitions {
	return decodeList(d, groupPartitionsMinSize, func(d *decoder) GroupPartitions {
		return GroupPartitions{TopicID: d.topicID(), Topic: d.text(MaxTopicName), Partitions: d.indexes()}
	})
}

func appendIndexes(dst []byte, list []int32) []byte {
	dst = appendUint32(dst, uint32(len(list)))
	for _, i := range list {
		dst = appendInt32(dst, i)
	}
	return dst
}

func (d *decoder) indexes() []int32 { return decodeList(d, 4, (*decoder).int32) }

// Subscription is what a member of a group wants.
type Subscription struct {
	Topics   []string // by name, at most MaxTopics
	Pattern  string   // RE2, of whole names; empty for none
	Assignor string   // that the member prefers; empty for none
}

func (s *Subscription) append(dst []byte) []byte {
	dst = appendNames(dst, s.Topics, MaxTopicName)
	return appendText(appendText(dst, s.Pattern, MaxValue), s.Assignor, MaxText)
}

func (d *decoder) subscription() Subscription {
	return Subscription{Topics: d.names(MaxTopics, MaxTopicName), Pattern: d.text(MaxValue), Assignor: d.text(MaxText)}
}

// OpenGroup is the first frame of a group stream: a member joins, or comes back to go on where it was. Either way it says all that there is to say.
// The server answers with an Assignment.
type OpenGroup struct {
	Epoch     int32         // 0 to join, else that of the member's last Assignment: it goes on
	Rebalance time.Duration // for how long the member may take to give up partitions; whole ms on the wire
	Group     string
	Member    string // drawn by the client, one for each life of a member
	Instance  string // of a static member, empty for a dynamic one
	Rack      string // empty: not known
	Subscription
	Owned []GroupPartitions // what the member consumes
}

// Type implements Frame.
func (*OpenGroup) Type() Type { return TypeOpenGroup }

// AppendTo implements Frame.
func (f *OpenGroup) AppendTo(dst []byte) []byte {
	dst = appendInt32(append(dst, 0), f.Epoch)
	dst = appendUint32(dst, uint32(min(max(f.Rebalance.Milliseconds(), 0), 1<<32-1)))
	for _, s := range [...]string{f.Group, f.Member, f.Instance, f.Rack} {
		dst = appendText(dst, s, MaxText)
	}
	return appendGroupPartitions(f.Subscription.append(dst), f.Owned)
}

// Decode implements Frame.
func (f *OpenGroup) Decode(payload []byte) error {
	d := decoder{frame: "OpenGroup", rest: payload}
	d.reserved8()
	*f = OpenGroup{
		Epoch: d.int32(), Rebalance: time.Duration(d.uint32()) * time.Millisecond,
		Group: d.text(MaxText), Member: d.text(MaxText), Instance: d.text(MaxText), Rack: d.text(MaxText),
		Subscription: d.subscription(), Owned: d.groupPartitions(),
	}
	if f.Epoch < 0 {
		d.fail(mq.ProtocolViolation, "a negative epoch")
	}
	return d.end()
}

const (
	flagSubscription = 0x01
	flagPartitions   = 0x02
)

// Heartbeat says what changed at the member: it has taken note of an Assignment, it owns other partitions, it wants other topics.
//
// It names the Assignment and not its epoch, which may be that of an earlier one: what a member owned before it heard of a partition says nothing about whether it
// consumes that by now.
type Heartbeat struct {
	Number       uint32            // of the last Assignment on this stream that the member has taken note of
	Subscribes   bool              // Subscription is said
	Subscription Subscription      // what the member wants
	Owns         bool              // Owned is said
	Owned        []GroupPartitions // what the member consumes
}

// Type implements Frame.
func (*Heartbeat) Type() Type { return TypeHeartbeat }

// AppendTo implements Frame.
func (f *Heartbeat) AppendTo(dst []byte) []byte {
	flags := uint8(0)
	if f.Subscribes {
		flags |= flagSubscription
	}
	if f.Owns {
		flags |= flagPartitions
	}
	dst = appendUint32(append(dst, flags), f.Number)
	if f.Subscribes {
		dst = f.Subscription.append(dst)
	}
	if f.Owns {
		dst = appendGroupPartitions(dst, f.Owned)
	}
	return dst
}

// Decode implements Frame.
func (f *Heartbeat) Decode(payload []byte) error {
	d := decoder{frame: "Heartbeat", rest: payload}
	flags := d.flags(flagSubscription | flagPartitions)
	*f = Heartbeat{Number: d.uint32()}
	if flags&flagSubscription != 0 {
		f.Subscribes, f.Subscription = true, d.subscription()
	}
	if flags&flagPartitions != 0 {
		f.Owns, f.Owned = true, d.groupPartitions()
	}
	return d.end()
}

// Assignment tells a member its epoch and, unless that is as it was, what it may consume from now on. The member answers each one at once with a Heartbeat of its
// number, which says what it owns if Partitions were said, and tells with that one or a later one when it has stopped consuming what it may not any more.
type Assignment struct {
	Number     uint32 // counts those of the stream, from 1; some may be left out
	Epoch      int32  // for heartbeats and commits from now on
	Changed    bool   // Partitions are said
	Partitions []GroupPartitions
}

// Type implements Frame.
func (*Assignment) Type() Type { return TypeAssignment }

// PayloadSize is how many bytes the payload has. More than the type's MaxPayload cannot be sent.
func (f *Assignment) PayloadSize() int {
	n := 1 + 4 + 4
	if f.Changed {
		n += 4
		for i := range f.Partitions {
			n += groupPartitionsMinSize + min(len(f.Partitions[i].Topic), MaxTopicName) + 4*len(f.Partitions[i].Partitions)
		}
	}
	return n
}

// AppendTo implements Frame.
func (f *Assignment) AppendTo(dst []byte) []byte {
	flags := uint8(0)
	if f.Changed {
		flags = flagPartitions
	}
	dst = appendInt32(appendUint32(append(dst, flags), f.Number), f.Epoch)
	if f.Changed {
		dst = appendGroupPartitions(dst, f.Partitions)
	}
	return dst
}

// Decode implements Frame.
func (f *Assignment) Decode(payload []byte) error {
	d := decoder{frame: "Assignment", rest: payload}
	flags := d.flags(flagPartitions)
	*f = Assignment{Number: d.uint32(), Epoch: d.int32()}
	if flags != 0 {
		f.Changed, f.Partitions = true, d.groupPartitions()
	}
	return d.end()
}

// FindCoordinatorRequest asks which node coordinates a group. What groups need is made first, if it is not there yet.
type FindCoordinatorRequest struct {
	Group string
}

// API implements RequestBody.
func (*FindCoordinatorRequest) API() API { return APIFindCoordinator }

// AppendTo implements Body.
func (m *FindCoordinatorRequest) AppendTo(dst []byte) []byte { return appendGroup(dst, m.Group) }

// Decode implements Body.
func (m *FindCoordinatorRequest) Decode(body []byte) error {
	return decodeGroup("FindCoordinatorRequest", body, &m.Group)
}

// FindCoordinatorResponse is the leader of the group's partition of __consumer_offsets.
type FindCoordinatorResponse struct {
	Partition   int32
	Node        mq.NodeID
	LeaderEpoch mq.Epoch
}

// AppendTo implements Body.
func (m *FindCoordinatorResponse) AppendTo(dst []byte) []byte {
	return appendInt32(appendInt32(appendInt32(dst, m.Partition), m.Node), m.LeaderEpoch)
}

// Decode implements Body.
func (m *FindCoordinatorResponse) Decode(body []byte) error {
	d := decoder{frame: "FindCoordinatorResponse", rest: body}
	*m = FindCoordinatorResponse{Partition: d.int32(), Node: d.node(), LeaderEpoch: d.epoch()}
	return d.end()
}

// appendGroup and decodeGroup are the body of a request that has nothing but a group's name.
func appendGroup(dst []byte, group string) []byte { return appendText(append(dst, 0), group, MaxText) }

func decodeGroup(frame string, body []byte, group *string) error {
	d := decoder{frame: frame, rest: body}
	d.reserved8()
	*group = d.text(MaxText)
	return d.end()
}
