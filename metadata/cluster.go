package metadata

import (
	"math"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

func (m *machine) formCluster(c *metadatapb.FormCluster) error {
	var id mq.ClusterID
	if len(c.GetClusterId()) != len(id) || mq.ClusterID(c.GetClusterId()).IsZero() {
		return mq.Errorf(mq.InvalidRequest, "form a cluster: the id must have %d bytes that are not all zero", len(id))
	}
	id = mq.ClusterID(c.GetClusterId())
	level := c.GetFeatureLevel()
	switch {
	case m.img.ClusterID == id:
		return nil
	case !m.img.ClusterID.IsZero():
		return mq.Errorf(mq.InconsistentClusterID, "form cluster %s: this is cluster %s", id, m.img.ClusterID)
	case level == 0:
		return mq.Errorf(mq.InvalidRequest, "form a cluster: the feature level must be 1 or more")
	}
	founders, err := m.checkFounders(c.GetControllers(), level)
	if err != nil {
		return err
	}
	if !m.knows(level) {
		return nil
	}
	m.img.ClusterID, m.img.FeatureLevel = id, level
	m.putCluster()
	m.db.putNumber(keyNextProducerID, 1)
	m.db.putNumber(keyNextObjectID, 1)
	for _, member := range founders {
		m.db.putNumber(keyNextRaftID, firstRaftID)
		m.putController(member)
	}
	return nil
}

func (m *machine) setFeatureLevel(c *metadatapb.SetFeatureLevel) error {
	level := c.GetFeatureLevel()
	if level < m.img.FeatureLevel {
		return mq.Errorf(mq.InvalidRequest, "feature level %d: the cluster is at %d and cannot go back", level, m.img.FeatureLevel)
	}
	for _, b := range m.img.brokers {
		if b.MaxFeatureLevel < level {
			return mq.Errorf(mq.UnsupportedVersion, "feature level %d: broker %d speaks %d at most: start a newer program on it, or remove it", level, b.ID, b.MaxFeatureLevel)
		}
	}
	for _, c := range m.img.controllers {
		if c.MaxFeatureLevel < level {
			return mq.Errorf(mq.UnsupportedVersion, "feature level %d: controller %d speaks %d at most: start a newer program on it, or remove it", level, c.Node, c.MaxFeatureLevel)
		}
	}
	if level == m.img.FeatureLevel || !m.knows(level) {
		return nil
	}
	m.img.FeatureLevel = level
	m.putCluster()
	return nil
}

// SupportedLevel is the highest feature level that the programs of all brokers and controllers speak, so far as they have said so: what the cluster
// can be raised to. Brokers that do not run count as well.
func (img *Image) SupportedLevel() uint32 {
	level := uint32(math.MaxUint32)
	for _, b := range img.brokers {
		level = min(level, b.MaxFeatureLevel)
	}
	for _, c := range img.controllers {
		level = min(level, c.MaxFeatureLevel)
	}
	if level == math.MaxUint32 { // nobody has registered
		return img.FeatureLevel
	}
	return level
}

// knows says whether this code understands all commands of a level. If not, it stops this replica for good: it could only guess
// what the commands that come now do.
func (m *machine) knows(level uint32) bool {
	if level > m.known {
		m.db.fail(mq.Errorf(mq.UnsupportedVersion,
			"the cluster went to feature level %d at index %d, this program knows %d: start a newer one on this node", level, m.index, m.known))
		return false
	}
	return true
}

func (m *machine) setClusterConfigs(c *metadatapb.SetClusterConfigs) error {
	changes := configChangesFrom(c.GetChanges())
	overrides, err := changeConfigs(m.img.Defaults.Overrides, changes)
	if err != nil {
		return err
	}
	defaults, err := ParseClusterConfig(overrides)
	if err != nil {
		return err
	}
	m.img.Defaults = defaults
	for _, change := range changes {
		if change.remove {
			m.db.del(bucketConfigs, []byte(change.key))
		} else {
			m.db.putRaw(bucketConfigs, []byte(change.key), []byte(change.value))
		}
	}
	return m.resolveTopics()
}

// resolveTopics gives every topic its settings anew, after the cluster's have changed.
func (m *machine) resolveTopics() error {
	for id, t := range m.topics.t.all() {
		config, err := ParseTopicConfig(m.img.Defaults, t.Overrides)
		if err != nil {
			m.db.fail(mq.Errorf(mq.Internal, "topic %s has settings that were accepted and are not valid: %w", t.Name, err))
			return nil
		}
		if config != t.Config {
			m.ownTopic(id).Config = config
			m.settleTopic(id)
		}
	}
	return nil
}

// maxAllocation bounds one block of ids: enough for any broker's needs, too few to use them up by mistake.
const maxAllocation = 1 << 20

func (m *machine) allocate(counter string, count int32) (*metadatapb.Result, error) {
	if count < 1 || count > maxAllocation {
		return nil, mq.Errorf(mq.InvalidRequest, "allocate %d ids: from 1 to %d can be had at once", count, maxAllocation)
	}
	first := m.db.number(counter)
	m.db.putNumber(counter, first+uint64(count))
	return &metadatapb.Result{Value: &metadatapb.Result_Allocate{Allocate: &metadatapb.AllocateResult{First: first, Count: count}}}, nil
}
