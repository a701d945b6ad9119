// DescribeQuorum (55), versions 0 to 2.
//
// How the controllers stand, as the one that leads them sees it; for partition 0 of __cluster_metadata, which is what Kafka calls their log: other partitions are UNKNOWN_TOPIC_OR_PARTITION. Voters and learners (as observers)
// go by the ids of their nodes. The leader epoch is the term of raft, the high watermark the last command that is committed. A member of which its leader does not know how far it has the log is at -1.
//
// Not supported: when members last fetched or had caught up (-1).

package kafkaproto

import (
	"context"
	"math"
	"net"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func describeQuorumAPI() api {
	return api{key: kmsg.DescribeQuorum, min: 0, max: 2, start: inTurn(describeQuorum)}
}

// controllersTopic is what Kafka's clients call the controllers' log.
const controllersTopic = "__cluster_metadata"

func describeQuorum(ctx context.Context, c *call, q *kmsg.DescribeQuorumRequest, r *kmsg.DescribeQuorumResponse) error {
	quorum, err := c.broker().Quorum(ctx, c.session)
	if err != nil {
		r.ErrorCode, r.ErrorMessage = failure(err)
		return nil
	}
	told, left := false, c.allowance()
	for _, t := range q.Topics {
		topic := kmsg.NewDescribeQuorumResponseTopic()
		topic.Topic = t.Topic
		for _, asked := range t.Partitions {
			p := kmsg.NewDescribeQuorumResponseTopicPartition()
			p.Partition = asked.Partition
			err := left.take(memberBytes * (1 + len(quorum.Members)))
			if t.Topic != controllersTopic || asked.Partition != 0 {
				err = mq.Errorf(mq.UnknownTopicOrPartition, "the controllers have partition 0 of %s and nothing else", controllersTopic)
			}
			if p.ErrorCode, p.ErrorMessage = failure(err); err == nil {
				told = true
				p.LeaderID, p.LeaderEpoch, p.HighWatermark = int32(quorum.Leader), int32(min(quorum.Term, math.MaxInt32)), int64(min(quorum.Committed, math.MaxInt64))
				p.CurrentVoters, p.Observers = quorumStates(quorum.Members, true), quorumStates(quorum.Members, false)
			}
			topic.Partitions = append(topic.Partitions, p)
		}
		r.Topics = append(r.Topics, topic)
	}
	if told && q.Version >= 2 {
		r.Nodes = quorumNodes(quorum.Members)
	}
	return nil
}

// memberBytes is what one controller takes in a response in memory.
const memberBytes = 128

func quorumStates(members []QuorumMember, voters bool) (out []kmsg.DescribeQuorumResponseTopicPartitionReplicaState) {
	for _, m := range members {
		if m.Voter == voters {
			s := kmsg.NewDescribeQuorumResponseTopicPartitionReplicaState()
			s.ReplicaID, s.ReplicaDirectoryID, s.LogEndOffset = int32(m.Node), m.Dir, m.End
			out = append(out, s)
		}
	}
	return out
}

// quorumNodes are where the controllers are reached by nodes.
func quorumNodes(members []QuorumMember) (out []kmsg.DescribeQuorumResponseNode) {
	for _, m := range members {
		host, port, err := net.SplitHostPort(m.Address)
		number, bad := strconv.ParseUint(port, 10, 16)
		if err != nil || bad != nil || len(out) > 0 && out[len(out)-1].NodeID == int32(m.Node) {
			continue
		}
		l := kmsg.NewDescribeQuorumResponseNodeListener()
		l.Name, l.Host, l.Port = "rpc", host, uint16(number)
		n := kmsg.NewDescribeQuorumResponseNode()
		n.NodeID, n.Listeners = int32(m.Node), append(n.Listeners, l)
		out = append(out, n)
	}
	return out
}
