package metadata

import (
	"slices"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// Bounds of a registration, so that a broken one cannot fill every image.
const (
	maxEndpoints     = 16
	maxEndpointBytes = 255 // of a host name, as DNS has it
	maxRackBytes     = 255
)

func (m *machine) registerBroker(c *metadatapb.RegisterBroker) (*metadatapb.Result, error) {
	b, err := m.checkRegistration(c)
	if err != nil {
		return nil, err
	}
	suspects, err := partitionIDs(c.GetSuspects())
	if err != nil {
		return nil, err
	}
	whole, err := partitionIDs(c.GetWhole())
	if err != nil {
		return nil, err
	}
	before := m.img.broker(b.ID)
	if before != nil && before.Incarnation == b.Incarnation && !before.Fenced {
		return registered(before.Epoch), nil // the answer to an earlier proposal was lost
	}
	b.Epoch = m.index
	b.Draining = before != nil && before.Draining
	m.putBroker(b)
	for _, t := range m.topics.t.all() {
		for i, p := range t.All() {
			id := mq.PartitionID{Topic: t.ID, Index: i}
			_, suspect := slices.BinarySearchFunc(suspects, id, comparePartitions)
			if c.GetDoubt() && !suspect {
				_, found := slices.BinarySearchFunc(whole, id, comparePartitions)
				suspect = !found
			}
			if changed := m.returnReplica(t, p, before, b, suspect); changed != nil {
				m.putPartition(id, changed)
			}
		}
	}
	return registered(b.Epoch), nil
}

func registered(epoch uint64) *metadatapb.Result {
	return &metadatapb.Result{Value: &metadatapb.Result_RegisterBroker{RegisterBroker: &metadatapb.RegisterBrokerResult{BrokerEpoch: epoch}}}
}

func (m *machine) checkRegistration(c *metadatapb.RegisterBroker) (*Broker, error) {
	id := c.GetNodeId()
	switch {
	case string(c.GetClusterId()) != string(m.img.ClusterID[:]):
		return nil, mq.Errorf(mq.InconsistentClusterID, "register broker %d: it belongs to another cluster than %s", id, m.img.ClusterID)
	case id < 0:
		return nil, mq.Errorf(mq.InvalidRequest, "register broker %d: a node id is not negative", id)
	case len(c.GetDirId()) != len(mq.DirID{}) || mq.DirID(c.GetDirId()).IsZero():
		return nil, mq.Errorf(mq.InvalidRequest, "register broker %d: a directory id has 16 bytes that are not all zero", id)
	case len(c.GetRack()) > maxRackBytes || len(c.GetEndpoints()) > maxEndpoints:
		return nil, mq.Errorf(mq.InvalidRequest, "register broker %d: at most %d endpoints, and %d bytes of rack", id, maxEndpoints, maxRackBytes)
	case c.GetMaxFeatureLevel() < m.img.FeatureLevel:
		return nil, mq.Errorf(mq.UnsupportedVersion, "register broker %d: it speaks feature level %d, the cluster is at %d", id,
			c.GetMaxFeatureLevel(), m.img.FeatureLevel)
	}
	for _, e := range c.GetEndpoints() {
		if len(e.GetHost()) > maxEndpointBytes || len(e.GetListener()) > maxEndpointBytes || e.GetPort() > 1<<16-1 {
			return nil, mq.Errorf(mq.InvalidRequest, "register broker %d: endpoint %.40q is not one", id, e.GetHost())
		}
	}
	return brokerFrom(&metadatapb.Broker{
		NodeId: id, Incarnation: c.GetIncarnation(), DirId: c.GetDirId(), Endpoints: c.GetEndpoints(), Rack: c.GetRack(),
		MaxFeatureLevel: c.GetMaxFeatureLevel(),
	}), nil
}

// partitionIDs sorts the partitions that a registration names.
func partitionIDs(refs []*metadatapb.PartitionRef) ([]mq.PartitionID, error) {
	ids := make([]mq.PartitionID, len(refs))
	for i, ref := range refs {
		id, ok := partitionIDFrom(ref)
		if !ok {
			return nil, mq.Errorf(mq.InvalidRequest, "a topic id has 16 bytes, not %d", len(ref.GetTopicId()))
		}
		ids[i] = id
	}
	slices.SortFunc(ids, comparePartitions)
	return ids, nil
}

func comparePartitions(a, b mq.PartitionID) int {
	ka, kb := a.Key(), b.Key()
	return slices.Compare(ka[:], kb[:])
}

func (m *machine) fenceBroker(c *metadatapb.FenceBroker) error {
	b, err := m.brokerOf("fence", c.GetNodeId(), c.GetBrokerEpoch())
	if err != nil || b.Fenced {
		return err
	}
	fenced := *b
	fenced.Fenced = true
	m.putBroker(&fenced)
	for _, t := range m.topics.t.all() {
		for i, p := range t.All() {
			if changed := m.loseReplica(t, p, b.ID); changed != nil {
				m.putPartition(mq.PartitionID{Topic: t.ID, Index: i}, changed)
			}
		}
	}
	return nil
}

func (m *machine) requestShutdown(c *metadatapb.RequestShutdown) error {
	b, err := m.brokerOf("shut down", c.GetNodeId(), c.GetBrokerEpoch())
	if err != nil || b.ShuttingDown || b.Fenced {
		return err
	}
	stopping := *b
	stopping.ShuttingDown = true
	m.putBroker(&stopping)
	return nil
}

func (m *machine) drainBroker(c *metadatapb.DrainBroker) error {
	b := m.img.broker(mq.NodeID(c.GetNodeId()))
	switch {
	case b == nil:
		return mq.Errorf(mq.InvalidRequest, "drain broker %d: it never registered", c.GetNodeId())
	case b.Draining == c.GetDrain():
		return nil
	}
	changed := *b
	changed.Draining = c.GetDrain()
	m.putBroker(&changed)
	return nil
}

// brokerOf finds a broker by its node id and the epoch of the incarnation that is meant.
func (m *machine) brokerOf(verb string, node int32, epoch uint64) (*Broker, error) {
	b := m.img.broker(mq.NodeID(node))
	switch {
	case b == nil:
		return nil, mq.Errorf(mq.InvalidRequest, "%s broker %d: it never registered", verb, node)
	case b.Epoch != epoch:
		return nil, mq.Errorf(mq.StaleBrokerEpoch, "%s broker %d of epoch %d: its epoch is %d", verb, node, epoch, b.Epoch)
	}
	return b, nil
}

func (m *machine) removeBroker(c *metadatapb.RemoveBroker) error {
	id := mq.NodeID(c.GetNodeId())
	b := m.img.broker(id)
	switch {
	case b == nil:
		return nil
	case !b.Fenced:
		return mq.Errorf(mq.InvalidRequest, "remove broker %d: it is alive, stop it first", id)
	}
	held := 0
	for _, t := range m.topics.t.all() {
		for _, p := range t.All() {
			if slices.Contains(p.Replicas, id) {
				held++
			}
		}
	}
	if held > 0 {
		return mq.Errorf(mq.InvalidRequest, "remove broker %d: it holds replicas of %d partitions, move them first", id, held)
	}
	m.removeBrokerRecord(id)
	return nil
}
