package metadata

import (
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// ImageReader makes images of pages that [ImagePages] gave. What did not change an image shares with the one before it.
type ImageReader struct {
	base   *Image // nil: none yet
	draft  *draft // of the image that is being made, nil between images
	first  *metadatapb.ImagePage
	page   uint32 // the next one
	topic  *Topic // the last one that pages named, nil: none
	want   int32  // how many partitions it is to have
	broken error
}

// NewImageReader begins with an image that is there already, or nil.
func NewImageReader(base *Image) *ImageReader { return &ImageReader{base: base} }

// Add takes the next page and gives the image that it completes, or nil when pages are missing. After an error the reader takes no more: whoever
// sends has to begin with a whole image. Errors: ProtocolViolation for a page that is not one or does not follow; UnsupportedVersion for
// a cluster at a feature level, or with settings, that this code does not know.
func (r *ImageReader) Add(data []byte) (*Image, error) {
	if r.broken != nil {
		return nil, r.broken
	}
	img, err := r.add(data)
	if err != nil {
		r.broken, r.draft, r.topic = err, nil, nil
	}
	return img, err
}

func (r *ImageReader) add(data []byte) (*Image, error) {
	if len(data) > MaxImagePageBytes {
		return nil, mq.Errorf(mq.ProtocolViolation, "a page of an image has %d bytes: at most %d are allowed", len(data), MaxImagePageBytes)
	}
	page := &metadatapb.ImagePage{}
	if err := proto.Unmarshal(data, page); err != nil {
		return nil, mq.Errorf(mq.ProtocolViolation, "a page of an image cannot be decoded: %w", err)
	}
	if err := r.follows(page); err != nil {
		return nil, err
	}
	for _, step := range []func(*metadatapb.ImagePage) error{r.cluster, r.brokers, r.controllers, r.groups, r.quotas, r.deletions, r.topics} {
		if err := step(page); err != nil {
			return nil, mq.Wrapf(err, "page %d of the image at index %d", page.GetPage(), page.GetIndex())
		}
	}
	r.page++
	if !page.GetLast() {
		return nil, nil
	}
	if err := r.complete(); err != nil {
		return nil, err
	}
	r.base = r.draft.finish(page.GetIndex())
	r.draft, r.topic = nil, nil
	return r.base, nil
}

// follows says whether a page is the next one, and begins an image with the first.
func (r *ImageReader) follows(page *metadatapb.ImagePage) error {
	if r.draft != nil {
		if page.GetPage() != r.page || page.GetBase() != r.first.GetBase() || page.GetIndex() != r.first.GetIndex() {
			return mq.Errorf(mq.ProtocolViolation, "page %d of image %d on %d came, page %d of image %d on %d is the next", page.GetPage(),
				page.GetIndex(), page.GetBase(), r.page, r.first.GetIndex(), r.first.GetBase())
		}
		return nil
	}
	base := r.base
	switch {
	case page.GetPage() != 0:
		return mq.Errorf(mq.ProtocolViolation, "an image begins with page %d", page.GetPage())
	case page.GetBase() == 0:
		base = &Image{}
	case base == nil || base.Index != page.GetBase():
		return mq.Errorf(mq.ProtocolViolation, "the changes are to the image at index %d, which is not the one that is here", page.GetBase())
	case page.GetIndex() < page.GetBase():
		return mq.Errorf(mq.ProtocolViolation, "image %d does not come after image %d", page.GetIndex(), page.GetBase())
	}
	r.first, r.page = &metadatapb.ImagePage{Base: page.GetBase(), Index: page.GetIndex()}, 0
	r.draft = newDraft(nil, base)
	return nil
}

func (r *ImageReader) cluster(page *metadatapb.ImagePage) error {
	img := &r.draft.img
	if c := page.GetCluster(); c != nil {
		if c.GetFeatureLevel() > FeatureLevel {
			return mq.Errorf(mq.UnsupportedVersion, "the cluster is at feature level %d, this program knows %d: start a newer one", c.GetFeatureLevel(),
				FeatureLevel)
		}
		if len(c.GetClusterId()) != len(img.ClusterID) {
			return mq.Errorf(mq.ProtocolViolation, "a cluster id has %d bytes", len(c.GetClusterId()))
		}
		img.ClusterID, img.FeatureLevel = mq.ClusterID(c.GetClusterId()), c.GetFeatureLevel()
	}
	if !page.GetConfigsChanged() {
		return nil
	}
	defaults, err := ParseClusterConfig(configsFrom(page.GetConfigs()))
	if err != nil {
		return unknownSettings("the cluster", err)
	}
	img.Defaults = defaults
	for id, t := range r.draft.topics.t.all() {
		config, err := ParseTopicConfig(defaults, t.Overrides)
		if err != nil {
			return unknownSettings(t.Name, err)
		}
		if config != t.Config {
			r.draft.ownTopic(id).Config = config
		}
	}
	return nil
}

// unknownSettings is the error for settings that the controllers accepted and this code does not.
func unknownSettings(of string, err error) error {
	return mq.Errorf(mq.UnsupportedVersion, "settings of %s that this program does not know: start a newer one: %w", of, err)
}

func (r *ImageReader) brokers(page *metadatapb.ImagePage) error {
	if len(page.GetBrokers())+len(page.GetRemovedBrokers()) == 0 {
		return nil
	}
	brokers := slices.Clone(r.draft.img.brokers)
	for _, record := range page.GetBrokers() {
		b := brokerFrom(record)
		at, found := findBroker(brokers, b.ID)
		switch {
		case b.ID < 0:
			return mq.Errorf(mq.ProtocolViolation, "a broker has the id %d", b.ID)
		case found:
			brokers[at] = b
		default:
			brokers = slices.Insert(brokers, at, b)
		}
	}
	for _, id := range page.GetRemovedBrokers() {
		at, found := findBroker(brokers, mq.NodeID(id))
		if !found {
			return mq.Errorf(mq.ProtocolViolation, "broker %d went, and was not there", id)
		}
		brokers = slices.Delete(brokers, at, at+1)
	}
	r.draft.img.brokers = brokers
	return nil
}

func (r *ImageReader) controllers(page *metadatapb.ImagePage) error {
	if len(page.GetControllers())+len(page.GetRemovedControllers()) == 0 {
		return nil
	}
	controllers := slices.Clone(r.draft.img.controllers)
	for _, id := range page.GetRemovedControllers() {
		at, found := findController(controllers, id)
		if !found {
			return mq.Errorf(mq.ProtocolViolation, "the controller of raft id %d went, and was not there", id)
		}
		controllers = slices.Delete(controllers, at, at+1)
	}
	for _, record := range page.GetControllers() {
		c := controllerFrom(record)
		at, found := findController(controllers, c.RaftID)
		switch {
		case found:
			controllers[at] = c
		case len(controllers) == maxControllers:
			return mq.Errorf(mq.ProtocolViolation, "there are more than %d controllers", maxControllers)
		default:
			controllers = slices.Insert(controllers, at, c)
		}
	}
	r.draft.img.controllers = controllers
	return nil
}

func (r *ImageReader) groups(page *metadatapb.ImagePage) error {
	for _, record := range page.GetGroupConfigs() {
		config, err := ParseGroupConfig(record.GetGroup(), configsFrom(record.GetConfigs()))
		switch {
		case err != nil:
			return unknownSettings("group "+strconv.Quote(record.GetGroup()), err)
		case len(config.Overrides) > 0:
			r.draft.groups.set(config.Group, config)
		default:
			if _, found := r.draft.groups.t.get(config.Group); !found {
				return mq.Errorf(mq.ProtocolViolation, "group %q sets nothing any more, and never did", config.Group)
			}
			r.draft.groups.remove(config.Group)
		}
		if n := r.draft.groups.t.len(); n > MaxGroupConfigs {
			return mq.Errorf(mq.ProtocolViolation, "more than %d groups have settings of their own", MaxGroupConfigs)
		}
	}
	return nil
}

func (r *ImageReader) quotas(page *metadatapb.ImagePage) error {
	for _, record := range page.GetQuotas() {
		q, err := quotaFrom(record)
		switch {
		case err != nil:
			return unknownSettings("the quota of "+EntityFrom(record.GetEntity()).String(), err)
		case !q.empty():
			r.draft.quotas.set(q.Entity, q)
		default:
			if _, found := r.draft.quotas.t.get(q.Entity); !found {
				return mq.Errorf(mq.ProtocolViolation, "%s has no quota any more, and never had one", q.Entity)
			}
			r.draft.quotas.remove(q.Entity)
		}
		if n := r.draft.quotas.t.len(); n > MaxQuotas {
			return mq.Errorf(mq.ProtocolViolation, "more than %d quotas", MaxQuotas)
		}
	}
	return nil
}

func (r *ImageReader) deletions(page *metadatapb.ImagePage) error {
	for _, raw := range page.GetDeletedTopics() {
		id, ok := topicIDFrom(raw)
		t := r.draft.topic(id)
		if !ok || t == nil {
			return mq.Errorf(mq.ProtocolViolation, "topic %x was deleted, and was not there", raw)
		}
		r.draft.topics.remove(id)
		r.draft.names.remove(t.Name)
		r.draft.img.partitions -= int(t.count)
	}
	return nil
}

func (r *ImageReader) topics(page *metadatapb.ImagePage) error {
	for _, change := range page.GetTopics() {
		id, ok := topicIDFrom(change.GetId())
		if !ok {
			return mq.Errorf(mq.ProtocolViolation, "a topic has the id %x", change.GetId())
		}
		if r.topic == nil || r.topic.ID != id {
			if err := r.complete(); err != nil {
				return err
			}
			if r.topic, r.want = r.draft.topic(id), 0; r.topic != nil {
				r.want = r.topic.count
			}
		}
		if err := r.change(id, change); err != nil {
			return mq.Wrapf(err, "topic %s", id)
		}
	}
	return nil
}

// complete says whether the last topic has all of its partitions.
func (r *ImageReader) complete() error {
	if r.topic != nil && r.topic.count != r.want {
		return mq.Errorf(mq.ProtocolViolation, "topic %s has %d partitions, %d came", r.topic.Name, r.want, r.topic.count)
	}
	return nil
}

func (r *ImageReader) change(id mq.TopicID, change *metadatapb.TopicChange) error {
	if change.GetTopic() != nil {
		if err := r.settings(id, change.GetTopic()); err != nil {
			return err
		}
	}
	if r.topic == nil {
		return mq.Errorf(mq.ProtocolViolation, "it changed, and was not there")
	}
	r.topic = r.draft.ownTopic(id)
	for _, s := range change.GetPartitions() {
		if err := r.partition(s); err != nil {
			return err
		}
	}
	return nil
}

// settings takes all of a topic but its partitions.
func (r *ImageReader) settings(id mq.TopicID, record *metadatapb.Topic) error {
	want := record.GetPartitions()
	if want < 1 || want > mq.MaxPartitionsPerTopic || r.topic != nil && want < r.topic.count {
		return mq.Errorf(mq.ProtocolViolation, "it has %d partitions", want)
	}
	overrides := configsFrom(record.GetConfigs())
	config, err := ParseTopicConfig(r.draft.img.Defaults, overrides)
	if err != nil {
		return unknownSettings(record.GetName(), err)
	}
	r.want = want
	if r.topic != nil {
		if r.topic.Name != record.GetName() {
			return mq.Errorf(mq.ProtocolViolation, "its name was %q and is %q", r.topic.Name, record.GetName())
		}
		r.topic = r.draft.ownTopic(id)
		r.topic.Config, r.topic.Overrides, r.topic.Restored = config, overrides, record.GetReplicas()
		return nil
	}
	if err := mq.ValidTopicName(record.GetName()); err != nil {
		return mq.Errorf(mq.ProtocolViolation, "%w", err)
	}
	if other, taken := r.draft.names.t.get(record.GetName()); taken {
		return mq.Errorf(mq.ProtocolViolation, "its name %q is that of topic %s", record.GetName(), other)
	}
	r.topic = &Topic{ID: id, Name: record.GetName(), Config: config, Overrides: overrides, Restored: record.GetReplicas(), owner: r.draft.owner}
	r.draft.topics.set(id, r.topic)
	r.draft.names.set(r.topic.Name, id)
	return nil
}

// partition replaces a partition of the topic that is being changed, or appends the next one.
func (r *ImageReader) partition(s *metadatapb.PartitionState) error {
	t, i, record := r.topic, s.GetPartition(), s.GetState()
	if i < 0 || i > t.count || i >= r.want {
		return mq.Errorf(mq.ProtocolViolation, "partition %d came, it has %d of %d", i, t.count, r.want)
	}
	if n := len(record.GetReplicas()); n == 0 || n > mq.MaxReplicationFactor {
		return mq.Errorf(mq.ProtocolViolation, "partition %d has %d replicas", i, n)
	}
	if i < t.count {
		t.set(i, partitionFrom(record, t.Partition(i)))
		return nil
	}
	t.append(partitionFrom(record, t.Partition(i-1)))
	r.draft.img.partitions++
	return nil
}
