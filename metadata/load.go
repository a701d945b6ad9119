package metadata

import (
	"cmp"
	"encoding/binary"
	"slices"

	"go.etcd.io/bbolt"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
)

const formatVersion = 1

// prepare makes the buckets of a new database and checks the format of an old one.
func prepare(b *bbolt.DB, path string) error {
	err := guard(path, func() error { return b.Update(func(tx *bbolt.Tx) error { return prepareIn(tx, path) }) })
	if err != nil {
		return storageError(err)
	}
	return nil
}

func prepareIn(tx *bbolt.Tx, path string) error {
	isNew := tx.Bucket([]byte(bucketMeta)) == nil
	if first, _ := tx.Cursor().First(); isNew && first != nil {
		return mq.Errorf(mq.WrongDataDir, "%s is a bbolt database, but not one of RustMQ's metadata", path)
	}
	for _, name := range allBuckets() {
		if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
			return mq.Errorf(mq.KafkaStorageError, "prepare metadata database %s: %w", path, err)
		}
	}
	kv := &boltKV{tx: tx}
	d := &db{r: kv, w: kv}
	if isNew {
		d.putRaw(bucketMeta, []byte(keyFormat), binary.BigEndian.AppendUint32(nil, formatVersion))
		return kv.err
	}
	return d.checkFormat(path)
}

func (d *db) checkFormat(path string) error {
	format := d.raw(bucketMeta, []byte(keyFormat))
	switch {
	case d.err != nil:
		return d.err
	case len(format) != 4:
		return mq.Errorf(mq.Corrupt, "metadata database %s has no format version", path)
	case binary.BigEndian.Uint32(format) != formatVersion:
		return mq.Errorf(mq.WrongDataDir, "metadata database %s has format %d, this program knows %d: start the program that wrote it", path,
			binary.BigEndian.Uint32(format), formatVersion)
	}
	return nil
}

// load reads position and image. known is the highest feature level that it may be at.
func load(b *bbolt.DB, known uint32) (loaded *state, err error) {
	err = guard(b.Path(), func() error {
		return b.View(func(tx *bbolt.Tx) error {
			d := &db{r: &boltKV{tx: tx}}
			loaded = &state{position: d.position()}
			loaded.image = d.image(loaded.position.Index)
			return d.err
		})
	})
	if err != nil {
		return nil, mq.Wrapf(storageError(err), "load metadata database %s", b.Path())
	}
	if level := loaded.image.FeatureLevel; level > known {
		return nil, mq.Errorf(mq.UnsupportedVersion, "the cluster is at feature level %d, this program knows %d: start a newer one", level, known)
	}
	return loaded, nil
}

// empty says whether there is nothing but the format: nothing was ever applied.
func (d *db) empty() bool {
	for _, b := range allBuckets() {
		key, _ := d.r.seek(b, nil)
		if b == bucketMeta && string(key) == keyFormat {
			key, _ = d.r.seek(b, []byte(keyFormat+"\x00"))
		}
		if key != nil {
			return false
		}
	}
	return true
}

func (d *db) position() raft.Position {
	value := d.raw(bucketMeta, []byte(keyPosition))
	if value == nil {
		if !d.empty() {
			d.fail(mq.Errorf(mq.Corrupt, "metadata database: it has no position, and more than a new one"))
		}
		return raft.Position{}
	}
	if len(value) < 16 {
		d.fail(mq.Errorf(mq.Corrupt, "metadata database: the position has %d bytes, want 16 or more", len(value)))
		return raft.Position{}
	}
	return raft.Position{
		Index: binary.BigEndian.Uint64(value), Term: binary.BigEndian.Uint64(value[8:]), Conf: slices.Clone(value[16:]),
	}
}

func (d *db) putPosition(at raft.Position) {
	value := binary.BigEndian.AppendUint64(nil, at.Index)
	value = binary.BigEndian.AppendUint64(value, at.Term)
	d.putRaw(bucketMeta, []byte(keyPosition), append(value, at.Conf...))
}

func (d *db) image(index uint64) *Image {
	img := &Image{Index: index}
	cluster := metadatapb.Cluster{}
	if d.get(bucketMeta, []byte(keyCluster), &cluster) {
		copy(img.ClusterID[:], cluster.GetClusterId())
		img.FeatureLevel = cluster.GetFeatureLevel()
	}
	img.Defaults = d.clusterConfig()
	each(d, bucketBrokers, &metadatapb.Broker{}, func(_ []byte, r *metadatapb.Broker) {
		img.brokers = append(img.brokers, brokerFrom(r))
	})
	slices.SortFunc(img.brokers, func(a, b *Broker) int { return cmp.Compare(a.ID, b.ID) })
	each(d, bucketControllers, &metadatapb.Controller{}, func(_ []byte, r *metadatapb.Controller) {
		img.controllers = append(img.controllers, controllerFrom(r))
	})
	owner := &trieOwner{}
	topics, names := img.topics.edit(owner), img.names.edit(owner)
	each(d, bucketTopics, &metadatapb.Topic{}, func(_ []byte, r *metadatapb.Topic) {
		t := d.loadTopic(r, img.Defaults, owner)
		img.partitions += int(t.count)
		topics.set(t.ID, t)
		names.set(t.Name, t.ID)
	})
	groups := img.groups.edit(owner)
	each(d, bucketGroups, &metadatapb.GroupConfig{}, func(_ []byte, r *metadatapb.GroupConfig) {
		config, err := ParseGroupConfig(r.GetGroup(), configsFrom(r.GetConfigs()))
		if err != nil {
			d.fail(mq.Errorf(mq.Corrupt, "metadata database: group %q: %w", r.GetGroup(), err))
			return
		}
		groups.set(config.Group, config)
	})
	quotas := img.quotas.edit(owner)
	each(d, bucketQuotas, &metadatapb.Quota{}, func(_ []byte, r *metadatapb.Quota) {
		q, err := quotaFrom(r)
		if err != nil {
			d.fail(mq.Errorf(mq.Corrupt, "metadata database: quota of %s: %w", EntityFrom(r.GetEntity()), err))
			return
		}
		quotas.set(q.Entity, q)
	})
	img.topics, img.names, img.groups, img.quotas = topics.t, names.t, groups.t, quotas.t
	return img
}

func (d *db) clusterConfig() ClusterConfig {
	var overrides []ConfigEntry
	for key, value := d.seekRaw(bucketConfigs, nil); key != nil; key, value = d.seekRaw(bucketConfigs, after(key)) {
		overrides = append(overrides, ConfigEntry{string(key), string(value)})
	}
	config, err := ParseClusterConfig(overrides)
	if err != nil {
		d.fail(mq.Errorf(mq.Corrupt, "metadata database: the cluster's settings: %w", err))
	}
	return config
}

func (d *db) loadTopic(r *metadatapb.Topic, defaults ClusterConfig, owner *trieOwner) *Topic {
	t := &Topic{Name: r.GetName(), Overrides: configsFrom(r.GetConfigs()), Restored: r.GetReplicas(), owner: owner}
	copy(t.ID[:], r.GetId())
	config, err := ParseTopicConfig(defaults, t.Overrides)
	if err != nil {
		d.fail(mq.Errorf(mq.Corrupt, "metadata database: topic %q: %w", t.Name, err))
	}
	t.Config = config
	var last *Partition
	record := &metadatapb.Partition{}
	for i := range r.GetPartitions() {
		if !d.get(bucketPartitions, partitionKey(mq.PartitionID{Topic: t.ID, Index: i}), record) {
			d.fail(mq.Errorf(mq.Corrupt, "metadata database: partition %d of topic %q is missing", i, t.Name))
			break
		}
		last = partitionFrom(record, last)
		t.append(last)
	}
	return t
}
