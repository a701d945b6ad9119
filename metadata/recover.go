package metadata

import (
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// By how much what is handed out goes on after a recovery: more than members that were lost can have handed out behind what is known here. An epoch for each
// second fits twelve days into epochLeap, and a history bears two thousand recoveries.
const (
	epochLeap  = 1 << 20 // of leader and partition epochs, 32 bits each
	idLeap     = 1 << 40 // of producers' and objects' ids
	raftIDLeap = 1 << 20 // of controllers' raft ids
)

// SetBack says whether a recovery has set the partition back since a log was written whose newest leader epoch is this one: all that is known of it may be older than what was
// committed, who is in sync, too. The first who leads it after that has to look what there is.
func (p *Partition) SetBack(newest mq.Epoch) bool {
	return p.UncleanEpoch >= epochLeap && newest < p.UncleanEpoch
}

// ObjectGeneration is how often the cluster had been recovered when an object's id was handed out. One of a generation before the image's may have been committed
// by controllers that were lost since: that the index does not have it says nothing about whether records of it are needed.
func ObjectGeneration(id uint64) uint64 { return id / idLeap }

// RecoverCommand is what the member that [raft.RecoverAlone] recovers begins the next generation with.
func RecoverCommand() ([]byte, error) {
	return EncodeCommand(&metadatapb.Command{Kind: &metadatapb.Command_RecoverCluster{RecoverCluster: &metadatapb.RecoverCluster{}}})
}

// recoverCluster begins a generation: brokers that kept running may act by what only the lost members decided. No broker epoch is good any more, so that each of
// them registers again, and gets a lease for roles of an image of this generation only. All leaders stay, in other epochs, so that nobody else's is one of theirs. In-sync
// sets are as old as this member, so that a leader may lack what the one after it acknowledged: its epoch begins as one after an unclean election does. Join tokens go: one may have
// been used.
func (m *machine) recoverCluster() error {
	for _, b := range m.img.brokers {
		changed := *b
		changed.Epoch = m.index
		m.putBroker(&changed)
	}
	for _, t := range m.topics.t.all() {
		for i, p := range t.All() {
			changed := *p
			changed.LeaderEpoch += epochLeap
			changed.UncleanEpoch = changed.LeaderEpoch
			changed.PartitionEpoch += epochLeap
			m.putPartition(mq.PartitionID{Topic: t.ID, Index: i}, &changed)
		}
	}
	m.db.putNumber(keyNextProducerID, m.db.number(keyNextProducerID)+idLeap)
	m.db.putNumber(keyNextObjectID, m.db.number(keyNextObjectID)+idLeap)
	if next := m.db.number(keyNextRaftID); next != 0 {
		m.db.putNumber(keyNextRaftID, next+raftIDLeap)
	}
	m.forgetJoinTokens()
	return nil
}
