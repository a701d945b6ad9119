package kafkaproto

import "github.com/twmb/franz-go/pkg/kmsg"

// adminSample is a request of an API of administration as clients send it, nil for other APIs.
func adminSample(key kmsg.Key, version int16) kmsg.Request {
	text := kmsg.StringPtr
	switch key {
	case kmsg.CreateTopics:
		q := kmsg.NewPtrCreateTopicsRequest()
		placed := kmsg.CreateTopicsRequestTopic{Topic: "placed", NumPartitions: -1, ReplicationFactor: -1, ReplicaAssignment: []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Replicas: []int32{1}}}}
		counted := kmsg.CreateTopicsRequestTopic{Topic: "counted", NumPartitions: 3, ReplicationFactor: 1, Configs: []kmsg.CreateTopicsRequestTopicConfig{
			{Name: "retention.ms", Value: text("1000")}, {Name: "cleanup.policy", Value: text("compact, delete")},
		}}
		q.Topics = []kmsg.CreateTopicsRequestTopic{placed, counted}
		return q
	case kmsg.DeleteTopics:
		q := kmsg.NewPtrDeleteTopicsRequest()
		q.TopicNames = []string{"t", "nobodys"}
		q.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: text("t")}, {TopicID: [16]byte{15: 1}}}
		if version < 6 {
			q.Topics = nil
		}
		return q
	case kmsg.CreatePartitions:
		q := kmsg.NewPtrCreatePartitionsRequest()
		q.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "t", Count: 3, Assignment: []kmsg.CreatePartitionsRequestTopicAssignment{{Replicas: []int32{1}}}}, {Topic: "u", Count: 4}}
		return q
	case kmsg.DeleteRecords:
		q := kmsg.NewPtrDeleteRecordsRequest()
		q.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: "t", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: -1}, {Partition: 1, Offset: 5}}}}
		return q
	case kmsg.DescribeConfigs:
		q := kmsg.NewPtrDescribeConfigsRequest()
		q.IncludeSynonyms, q.IncludeDocumentation = true, true
		q.Resources = []kmsg.DescribeConfigsRequestResource{
			{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "t"}, {ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "1", ConfigNames: []string{"node.id"}},
		}
		return q
	case kmsg.AlterConfigs:
		q := kmsg.NewPtrAlterConfigsRequest()
		q.Resources = []kmsg.AlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "t", Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: "retention.ms", Value: text("5")}}}}
		return q
	case kmsg.IncrementalAlterConfigs:
		q := kmsg.NewPtrIncrementalAlterConfigsRequest()
		q.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "t", Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{
			{Name: "retention.ms", Op: kmsg.IncrementalAlterConfigOpDelete}, {Name: "cleanup.policy", Op: kmsg.IncrementalAlterConfigOpAppend, Value: text("compact")},
		}}}
		return q
	case kmsg.DescribeTopicPartitions:
		q := kmsg.NewPtrDescribeTopicPartitionsRequest()
		q.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "t"}, {Topic: "u"}}
		q.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: "t", Partition: 1}
		return q
	case kmsg.DescribeLogDirs:
		q := kmsg.NewPtrDescribeLogDirsRequest()
		q.Topics = []kmsg.DescribeLogDirsRequestTopic{{Topic: "t", Partitions: []int32{0, 1, 2}}}
		return q
	case kmsg.DescribeProducers:
		q := kmsg.NewPtrDescribeProducersRequest()
		q.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: "t", Partitions: []int32{0, 7}}}
		return q
	case kmsg.ElectLeaders:
		q := kmsg.NewPtrElectLeadersRequest()
		q.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: "t", Partitions: []int32{0, 7}}}
		return q
	case kmsg.AlterPartitionAssignments:
		q := kmsg.NewPtrAlterPartitionAssignmentsRequest()
		q.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: "t", Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Replicas: []int32{1}}, {Partition: 1}}}}
		return q
	case kmsg.ListPartitionReassignments:
		q := kmsg.NewPtrListPartitionReassignmentsRequest()
		q.Topics = []kmsg.ListPartitionReassignmentsRequestTopic{{Topic: "t", Partitions: []int32{0}}}
		return q
	case kmsg.DescribeQuorum:
		q := kmsg.NewPtrDescribeQuorumRequest()
		q.Topics = []kmsg.DescribeQuorumRequestTopic{{Topic: controllersTopic, Partitions: []kmsg.DescribeQuorumRequestTopicPartition{{}}}}
		return q
	}
	return securitySample(key)
}

// securitySample is adminSample for what is about security.
func securitySample(key kmsg.Key) kmsg.Request {
	text := kmsg.StringPtr
	switch key {
	case kmsg.CreateACLs:
		q := kmsg.NewPtrCreateACLsRequest()
		q.Creations = []kmsg.CreateACLsRequestCreation{{ResourceType: kmsg.ACLResourceTypeTopic, ResourceName: "t", Principal: "User:a", Host: "*", Operation: kmsg.ACLOperationRead}}
		return q
	case kmsg.DeleteACLs:
		q := kmsg.NewPtrDeleteACLsRequest()
		q.Filters = []kmsg.DeleteACLsRequestFilter{{ResourceType: kmsg.ACLResourceTypeAny}}
		return q
	case kmsg.AlterUserSCRAMCredentials:
		q := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
		q.Deletions = []kmsg.AlterUserSCRAMCredentialsRequestDeletion{{Name: "a", Mechanism: 1}}
		q.Upsertions = []kmsg.AlterUserSCRAMCredentialsRequestUpsertion{{Name: "a", Mechanism: 1}, {Name: "b", Mechanism: 2}}
		return q
	case kmsg.AlterClientQuotas:
		q := kmsg.NewPtrAlterClientQuotasRequest()
		entity := []kmsg.AlterClientQuotasRequestEntryEntity{{Type: "user", Name: text("a")}}
		q.Entries = []kmsg.AlterClientQuotasRequestEntry{
			{Entity: entity, Ops: []kmsg.AlterClientQuotasRequestEntryOp{{Key: "producer_byte_rate", Value: 1}}},
			{Entity: entity, Ops: []kmsg.AlterClientQuotasRequestEntryOp{{Key: "producer_byte_rate", Remove: true}}},
		}
		return q
	case kmsg.SASLHandshake:
		q := kmsg.NewPtrSASLHandshakeRequest()
		q.Mechanism = "PLAIN"
		return q
	}
	return nil
}
