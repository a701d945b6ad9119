package client

import "github.com/rustmq/rustmq/mq"

// ConsumerOption sets one thing about a [Consumer]; see [Client.NewConsumer].
type ConsumerOption func(*consumerConfig) error

type consumerConfig struct {
	assign    []Assignment
	isolation mq.Isolation
	prefetch  int
	reset     *Position
	group     *groupConfig // nil: of no group
}

// Assignment is a partition to read and where to start.
type Assignment struct {
	Topic     string
	Partition int32
	From      Position
}

// Assign reads one partition from a position. It may be given many times. See also [Consumer.Assign].
func Assign(topic string, partition int32, from Position) ConsumerOption {
	return func(c *consumerConfig) error {
		a := Assignment{Topic: topic, Partition: partition, From: from}
		if err := a.check(); err != nil {
			return err
		}
		c.assign = append(c.assign, a)
		return nil
	}
}

func (a Assignment) check() error {
	if err := mq.ValidTopicName(a.Topic); err != nil {
		return err
	}
	if a.Partition < 0 {
		return invalid("Assign: partition %d of %s", a.Partition, a.Topic)
	}
	if a.From.kind == atOffset && a.From.offset < 0 {
		return invalid("Assign: offset %d of %s/%d", a.From.offset, a.Topic, a.Partition)
	}
	return nil
}

// ReadIsolation is how far the consumer sees: to the high watermark (default), or only what is in the object store.
func ReadIsolation(i mq.Isolation) ConsumerOption {
	return func(c *consumerConfig) error {
		if !i.Valid() {
			return invalid("ReadIsolation: %v", i)
		}
		c.isolation = i
		return nil
	}
}

// PrefetchBytes bounds what is fetched ahead of the application from each node, in bytes: the server sends no more, by QUIC's flow
// control, until the application has taken some. About twice that is held in memory, and one batch more if batches are larger than that.
// At least [MinPrefetchBytes]. Default: [DefaultPrefetchBytes].
func PrefetchBytes(n int) ConsumerOption {
	return func(c *consumerConfig) error {
		if n < MinPrefetchBytes || n > maxPrefetchBytes {
			return invalid("PrefetchBytes: %d is not in %d..%d", n, MinPrefetchBytes, maxPrefetchBytes)
		}
		c.prefetch = n
		return nil
	}
}

// ResetTo is where a partition goes on whose position is out of range, because retention has deleted the records or the log is
// shorter than that. Default: the partition fails with OFFSET_OUT_OF_RANGE, and waits for a [Consumer.Seek].
//
// For a member of a group it is also where a partition starts of which the group has committed nothing (Kafka's auto.offset.reset); by default that is
// [Start], or nowhere with [RequireCommitted]. With [End], records are not seen that come into a new partition before it is assigned for the first time.
func ResetTo(p Position) ConsumerOption {
	return func(c *consumerConfig) error {
		if p.kind == atOffset {
			return invalid("ResetTo: an offset may be out of range itself")
		}
		c.reset = &p
		return nil
	}
}
