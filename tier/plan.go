package tier

import (
	"cmp"
	"slices"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// candidate is a source as the plan sees it: without what is on its way.
type candidate struct {
	source  Source
	id      mq.PartitionID
	bytes   int64     // pending; more than 0
	since   time.Time // of the oldest batch
	awaited bool      // a producer waits for it
	forced  bool      // somebody asked for all there is
}

// limits are what plans are made by.
type limits struct {
	flushBytes int64
	flushAge   time.Duration
	ackBytes   int64         // of those that are awaited
	ackAge     time.Duration // of one that is
}

// isSmall says whether a range is not worth having before its time: it costs as
// much in the catalogue as a large one.
func (l limits) isSmall(c candidate) bool { return c.bytes < l.flushBytes/128 }

// isOfAge says whether a source has waited for a part of its time. One that begins to wait in the future has waited since before the clock was set back: how long
// is not known any more.
func (l limits) isOfAge(c candidate, now time.Time, part float64) bool {
	age := l.flushAge
	if c.awaited {
		age = min(age, l.ackAge)
	}
	return c.forced || c.since.After(now) || now.Sub(c.since) >= time.Duration(part*float64(age))
}

// plan chooses what goes into the next object, oldest first, until it is full;
// nil when it is not time to write one. The last one chosen may be more than
// fits. It is time
//
//   - when a partition's oldest batch is of age, or somebody asked for it: then
//     also for all that will be soon (half of their age), since another object
//     costs more than their range in this one, and for all that are not small;
//   - when enough is pending of partitions whose producers wait, all together:
//     then for these, and for all that are not small;
//   - when partitions that are not small fill an object: then for these. So one
//     busy partition does not cut a thousand quiet ones into crumbs.
func plan(candidates []candidate, now time.Time, l limits) []candidate {
	var large, awaited int64
	aged := false
	for _, c := range candidates {
		if !l.isSmall(c) {
			large += c.bytes
		}
		if c.awaited {
			awaited += c.bytes
		}
		aged = aged || l.isOfAge(c, now, 1)
	}
	if !aged && large < l.flushBytes && awaited < l.ackBytes {
		return nil
	}
	chosen := slices.DeleteFunc(slices.Clone(candidates), func(c candidate) bool {
		return l.isSmall(c) && !(aged && l.isOfAge(c, now, 0.5)) && !(c.awaited && awaited >= l.ackBytes)
	})
	slices.SortFunc(chosen, func(a, b candidate) int {
		return cmp.Or(a.since.Compare(b.since), comparePartitions(a.id, b.id))
	})
	var total int64
	for i, c := range chosen {
		if total += c.bytes; total >= l.flushBytes {
			return chosen[:i+1]
		}
	}
	return chosen
}
