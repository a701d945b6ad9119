package metadata

import (
	"math"

	"github.com/rustmq/rustmq/mq"
)

// A mount is a node that shows what the object store has of another cluster. Its metadata are a copy of that cluster's, and no command is ever applied to them: there is no log. They
// follow in two ways. A newer copy is received beside the database, made a view, and takes its place; ranges that are newer than the copy are committed to the view as it is.

// Viewing says whose view it is.
type Viewing struct {
	Cluster   mq.ClusterID // of the mount
	Node      mq.NodeID    // its only broker, which leads everything
	Dir       mq.DirID
	Rack      string
	Endpoints []Endpoint
	// Above is an index that the view's is above: that of the one which it takes the place of, for who has an image goes by that which is newer.
	Above uint64
	// Copied is the index of the copy that it is a view of, and Written when that was written, milliseconds since 1970; 0: not known. See [Store.Viewed].
	Copied  uint64
	Written int64
}

// view replaces all that is of the other cluster and not of its data.
func (m *machine) view(v Viewing) {
	m.img.ClusterID = v.Cluster
	m.putCluster()
	m.img.controllers = nil
	for _, b := range m.img.brokers {
		m.removeBrokerRecord(b.ID)
	}
	for _, t := range m.topics.t.all() {
		for i, p := range t.All() {
			m.putPartition(mq.PartitionID{Topic: t.ID, Index: i}, &Partition{
				Leader: v.Node, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch,
				LogStart: p.LogStart, TieredEnd: p.TieredEnd, Replicas: []mq.NodeID{v.Node}, ISR: []mq.NodeID{v.Node},
			})
		}
	}
	m.db.putNumber(keyNextObjectID, math.MaxInt64) // objects are found, whoever leased their ids
}
