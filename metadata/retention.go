package metadata

import "github.com/rustmq/rustmq/mq"

// RetentionStart is where the log of a partition is to start for its topic's retention: at the end of a range, or at logStart when nothing is to go. It is a decision
// about what the object store has: what it has not is younger, and small. page gives ranges that end above an offset, in order, as [Store.Ranges] does; it is called for
// all of them only where retention.bytes is set. now is in milliseconds since 1970. What it gives is never above the tiered end, so never above the high watermark.
//
// A range goes when all its records are older than retention.ms, or when what is left without it has retention.bytes all the same, and all before it have gone. A record
// is as old as its timestamp says, and no younger than the object that it was written in: one from the future would hold back all that follow it.
func RetentionStart(c TopicConfig, logStart mq.Offset, now int64, page func(from mq.Offset) ([]Range, error)) (mq.Offset, error) {
	if !c.Cleanup.Deletes() {
		return logStart, nil
	}
	left := int64(0)
	for from := logStart; c.RetentionBytes >= 0; {
		ranges, err := page(from)
		if err != nil {
			return logStart, err
		}
		if len(ranges) == 0 {
			break
		}
		for i := range ranges {
			left += ranges[i].Bytes
		}
		from = ranges[len(ranges)-1].End
	}
	for start := logStart; ; {
		ranges, err := page(start)
		if err != nil || len(ranges) == 0 {
			return start, err
		}
		for i := range ranges {
			r := &ranges[i]
			if left -= r.Bytes; !c.outlived(r, now) && (c.RetentionBytes < 0 || left < c.RetentionBytes) {
				return start, nil
			}
			start = r.End
		}
	}
}

// outlived says whether the youngest record of a range is older than retention.ms. One whose age nobody knows is kept.
func (c TopicConfig) outlived(r *Range, now int64) bool {
	youngest := r.MaxTime
	if r.Written > 0 && (youngest < 0 || r.Written < youngest) {
		youngest = r.Written
	}
	return c.RetentionMs >= 0 && youngest >= 0 && now-youngest > c.RetentionMs
}
