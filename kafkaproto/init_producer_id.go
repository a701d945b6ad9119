// InitProducerID (22), versions 0 to 5.
//
// Gives a producer id that nobody had before, with epoch 0. From version 3 on a producer that names the id and epoch that it has goes on with that id under the next epoch.
// While no id can be given (no controller, for one) the answer is COORDINATOR_LOAD_IN_PROGRESS, which has every client ask again.
//
// Not supported: transactional ids (INVALID_REQUEST).

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func initProducerIDAPI() api {
	return api{key: kmsg.InitProducerID, min: 0, max: 5, start: inTurn(initProducerID)}
}

func initProducerID(ctx context.Context, c *call, q *kmsg.InitProducerIDRequest, r *kmsg.InitProducerIDResponse) error {
	r.ProducerID, r.ProducerEpoch = int64(mq.NoProducerID), mq.NoProducerEpoch
	if q.TransactionalID != nil {
		r.ErrorCode = int16(mq.InvalidRequest)
		return nil
	}
	id, epoch := mq.NoProducerID, mq.NoProducerEpoch
	if q.Version >= 3 {
		id, epoch = mq.ProducerID(q.ProducerID), q.ProducerEpoch
	}
	id, epoch, err := c.broker().InitProducerID(ctx, c.session, id, epoch)
	if err != nil {
		r.ErrorCode = coordinatorCodeOf(err)
		// Java's producer takes other codes for fatal, or looks for the coordinator of a transaction that it has not.
		if mq.Code(r.ErrorCode).Retriable() {
			r.ErrorCode = int16(mq.CoordinatorLoadInProgress)
		}
		return nil
	}
	r.ProducerID, r.ProducerEpoch = int64(id), epoch
	return nil
}
