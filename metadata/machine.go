package metadata

import (
	"google.golang.org/protobuf/proto"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// machine applies commands inside one transaction. Nothing that it does depends on anything but the commands, the image and
// the database.
type machine struct {
	*draft
	known uint32 // the highest feature level that this code claims to know
	index uint64 // of the command that is being applied

	planted Planted
}

func newMachine(d *db, base *Image, known uint32) *machine {
	return &machine{draft: newDraft(d, base), known: known}
}

// apply applies one command and gives its encoded result. An error means that this replica cannot go on: a damaged database, or
// a command that only newer code understands. The transaction must be dropped then.
func (m *machine) apply(index uint64, data []byte) ([]byte, error) {
	m.index = index
	result, err := m.decide(data)
	if m.db.err != nil {
		return nil, m.db.err
	}
	if err != nil {
		if result == nil {
			result = &metadatapb.Result{}
		}
		result.Code, result.Message = int32(mq.CodeOf(err)), message(err)
	}
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(result)
	if err != nil {
		return nil, mq.Errorf(mq.Internal, "encode the result of the metadata command at index %d: %w", index, err)
	}
	return encoded, nil
}

// decide gives a result, or the error that it is refused with, or both.
func (m *machine) decide(data []byte) (*metadatapb.Result, error) {
	command := &metadatapb.Command{}
	if err := proto.Unmarshal(data, command); err != nil {
		return nil, mq.Errorf(mq.InvalidRequest, "not a metadata command")
	}
	if c := command.GetFormCluster(); c != nil {
		return nil, m.formCluster(c)
	}
	if m.img.ClusterID.IsZero() {
		return nil, mq.Errorf(mq.NotController, "the cluster is being formed")
	}
	if command.GetFeatureLevel() > m.img.FeatureLevel {
		return nil, mq.Errorf(mq.UnsupportedVersion, "the command needs feature level %d, the cluster is at %d", command.GetFeatureLevel(),
			m.img.FeatureLevel)
	}
	if featureLevelOf(command) > m.img.FeatureLevel {
		return nil, noKind() // which it is for code that knows the cluster's level and no more
	}
	return m.dispatch(command)
}

func noKind() error { return mq.Errorf(mq.InvalidRequest, "a metadata command without a kind") }

// dispatch is the catalogue of commands.
func (m *machine) dispatch(command *metadatapb.Command) (*metadatapb.Result, error) {
	switch c := command.GetKind().(type) {
	case *metadatapb.Command_SetFeatureLevel:
		return nil, m.setFeatureLevel(c.SetFeatureLevel)
	case *metadatapb.Command_SetClusterConfigs:
		return nil, m.setClusterConfigs(c.SetClusterConfigs)
	case *metadatapb.Command_RegisterBroker:
		return m.registerBroker(c.RegisterBroker)
	case *metadatapb.Command_FenceBroker:
		return nil, m.fenceBroker(c.FenceBroker)
	case *metadatapb.Command_RequestShutdown:
		return nil, m.requestShutdown(c.RequestShutdown)
	case *metadatapb.Command_RemoveBroker:
		return nil, m.removeBroker(c.RemoveBroker)
	case *metadatapb.Command_DrainBroker:
		return nil, m.drainBroker(c.DrainBroker)
	case *metadatapb.Command_CreateTopic:
		return m.createTopicCommand(c.CreateTopic)
	case *metadatapb.Command_ForkTopic:
		return m.forkTopic(c.ForkTopic)
	case *metadatapb.Command_DeleteTopic:
		return nil, m.deleteTopicCommand(c.DeleteTopic)
	case *metadatapb.Command_AlterTopicConfigs:
		return nil, m.alterTopicConfigs(c.AlterTopicConfigs)
	case *metadatapb.Command_CreatePartitions:
		return nil, m.createPartitions(c.CreatePartitions)
	case *metadatapb.Command_ChangePartitions:
		return m.changePartitions(c.ChangePartitions), nil
	case *metadatapb.Command_SetLogStarts:
		return m.setLogStarts(c.SetLogStarts), nil
	case *metadatapb.Command_ReassignPartitions:
		return m.reassignPartitions(c.ReassignPartitions), nil
	case *metadatapb.Command_ElectUnclean:
		return nil, m.electUnclean(c.ElectUnclean)
	case *metadatapb.Command_AllocateProducerIds:
		return m.allocate(keyNextProducerID, c.AllocateProducerIds.GetCount())
	case *metadatapb.Command_AllocateObjectIds:
		return m.allocate(keyNextObjectID, c.AllocateObjectIds.GetCount())
	case *metadatapb.Command_CommitObject:
		return m.commitObject(c.CommitObject)
	case *metadatapb.Command_ReclaimRanges:
		return m.reclaimRanges(c.ReclaimRanges)
	case *metadatapb.Command_RemoveObjects:
		return nil, m.removeObjects(c.RemoveObjects)
	case *metadatapb.Command_ReplaceRanges:
		return m.replaceRanges(c.ReplaceRanges)
	case *metadatapb.Command_AddController:
		return m.addController(c.AddController)
	case *metadatapb.Command_RegisterController:
		return nil, m.registerController(c.RegisterController)
	case *metadatapb.Command_RemoveController:
		return nil, m.removeController(c.RemoveController)
	case *metadatapb.Command_PutJoinToken:
		return nil, m.putJoinToken(c.PutJoinToken)
	case *metadatapb.Command_UseJoinToken:
		return nil, m.useJoinToken(c.UseJoinToken)
	case *metadatapb.Command_AlterGroupConfigs:
		return nil, m.alterGroupConfigs(c.AlterGroupConfigs)
	case *metadatapb.Command_AlterQuota:
		return nil, m.alterQuota(c.AlterQuota)
	case *metadatapb.Command_RecoverCluster:
		return nil, m.recoverCluster()
	}
	// This code knows every kind up to the cluster's level (see setFeatureLevel), so no replica knows this one.
	return nil, noKind()
}

// message is what a refusal says, without the code that travels beside it.
func message(err error) string {
	if e, ok := err.(*mq.Error); ok { //nolint:errorlint // of what wraps it the text would be lost
		return e.Msg
	}
	return err.Error()
}

func verdict(err error) *metadatapb.Verdict {
	if err == nil {
		return &metadatapb.Verdict{}
	}
	return &metadatapb.Verdict{Code: int32(mq.CodeOf(err)), Message: message(err)}
}

// partitionOf finds the partition that a command names.
func (m *machine) partitionOf(ref *metadatapb.PartitionRef) (mq.PartitionID, *Partition, error) {
	id, ok := partitionIDFrom(ref)
	if !ok {
		return id, nil, mq.Errorf(mq.InvalidRequest, "a topic id has 16 bytes, not %d", len(ref.GetTopicId()))
	}
	p := m.partition(id)
	if p == nil {
		return id, nil, mq.Errorf(mq.UnknownTopicOrPartition, "partition %s does not exist", id)
	}
	return id, p, nil
}

// checkPartitionEpoch compares a request's epoch with the partition's.
func checkPartitionEpoch(id mq.PartitionID, p *Partition, epoch int32) error {
	if epoch != p.PartitionEpoch {
		return mq.Errorf(mq.FencedLeaderEpoch, "partition %s: partition epoch %d is over, it is %d now", id, epoch, p.PartitionEpoch)
	}
	return nil
}

// checkLeaderEpoch compares a request's epoch with the partition's.
func checkLeaderEpoch(id mq.PartitionID, p *Partition, epoch mq.Epoch) error {
	switch {
	case epoch < p.LeaderEpoch:
		return mq.Errorf(mq.FencedLeaderEpoch, "partition %s: leader epoch %d is over, it is %d now", id, epoch, p.LeaderEpoch)
	case epoch > p.LeaderEpoch:
		return mq.Errorf(mq.UnknownLeaderEpoch, "partition %s: leader epoch %d has not begun, it is %d now", id, epoch, p.LeaderEpoch)
	}
	return nil
}
