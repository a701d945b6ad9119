package kafkaproto

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestAdministrationKnowsTopicsThatWereMadeElsewhereAMomentAgo: whoever names one that is not known here has this node hear of what was decided, once for a request.
func TestAdministrationKnowsTopicsThatWereMadeElsewhereAMomentAgo(t *testing.T) {
	names := []string{"first", "second"}
	for what, do := range map[string]func(p *peer) []int16{
		"DeleteTopics": func(p *peer) (codes []int16) {
			q := kmsg.NewPtrDeleteTopicsRequest()
			q.Version = 6
			for _, name := range names {
				q.Topics = append(q.Topics, kmsg.DeleteTopicsRequestTopic{Topic: &name})
			}
			for _, topic := range ask[*kmsg.DeleteTopicsResponse](p, q).Topics {
				codes = append(codes, topic.ErrorCode)
			}
			return codes
		},
		"CreatePartitions": func(p *peer) (codes []int16) {
			q := kmsg.NewPtrCreatePartitionsRequest()
			q.Version = 3
			for _, name := range names {
				q.Topics = append(q.Topics, kmsg.CreatePartitionsRequestTopic{Topic: name, Count: 2})
			}
			for _, topic := range ask[*kmsg.CreatePartitionsResponse](p, q).Topics {
				codes = append(codes, topic.ErrorCode)
			}
			return codes
		},
		"AlterConfigs": func(p *peer) (codes []int16) {
			q := kmsg.NewPtrAlterConfigsRequest()
			q.Version = 2
			for _, name := range names {
				q.Resources = append(q.Resources, kmsg.AlterConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: name})
			}
			for _, topic := range ask[*kmsg.AlterConfigsResponse](p, q).Resources {
				codes = append(codes, topic.ErrorCode)
			}
			return codes
		},
		"IncrementalAlterConfigs": func(p *peer) (codes []int16) {
			q := kmsg.NewPtrIncrementalAlterConfigsRequest()
			q.Version = 1
			for _, name := range names {
				q.Resources = append(q.Resources, kmsg.IncrementalAlterConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: name})
			}
			for _, topic := range ask[*kmsg.IncrementalAlterConfigsResponse](p, q).Resources {
				codes = append(codes, topic.ErrorCode)
			}
			return codes
		},
		"DescribeConfigs": func(p *peer) (codes []int16) {
			q := kmsg.NewPtrDescribeConfigsRequest()
			q.Version = 4
			for _, name := range names {
				q.Resources = append(q.Resources, kmsg.DescribeConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: name})
			}
			for _, topic := range ask[*kmsg.DescribeConfigsResponse](p, q).Resources {
				codes = append(codes, topic.ErrorCode)
			}
			return codes
		},
		"AlterPartitionAssignments": func(p *peer) (codes []int16) {
			q := kmsg.NewPtrAlterPartitionAssignmentsRequest()
			q.Version = 1
			for _, name := range names {
				topic := kmsg.NewAlterPartitionAssignmentsRequestTopic()
				topic.Topic, topic.Partitions = name, []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Replicas: []int32{1}}}
				q.Topics = append(q.Topics, topic)
			}
			for _, topic := range ask[*kmsg.AlterPartitionAssignmentsResponse](p, q).Topics {
				codes = append(codes, topic.Partitions[0].ErrorCode)
			}
			return codes
		},
		"ElectLeaders": func(p *peer) (codes []int16) {
			q := kmsg.NewPtrElectLeadersRequest()
			q.Version = 2
			for _, name := range names {
				q.Topics = append(q.Topics, kmsg.ElectLeadersRequestTopic{Topic: name, Partitions: []int32{0}})
			}
			for _, topic := range ask[*kmsg.ElectLeadersResponse](p, q).Topics {
				codes = append(codes, topic.Partitions[0].ErrorCode)
			}
			return codes
		},
	} {
		r := newRig(t)
		r.broker.alter(func(a *fakeAdmin) {
			a.unheard = names
			a.elected = Elected{Before: 2, After: 1}
		})
		p := r.connect()
		for round := range 2 {
			for i, code := range do(p) {
				if code != 0 && round == 0 {
					t.Errorf("%s of topic %s: code %d", what, names[i], code)
				}
			}
			if got := r.broker.state().caughtUp; got != 1 && (round == 0 || what != "DeleteTopics") {
				t.Errorf("%s: it was caught up %d times", what, got)
			}
		}
	}
}
