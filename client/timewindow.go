package client

import (
	"context"
	"slices"
	"time"
)

const (
	// lookAtWindows is how often it is looked whether a window is over while nothing comes.
	lookAtWindows = 500 * time.Millisecond
	// idleTime is for how long, at least, nothing must have come from a partition for the clock to end its windows: what is old is read from the log in order, too.
	idleTime = 10 * time.Second
	// maxWindowRecords bounds the records of one partition that windows hold: when there are more, the oldest window is handled as it is.
	maxWindowRecords = 1 << 20
)

// TimeWindow is the records of one partition whose timestamps lie in [Start, End), in offset order.
type TimeWindow struct {
	Topic     string
	Partition int32
	Start     time.Time
	End       time.Time
	Records   []Record
}

// EachWindow handles tumbling windows of size, by the records' timestamps, for each partition apart. A window is over when a record of its partition comes whose timestamp is grace or more
// behind its end; or when the clock says so and nothing has come from the partition for grace, ten seconds at least. Records that come later still make the window again, of these records alone; so do records that this process has seen before and gets
// once more. With size an hour, windows begin at full hours of UTC.
//
// Windows are held in memory, up to about a million records for each partition: then the oldest is handled before it is over, and again with what follows. Until a window is handled and its output durable
// nothing from its first record on is committed; open windows are lost with the partition, and consumed again by whoever has it then. [Poison] treats the records of a window that fails
// all alike.
func EachWindow(size, grace time.Duration, f func(ctx context.Context, w *TimeWindow) ([]*Record, error)) Handler {
	return Handler{window: f, size: max(size, time.Millisecond), grace: max(grace, 0)}
}

// sort puts records into their windows. The mutex is held.
func (p *progress) sort(recs []Record, size time.Duration) {
	p.came = time.Now()
	for i := range recs {
		rec := &recs[i]
		start := rec.Timestamp.Truncate(size)
		at, ok := slices.BinarySearchFunc(p.windows, start, func(w *TimeWindow, t time.Time) int { return w.Start.Compare(t) })
		if !ok {
			p.windows = slices.Insert(p.windows, at, &TimeWindow{Topic: rec.Topic, Partition: rec.Partition, Start: start, End: start.Add(size)})
		}
		w := p.windows[at]
		w.Records = append(w.Records, *rec)
		p.records++
		if rec.Timestamp.After(p.newest) {
			p.newest = rec.Timestamp
		}
	}
}

// over takes out the oldest window if it is to be handled; nil for none. A unit takes its place. The mutex is held.
func (p *progress) over(now time.Time, grace time.Duration) (*TimeWindow, *unit) {
	if len(p.windows) == 0 {
		return nil, nil
	}
	w := p.windows[0]
	end := w.End.Add(grace)
	byClock := !now.Before(end) && now.Sub(p.came) >= max(grace, idleTime)
	if p.newest.Before(end) && !byClock && p.records <= maxWindowRecords {
		return nil, nil
	}
	p.windows = slices.Delete(p.windows, 0, 1)
	p.records -= len(w.Records)
	return w, p.begin(w.Records[0].Offset)
}

// closeWindows handles the windows that are over.
func (r *processing) closeWindows(ctx context.Context) error {
	for {
		w, u := r.nextWindow(time.Now())
		if w == nil {
			return nil
		}
		var out []*Record
		attempts, err := r.Poison.try(ctx, func() (err error) {
			out, err = r.Handle.window(ctx, w)
			return err
		})
		if err == nil {
			r.produce(ctx, u, out)
		}
		for i := 0; err != nil && i < len(w.Records); i++ {
			if failed := r.poisoned(ctx, u, &w.Records[i], attempts, err); failed != nil {
				return r.fail(failed)
			}
		}
		r.done(u, nil)
	}
}

func (r *processing) nextWindow(now time.Time) (*TimeWindow, *unit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.parts {
		if w, u := p.over(now, r.Handle.grace); w != nil {
			return w, u
		}
	}
	return nil, nil
}
