package quicproto

import "github.com/rustmq/rustmq/mq"

// Broker is one broker as Metadata lists it.
type Broker struct {
	ID   mq.NodeID
	Addr string // host:port of its QUIC listener as clients should dial it
	Rack string // may be empty
}

// Partition is one partition as Metadata lists it.
type Partition struct {
	Index       int32
	Code        mq.Code   // LEADER_NOT_AVAILABLE while nobody leads it
	Leader      mq.NodeID // -1 for none
	LeaderEpoch mq.Epoch
	Replicas    []mq.NodeID
	InSync      []mq.NodeID
}

// Topic is one topic as Metadata lists it.
type Topic struct {
	Name       string
	Code       mq.Code // UNKNOWN_TOPIC_OR_PARTITION for one that was asked for by name and is not there
	Msg        string
	ID         mq.TopicID
	Internal   bool
	Partitions []Partition
}

// Config is one setting of a topic.
type Config struct {
	Key     string
	Value   string
	Default bool // nobody set it: Value is what holds in its place
}

// PartitionDetail is what DescribeTopic adds to a Partition. Offsets are -1 where the answering broker does not know them.
type PartitionDetail struct {
	Partition
	LogStart      mq.Offset
	HighWatermark mq.Offset
	LogEnd        mq.Offset
	ObjectEnd     mq.Offset // records below it are in the object store
	Bytes         int64     // of the un-tiered part on this broker, -1 if not known
}

func (b *Broker) append(dst []byte) []byte {
	dst = appendInt32(dst, b.ID)
	dst = appendText(dst, b.Addr, MaxText)
	return appendText(dst, b.Rack, MaxText)
}

const brokerMinSize = 4 + 2 + 2

func (d *decoder) broker() Broker {
	return Broker{ID: d.node(), Addr: d.text(MaxText), Rack: d.text(MaxText)}
}

func appendBrokers(dst []byte, list []Broker) []byte {
	dst = appendUint32(dst, uint32(len(list)))
	for i := range list {
		dst = list[i].append(dst)
	}
	return dst
}

func (d *decoder) brokers() []Broker { return decodeList(d, brokerMinSize, (*decoder).broker) }

// decodeList reads a counted list of elements that take at least size bytes each, as many as the payload can hold. Its memory
// grows with what was really there, not with the count. An empty list is nil.
func decodeList[T any](d *decoder, size int, one func(*decoder) T) []T {
	return decodeShortList(d, len(d.rest), size, one)
}

// decodeShortList is decodeList with a limit on the number of elements.
func decodeShortList[T any](d *decoder, limit, size int, one func(*decoder) T) []T {
	var list []T
	for range d.count(limit, size) {
		v := one(d)
		if d.err != nil {
			return nil
		}
		list = append(list, v)
	}
	return list
}

func appendNodes(dst []byte, list []mq.NodeID) []byte {
	dst = appendUint32(dst, uint32(len(list)))
	for _, id := range list {
		dst = appendInt32(dst, id)
	}
	return dst
}

func (d *decoder) nodes() []mq.NodeID { return decodeList(d, 4, (*decoder).node) }

func (p *Partition) append(dst []byte) []byte {
	dst = appendInt32(dst, p.Index)
	dst = appendCode(dst, p.Code)
	dst = appendInt32(dst, p.Leader)
	dst = appendInt32(dst, p.LeaderEpoch)
	dst = appendNodes(dst, p.Replicas)
	return appendNodes(dst, p.InSync)
}

const partitionMinSize = 4 + 2 + 4 + 4 + 4 + 4

func (d *decoder) partition() Partition {
	return Partition{
		Index: d.int32(), Code: d.code(), Leader: d.node(), LeaderEpoch: d.epoch(),
		Replicas: d.nodes(), InSync: d.nodes(),
	}
}

func (p *PartitionDetail) append(dst []byte) []byte {
	dst = p.Partition.append(dst)
	dst = appendOffset(dst, p.LogStart)
	dst = appendOffset(dst, p.HighWatermark)
	dst = appendOffset(dst, p.LogEnd)
	dst = appendOffset(dst, p.ObjectEnd)
	return appendUint64(dst, uint64(p.Bytes))
}

const partitionDetailMinSize = partitionMinSize + 5*8

func (d *decoder) partitionDetail() PartitionDetail {
	return PartitionDetail{
		Partition: d.partition(), LogStart: d.offset(), HighWatermark: d.offset(), LogEnd: d.offset(),
		ObjectEnd: d.offset(), Bytes: d.int64(),
	}
}

const (
	topicMinSize      = 2 + 2 + 2 + 16 + 1 + 4
	topicFlagInternal = 0x01
)

func (t *Topic) append(dst []byte) []byte {
	var flags uint8
	if t.Internal {
		flags = topicFlagInternal
	}
	dst = appendText(dst, t.Name, MaxTopicName)
	dst = appendCode(dst, t.Code)
	dst = appendText(dst, t.Msg, MaxMessage)
	dst = appendTopicID(dst, t.ID)
	dst = append(dst, flags)
	dst = appendUint32(dst, uint32(len(t.Partitions)))
	for i := range t.Partitions {
		dst = t.Partitions[i].append(dst)
	}
	return dst
}

func (d *decoder) topic() Topic {
	return Topic{
		Name: d.text(MaxTopicName), Code: d.code(), Msg: d.text(MaxMessage), ID: d.topicID(),
		Internal: d.flags(topicFlagInternal) != 0, Partitions: decodeList(d, partitionMinSize, (*decoder).partition),
	}
}

// Err is the topic's error, nil if it has none.
func (t *Topic) Err() error { return errOf(t.Code, t.Msg) }

const (
	configMinSize     = 2 + 2 + 1
	configFlagDefault = 0x01
)

func appendConfigs(dst []byte, list []Config) []byte {
	dst = appendUint32(dst, uint32(len(list)))
	for i := range list {
		var flags uint8
		if list[i].Default {
			flags = configFlagDefault
		}
		dst = appendText(dst, list[i].Key, MaxText)
		dst = appendText(dst, list[i].Value, MaxValue)
		dst = append(dst, flags)
	}
	return dst
}

func (d *decoder) configs() []Config {
	return decodeShortList(d, MaxConfigs, configMinSize, (*decoder).config)
}

func (d *decoder) config() Config {
	return Config{Key: d.text(MaxText), Value: d.text(MaxValue), Default: d.flags(configFlagDefault) != 0}
}

func appendNames(dst []byte, list []string, max int) []byte {
	dst = appendUint32(dst, uint32(len(list)))
	for _, s := range list {
		dst = appendText(dst, s, max)
	}
	return dst
}

func (d *decoder) names(limit, max int) []string {
	return decodeShortList(d, limit, 2, func(d *decoder) string { return d.text(max) })
}
