package kafkaproto

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// mapped is what f makes of each element.
func mapped[T, R any](list []T, f func(T) R) (out []R) {
	for _, e := range list {
		out = append(out, f(e))
	}
	return out
}

// TestAdministrationKnowsTopicsThatWereMadeElsewhereAMomentAgo: whoever names one that is not known here has this node hear of what was decided, once for a request.
func TestAdministrationKnowsTopicsThatWereMadeElsewhereAMomentAgo(t *testing.T) {
	names := []string{"first", "second"}
	for what, do := range map[string]func(p *peer) []int16{
		"DeleteTopics": func(p *peer) []int16 {
			q := &kmsg.DeleteTopicsRequest{Version: 6, Topics: mapped(names, func(name string) kmsg.DeleteTopicsRequestTopic { return kmsg.DeleteTopicsRequestTopic{Topic: &name} })}
			return mapped(ask[*kmsg.DeleteTopicsResponse](p, q).Topics, func(r kmsg.DeleteTopicsResponseTopic) int16 { return r.ErrorCode })
		},
		"CreatePartitions": func(p *peer) []int16 {
			q := &kmsg.CreatePartitionsRequest{Version: 3, Topics: mapped(names, func(name string) kmsg.CreatePartitionsRequestTopic {
				return kmsg.CreatePartitionsRequestTopic{Topic: name, Count: 2}
			})}
			return mapped(ask[*kmsg.CreatePartitionsResponse](p, q).Topics, func(r kmsg.CreatePartitionsResponseTopic) int16 { return r.ErrorCode })
		},
		"AlterConfigs": func(p *peer) []int16 {
			q := &kmsg.AlterConfigsRequest{Version: 2, Resources: mapped(names, func(name string) kmsg.AlterConfigsRequestResource {
				return kmsg.AlterConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: name}
			})}
			return mapped(ask[*kmsg.AlterConfigsResponse](p, q).Resources, func(r kmsg.AlterConfigsResponseResource) int16 { return r.ErrorCode })
		},
		"IncrementalAlterConfigs": func(p *peer) []int16 {
			q := &kmsg.IncrementalAlterConfigsRequest{Version: 1, Resources: mapped(names, func(name string) kmsg.IncrementalAlterConfigsRequestResource {
				return kmsg.IncrementalAlterConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: name}
			})}
			return mapped(ask[*kmsg.IncrementalAlterConfigsResponse](p, q).Resources, func(r kmsg.IncrementalAlterConfigsResponseResource) int16 { return r.ErrorCode })
		},
		"DescribeConfigs": func(p *peer) []int16 {
			q := &kmsg.DescribeConfigsRequest{Version: 4, Resources: mapped(names, func(name string) kmsg.DescribeConfigsRequestResource {
				return kmsg.DescribeConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: name}
			})}
			return mapped(ask[*kmsg.DescribeConfigsResponse](p, q).Resources, func(r kmsg.DescribeConfigsResponseResource) int16 { return r.ErrorCode })
		},
		"AlterPartitionAssignments": func(p *peer) []int16 {
			q := &kmsg.AlterPartitionAssignmentsRequest{Version: 1, Topics: mapped(names, func(name string) kmsg.AlterPartitionAssignmentsRequestTopic {
				return kmsg.AlterPartitionAssignmentsRequestTopic{Topic: name, Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Replicas: []int32{1}}}}
			})}
			return mapped(ask[*kmsg.AlterPartitionAssignmentsResponse](p, q).Topics, func(r kmsg.AlterPartitionAssignmentsResponseTopic) int16 { return r.Partitions[0].ErrorCode })
		},
		"ElectLeaders": func(p *peer) []int16 {
			q := &kmsg.ElectLeadersRequest{Version: 2, Topics: mapped(names, func(name string) kmsg.ElectLeadersRequestTopic {
				return kmsg.ElectLeadersRequestTopic{Topic: name, Partitions: []int32{0}}
			})}
			return mapped(ask[*kmsg.ElectLeadersResponse](p, q).Topics, func(r kmsg.ElectLeadersResponseTopic) int16 { return r.Partitions[0].ErrorCode })
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
