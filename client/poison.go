package client

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/rustmq/rustmq/mq"
)

// Headers that a record has in a dead-letter topic beside its own: why it is there, and where it comes from.
const (
	HeaderError     = "rustmq.error"     // what the handler said last
	HeaderAttempts  = "rustmq.attempts"  // how often it was tried, in decimal
	HeaderTopic     = "rustmq.topic"     // that it was consumed from
	HeaderPartition = "rustmq.partition" // likewise, in decimal
	HeaderOffset    = "rustmq.offset"    // likewise
	HeaderGroup     = "rustmq.group"     // that failed on it
)

// DefaultRetryPause is the first pause of a [Poison] that does not say.
const DefaultRetryPause = 100 * time.Millisecond

// maxRetryPause bounds the pause before a handler is called again.
const maxRetryPause = time.Minute

// Poison says what becomes of records on which a [Handler] fails. Its zero value is: [Process] ends with the handler's error, and they are consumed again
// by whoever goes on.
//
// First the handler is tried again, Retries times; other records of the member wait meanwhile, so that order is kept. Then, with a DeadLetter topic, the record goes
// there with the cause in its headers ([HeaderError] and so on), and counts as processed once it is durable there; else with Skip it is left out.
type Poison struct {
	Retries    int           // how often the handler is tried again; negative: for ever
	Pause      time.Duration // before the first time, then doubling up to a minute; 0: DefaultRetryPause
	DeadLetter string        // topic that takes what still fails, empty for none
	Skip       bool          // without DeadLetter: leave out what still fails, and log it as an error
}

func (p *Poison) check() error {
	if p.Pause < 0 {
		return invalid("Poison.Pause: %v", p.Pause)
	}
	if p.DeadLetter != "" {
		return mq.ValidTopicName(p.DeadLetter)
	}
	return nil
}

// try calls f until it succeeds or has been tried often enough. The error is the last one of f, or ctx's.
func (p *Poison) try(ctx context.Context, f func() error) (attempts int, err error) {
	wait := backoff.ExponentialBackOff{InitialInterval: p.Pause, MaxInterval: maxRetryPause, Multiplier: 2}
	if p.Pause == 0 {
		wait.InitialInterval = DefaultRetryPause
	}
	wait.Reset()
	for {
		attempts++
		if err = f(); err == nil || p.Retries >= 0 && attempts > p.Retries {
			return attempts, err
		}
		if !sleep(ctx, wait.NextBackOff()) {
			return attempts, err
		}
	}
}

// handles reports whether a record that has failed for good leaves the way free for others.
func (p *Poison) handles() bool { return p.DeadLetter != "" || p.Skip }

// deadLetter is what goes to the dead-letter topic for a record.
func (p *Poison) deadLetter(rec *Record, group string, attempts int, cause error) *Record {
	headers := append(slices.Clone(rec.Headers),
		mq.Header{Key: HeaderError, Value: []byte(cause.Error())},
		mq.Header{Key: HeaderAttempts, Value: strconv.AppendInt(nil, int64(attempts), 10)},
		mq.Header{Key: HeaderTopic, Value: []byte(rec.Topic)},
		mq.Header{Key: HeaderPartition, Value: strconv.AppendInt(nil, int64(rec.Partition), 10)},
		mq.Header{Key: HeaderOffset, Value: strconv.AppendInt(nil, int64(rec.Offset), 10)},
		mq.Header{Key: HeaderGroup, Value: []byte(group)},
	)
	return &Record{Topic: p.DeadLetter, Key: rec.Key, Value: rec.Value, Headers: headers, Timestamp: rec.Timestamp}
}
