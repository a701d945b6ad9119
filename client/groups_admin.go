package client

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// GroupListing is a consumer group in a list.
type GroupListing struct {
	Group    string
	Protocol string // "consumer": the coordinator assigns; "classic": a member does
	Type     string // the protocol type of a classic group, else empty
	State    string // Empty, Assigning, Reconciling or Stable; of a classic group PreparingRebalance and CompletingRebalance, too
	Members  int
}

// GroupMember is a member of a consumer group.
type GroupMember struct {
	Member   string // its id
	Instance string // of a static member, else empty
	ClientID string
	Host     string // the address that it comes from
	Rack     string
	Epoch    int32 // of the member, or the generation of a classic group
	Topics   []string
	Pattern  string            // of topics that it subscribes to, beside Topics
	Assigned []TopicPartitions // what it may consume
}

// TopicPartitions are partitions of one topic.
type TopicPartitions struct {
	Topic      string // empty for a topic that is gone
	ID         mq.TopicID
	Partitions []int32
}

// GroupPartition is how far a consumer group has come in one partition.
type GroupPartition struct {
	Topic     string
	Partition int32
	Committed mq.Offset // the next to consume; -1: nothing is committed
	End       mq.Offset // of what consumers may read; -1: not known
	Metadata  string    // what was noted beside the committed offset
	Member    string    // the id of who consumes it; empty: nobody
}

// Lag is how many offsets lie between what is committed and the end; -1 when one of them is not known. Offsets of records that compaction by key or
// retention has taken away count, too.
func (p *GroupPartition) Lag() int64 {
	if p.Committed < 0 || p.End < 0 {
		return -1
	}
	return max(0, int64(p.End-p.Committed))
}

// GroupDescription is all there is to know about a consumer group.
type GroupDescription struct {
	GroupListing
	Epoch      int32  // of the group, or its generation
	Assignor   string // that assigns, or the protocol of a classic group
	Members    []GroupMember
	Partitions []GroupPartition // that have a committed offset or are assigned, by topic and number
}

// maxListings is how many brokers are asked for their groups at a time.
const maxListings = 16

// ListGroups lists the consumer groups of the cluster that the client may see, by name. It asks every broker, and waits until the request timeout for one that does not answer or is reading what
// its groups have. Beside an error the list has the groups of the others: COORDINATOR_LOAD_IN_PROGRESS names a node that is still reading.
func (c *Client) ListGroups(ctx context.Context) ([]GroupListing, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	m, err := c.metadata(ctx, &quicproto.MetadataRequest{})
	if err != nil {
		return nil, mq.Wrapf(err, "list groups")
	}
	var mu sync.Mutex
	all := make(map[string]GroupListing)
	var asking errgroup.Group
	asking.SetLimit(maxListings)
	for _, b := range m.Brokers {
		asking.Go(func() error {
			groups, err := c.listGroupsOf(ctx, b.ID)
			mu.Lock()
			defer mu.Unlock()
			for i := range groups {
				all[groups[i].Group] = groupListing(&groups[i])
			}
			return mq.Wrapf(err, "list groups of node %d", b.ID)
		})
	}
	err = asking.Wait()
	return slices.SortedFunc(maps.Values(all), func(a, b GroupListing) int { return strings.Compare(a.Group, b.Group) }), err
}

// listGroupsOf lists the groups of one node. Beside an error it has those that are known.
func (c *Client) listGroupsOf(ctx context.Context, node mq.NodeID) (groups []quicproto.ListedGroup, err error) {
	wait := newBackoff()
	for {
		var resp quicproto.ListGroupsResponse
		failed := c.insist(ctx, &quicproto.ListGroupsRequest{}, &resp, func(context.Context) (mq.NodeID, error) { return node, nil })
		if failed != nil {
			return groups, cmp.Or(err, failed)
		}
		groups, err = resp.Groups, nil
		if len(resp.Loading) > 0 {
			err = mq.Errorf(mq.CoordinatorLoadInProgress, "it is reading partitions %v of %s", resp.Loading, mq.OffsetsTopic)
		}
		if err == nil || !sleep(ctx, wait.NextBackOff()) {
			return groups, err
		}
	}
}

// DescribeGroup tells a group's members, what they consume, and how far they have come. Errors: GROUP_ID_NOT_FOUND.
func (c *Client) DescribeGroup(ctx context.Context, group string) (*GroupDescription, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	var resp quicproto.DescribeGroupResponse
	if err := c.askCoordinator(ctx, group, &quicproto.DescribeGroupRequest{Group: group}, &resp); err != nil {
		return nil, mq.Wrapf(err, "describe group %s", group)
	}
	d := &GroupDescription{GroupListing: groupListing(&resp.ListedGroup), Epoch: resp.Epoch, Assignor: resp.Assignor}
	for i := range resp.Members {
		d.Members = append(d.Members, groupMember(&resp.Members[i]))
	}
	for _, p := range resp.Partitions {
		d.Partitions = append(d.Partitions, GroupPartition(p))
	}
	c.findEnds(ctx, d.Partitions)
	return d, nil
}

// findEnds asks the leaders of partitions for the ends that the coordinator does not know.
func (c *Client) findEnds(ctx context.Context, partitions []GroupPartition) {
	unknown := make(map[string][]int32)
	for i := range partitions {
		if p := &partitions[i]; p.End < 0 && p.Topic != "" {
			unknown[p.Topic] = append(unknown[p.Topic], p.Partition)
		}
	}
	for _, topic := range slices.Sorted(maps.Keys(unknown)) {
		found, err := c.listOffsets(ctx, topic, End(), mq.IsolationCommitted, unknown[topic])
		if err != nil {
			continue // they stay unknown
		}
		for i := range partitions {
			if o, ok := found[partitions[i].Partition]; ok && partitions[i].Topic == topic && o.Err == nil && partitions[i].End < 0 {
				partitions[i].End = o.Offset
			}
		}
	}
}

// DeleteGroup has a group without members and all that it has committed forgotten, durably. Errors: GROUP_ID_NOT_FOUND, NON_EMPTY_GROUP.
func (c *Client) DeleteGroup(ctx context.Context, group string) error {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	return mq.Wrapf(c.askCoordinator(ctx, group, &quicproto.DeleteGroupRequest{Group: group}, nil), "delete group %s", group)
}

// ResetOffsets sets where a group goes on in partitions of a topic, all or none, durably. No member may subscribe to the topic. A group that is not known is made.
// Errors: GROUP_SUBSCRIBED_TO_TOPIC, NON_EMPTY_GROUP, UNKNOWN_TOPIC_OR_PARTITION.
func (c *Client) ResetOffsets(ctx context.Context, group, topic string, offsets map[int32]mq.Offset) error {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	req := &quicproto.ResetOffsetsRequest{Group: group, Topics: []quicproto.TopicOffsets{offsetsOf(topic, offsets)}}
	return mq.Wrapf(c.askCoordinator(ctx, group, req, nil), "reset group %s on topic %s", group, topic)
}

// offsetsOf is offsets of partitions of one topic as they are sent, by partition.
func offsetsOf(topic string, offsets map[int32]mq.Offset) quicproto.TopicOffsets {
	t := quicproto.TopicOffsets{Topic: topic}
	for _, p := range slices.Sorted(maps.Keys(offsets)) {
		t.Offsets = append(t.Offsets, quicproto.CommittedOffset{Partition: p, Offset: offsets[p], LeaderEpoch: mq.NoEpoch})
	}
	return t
}

// DeleteOffsets has what a group has committed for partitions of a topic forgotten, durably. No member may subscribe to the topic. Errors: GROUP_ID_NOT_FOUND,
// GROUP_SUBSCRIBED_TO_TOPIC, NON_EMPTY_GROUP.
func (c *Client) DeleteOffsets(ctx context.Context, group, topic string, partitions ...int32) error {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	req := &quicproto.DeleteOffsetsRequest{Group: group, Topics: []quicproto.TopicPartitions{{Topic: topic, Partitions: partitions}}}
	var resp quicproto.DeleteOffsetsResponse
	err := c.askCoordinator(ctx, group, req, &resp)
	if err == nil && len(resp.Topics) == 1 && resp.Topics[0] != mq.None {
		err = mq.Errorf(resp.Topics[0], "topic %s", topic)
	}
	return mq.Wrapf(err, "delete offsets of group %s", group)
}

// CommittedOffsets tells where a group goes on in partitions of a topic, all that it has committed for if none are named; -1 where it has not committed any.
func (c *Client) CommittedOffsets(ctx context.Context, group, topic string, partitions ...int32) (map[int32]mq.Offset, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	req := &quicproto.FetchOffsetsRequest{Group: group, Epoch: -1, All: len(partitions) == 0}
	if !req.All {
		req.Topics = []quicproto.TopicPartitions{{Topic: topic, Partitions: partitions}}
	}
	var resp quicproto.FetchOffsetsResponse
	if err := c.askCoordinator(ctx, group, req, &resp); err != nil {
		return nil, mq.Wrapf(err, "fetch what group %s has committed", group)
	}
	found := make(map[int32]mq.Offset)
	for _, t := range resp.Topics {
		if t.Topic != topic {
			continue
		}
		for _, o := range t.Offsets {
			found[o.Partition] = o.Offset
		}
	}
	return found, nil
}

// CommitOffsets sets where a group goes on in partitions of a topic, durably, for one who is no member of it: it must not have any. Errors: UNKNOWN_MEMBER_ID when it has
// members, UNKNOWN_TOPIC_OR_PARTITION for a partition that is not there: the others are committed.
func (c *Client) CommitOffsets(ctx context.Context, group, topic string, offsets map[int32]mq.Offset) error {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	t := offsetsOf(topic, offsets)
	var resp quicproto.CommitOffsetsResponse
	err := c.askCoordinator(ctx, group, &quicproto.CommitOffsetsRequest{Group: group, Epoch: -1, Topics: []quicproto.TopicOffsets{t}}, &resp)
	if err == nil && (len(resp.Topics) != 1 || len(resp.Topics[0]) != len(t.Offsets)) {
		err = mq.Errorf(mq.ProtocolViolation, "an answer about other partitions")
	}
	for i := 0; err == nil && i < len(t.Offsets); i++ {
		if code := resp.Topics[0][i]; code != mq.None {
			err = mq.Errorf(code, "%s/%d", topic, t.Offsets[i].Partition)
		}
	}
	return mq.Wrapf(err, "commit for group %s", group)
}

// askCoordinator has the coordinator of a group answer a request that may be asked again, whoever that is by then.
func (c *Client) askCoordinator(ctx context.Context, group string, req quicproto.RequestBody, resp quicproto.Body) error {
	return c.insist(ctx, req, resp, func(ctx context.Context) (mq.NodeID, error) { return c.coordinator(ctx, group) })
}

// coordinator asks who coordinates a group.
func (c *Client) coordinator(ctx context.Context, group string) (mq.NodeID, error) {
	var found quicproto.FindCoordinatorResponse
	if err := c.ask(ctx, &quicproto.FindCoordinatorRequest{Group: group}, &found, repeatable); err != nil {
		return mq.NoNode, err
	}
	return found.Node, nil
}

// insist asks a node that find names, and again while the answer is one that may be another one soon.
func (c *Client) insist(ctx context.Context, req quicproto.RequestBody, resp quicproto.Body, find func(context.Context) (mq.NodeID, error)) error {
	wait := newBackoff()
	for {
		node, err := find(ctx)
		if err == nil {
			err = c.askWhile(ctx, node, req, resp, find)
		}
		code := mq.CodeOf(err)
		if err == nil || !code.Retriable() || code == mq.UnknownTopicOrPartition || code == mq.UnknownTopicID || hopeless(err) || !sleep(ctx, wait.NextBackOff()) {
			return err
		}
	}
}

// overdue is after which time it is asked whether a node that does not answer is still the one to ask. It doubles with each time.
const overdue = time.Second

// askWhile asks one node once, and waits for its answer while find names that node.
func (c *Client) askWhile(ctx context.Context, node mq.NodeID, req quicproto.RequestBody, resp quicproto.Body, find func(context.Context) (mq.NodeID, error)) error {
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		body []byte
		err  error
	}
	got := make(chan answer, 1)
	asking := c.spawn(func() {
		body, err := c.askNode(within, node, req)
		got <- answer{body, err}
	})
	if !asking {
		return ErrClosed
	}
	patience := overdue
	look := time.NewTimer(patience)
	defer look.Stop()
	for {
		select {
		case a := <-got:
			if a.err != nil || resp == nil {
				return a.err
			}
			return resp.Decode(a.body)
		case <-look.C:
			looking, done := context.WithTimeout(within, patience)
			if now, err := find(looking); err == nil && now != node {
				done()
				return mq.Errorf(mq.NotCoordinator, "node %d does not answer, and node %d coordinates by now", node, now)
			}
			done()
			patience *= 2
			look.Reset(patience)
		}
	}
}

// askNode asks one node once.
func (c *Client) askNode(ctx context.Context, node mq.NodeID, req quicproto.RequestBody) ([]byte, error) {
	if _, err := c.metadata(ctx, &quicproto.MetadataRequest{}); err != nil { // where it is
		return nil, err
	}
	sess, err := c.pool.get(ctx, slotKey{node: node}, controlWindow)
	if err != nil {
		return nil, err
	}
	body, _, err := sess.exchange(ctx, req)
	return body, err
}

func groupListing(g *quicproto.ListedGroup) GroupListing {
	return GroupListing{Group: g.Group, Protocol: g.Protocol, Type: g.Type, State: g.State, Members: int(g.Members)}
}

func groupMember(m *quicproto.GroupMember) GroupMember {
	out := GroupMember{
		Member: m.Member, Instance: m.Instance, ClientID: m.ClientID, Host: m.Host, Rack: m.Rack, Epoch: m.Epoch, Topics: m.Topics, Pattern: m.Pattern,
	}
	for _, t := range m.Assigned {
		out.Assigned = append(out.Assigned, TopicPartitions{Topic: t.Topic, ID: t.TopicID, Partitions: t.Partitions})
	}
	return out
}
