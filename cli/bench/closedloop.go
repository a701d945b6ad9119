package bench

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// closedLoop runs producers goroutines that each call send and wait for it, over
// and over, for d. One warm-up call per producer is not counted. It returns the
// number of calls, the wall and CPU time and all latencies.
func closedLoop(ctx context.Context, producers int, d time.Duration, send func(ctx context.Context, producer int) error) (loopResult, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	perProducer := make([][]time.Duration, producers)
	var ready, done sync.WaitGroup
	var stop atomic.Bool
	begin := make(chan struct{})
	ready.Add(producers)
	for i := range producers {
		done.Go(func() {
			err := send(ctx, i)
			ready.Done()
			if err != nil {
				cancel(err)
				return
			}
			<-begin
			for !stop.Load() && ctx.Err() == nil {
				t := time.Now()
				if err := send(ctx, i); err != nil {
					cancel(err)
					return
				}
				perProducer[i] = append(perProducer[i], time.Since(t))
			}
		})
	}
	ready.Wait()
	w := startWatch()
	close(begin)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	stop.Store(true)
	done.Wait()
	wall, cpu := w.elapsed()
	if err := context.Cause(ctx); err != nil {
		return loopResult{}, err
	}
	res := loopResult{wall: wall, cpu: cpu}
	for _, s := range perProducer {
		res.latencies = append(res.latencies, s...)
	}
	return res, nil
}

type loopResult struct {
	wall, cpu time.Duration
	latencies []time.Duration
}

// result names the loop's figures: records per second and latencies.
func (l loopResult) result(name string, size int) Result {
	n := int64(len(l.latencies))
	p50, p99 := percentiles(l.latencies)
	return Result{
		Name: name, Value: rate(n, l.wall), Unit: unitRecords, P50: p50, P99: p99,
		CPUPerRecord: perRecord(l.cpu, n), Records: n, RecordSizeBytes: size,
	}
}
