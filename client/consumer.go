package client

import (
	"context"
	"iter"

	"github.com/rustmq/rustmq/mq"
)

// Consumer reads partitions that it was told to read, each in offset order without gaps or duplicates, also over
// reconnections. It belongs to no group and stores no offsets.
//
// One goroutine at a time may be in Records, Batches or Poll; all other methods are for any goroutine at any time.
type Consumer struct {
	cfg consumerConfig
}

// Batch is one record batch as the server sent it, with its CRC verified.
type Batch struct {
	Topic         string
	Partition     int32
	Data          mq.Batch  // immutable, the caller's to keep
	From          mq.Offset // first offset in Data that is wanted: batches are never cut, so records below it may come with it
	To            mq.Offset // records from here on are not wanted, see [Consumer.StopAt]; beyond Data if all are
	HighWatermark mq.Offset // of the partition when the batch was sent
	LogStart      mq.Offset // likewise
}

// NewConsumer makes a consumer. Nothing is read, and nothing fails, before the first Poll or iteration.
func (c *Client) NewConsumer(opts ...ConsumerOption) (*Consumer, error) { panic("not yet") }

// Assign adds partitions to read. A partition that is assigned already goes on from its new position.
func (c *Consumer) Assign(assignments ...Assignment) error { panic("not yet") }

// Unassign stops reading partitions and forgets them, also what was fetched ahead.
func (c *Consumer) Unassign(partitions ...TopicPartition) { panic("not yet") }

// Assigned lists the partitions being read, by topic and number.
func (c *Consumer) Assigned() []TopicPartition { panic("not yet") }

// Seek goes on elsewhere in an assigned partition, and heals one that failed. What was fetched ahead is dropped.
func (c *Consumer) Seek(tp TopicPartition, to Position) error { panic("not yet") }

// Pause stops the delivery of assigned partitions until Resume. What was fetched ahead is kept, and delivered then.
func (c *Consumer) Pause(partitions ...TopicPartition) { panic("not yet") }

// Resume undoes Pause.
func (c *Consumer) Resume(partitions ...TopicPartition) { panic("not yet") }

// Position is the offset behind the last record that Poll or an iterator handed out, which is where reading would go on; -1
// if that is not known yet, or the partition is not assigned.
func (c *Consumer) Position(tp TopicPartition) mq.Offset { panic("not yet") }

// EndOffsets asks the servers where all assigned partitions end now for the consumer's isolation.
func (c *Consumer) EndOffsets(ctx context.Context) (map[TopicPartition]mq.Offset, error) {
	panic("not yet")
}

// StopAt ends the reading of partitions before the given offsets: records at and above them are not delivered, and when
// each partition assigned has come to its end, Poll returns [io.EOF] and iterations end. Together with
// EndOffsets this reads all that there is at a moment. A partition without an offset here never ends.
func (c *Consumer) StopAt(ends map[TopicPartition]mq.Offset) { panic("not yet") }

// Poll waits for records and returns those of one batch. The records are the caller's to keep. Errors: ctx's; [ErrClosed]; [io.EOF]
// after StopAt; a *[PartitionError] when a partition failed for good (it is silent until Seek or Unassign, the others go on: poll again).
// Trouble that may pass is waited out.
func (c *Consumer) Poll(ctx context.Context) ([]Record, error) { panic("not yet") }

// Records iterates over records as Poll gives them. A *[PartitionError] is yielded with a nil record, and iteration goes on; any other error but
// [io.EOF], which just ends it, is yielded last. Leaving the loop early loses nothing: what was not yielded comes next time.
func (c *Consumer) Records(ctx context.Context) iter.Seq2[*Record, error] { panic("not yet") }

// Batches iterates over whole batches, undecoded: for those who forward, count or measure. Errors are as of Records.
func (c *Consumer) Batches(ctx context.Context) iter.Seq2[*Batch, error] { panic("not yet") }

func (c *Consumer) stop() {}

// Close stops reading and closes the consumer's connections. Whoever waits in Poll gets [ErrClosed].
func (c *Consumer) Close() error { panic("not yet") }
