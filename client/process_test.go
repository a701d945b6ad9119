package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// inMill runs f with topics in (two partitions of n records each, one second apart), out and dead, and a coordinator.
func inMill(t *testing.T, n int, f func(t *testing.T, b *fakeBroker, coord *fakeCoordinator, c *Client)) {
	b := newFakeBroker()
	in := b.create("in", 2)
	b.create("out", 1)
	b.create("dead", 1)
	inSim(t, 1, 0, b, func(t *testing.T, _ *simNet, c *Client) {
		coord, stop := coordinate(b)
		defer stop()
		builder, err := mq.NewBatchBuilder(mq.CompressionNone, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			rec := mq.Record{Timestamp: int64(i) * 1000, Value: fmt.Append(nil, i), Headers: []mq.Header{{Key: "own", Value: []byte("x")}}}
			if err := builder.Append(rec); err != nil {
				t.Fatal(err)
			}
			if i%4 < 3 && i < n-1 {
				continue // four to a batch
			}
			batch, err := builder.Build(nil, mq.NoProducerID, mq.NoProducerEpoch, mq.NoSequence)
			if err != nil {
				t.Fatal(err)
			}
			in.parts[0].append(slices.Clone(batch))
			in.parts[1].append(batch)
		}
		f(t, b, coord, c)
	})
}

// values are what a topic's first partition holds.
func (f *fakeBroker) values(name string) (out []string) {
	t, err := f.topic(name)
	if err != nil {
		panic(err)
	}
	for _, rec := range t.parts[0].records() {
		out = append(out, string(rec.Value))
	}
	return out
}

// process runs Process until done says so.
func process(t *testing.T, c *Client, p Processor, done func() bool) error {
	t.Helper()
	p.Consume = append([]ConsumerOption{Group("mill"), Topics("in")}, p.Consume...)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	go func() {
		for !done() && sleep(ctx, 10*time.Millisecond) {
			continue
		}
		cancel()
	}()
	return Process(ctx, c, p)
}

// committed is the sum of what is committed.
func (c *fakeCoordinator) committed() (sum int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, list := range c.commits {
		sum += int(list[len(list)-1])
	}
	return sum
}

func TestProcessCommitsInputWhenItsOutputIsDurable(t *testing.T) {
	inMill(t, 100, func(t *testing.T, b *fakeBroker, coord *fakeCoordinator, c *Client) {
		b.delay = 300 * time.Millisecond // from append to acknowledgement
		coord.before = func(what string) error {
			if what == "commit" && len(b.values("out")) == 0 {
				t.Error("committed before there is output")
			}
			return nil
		}
		double := EachRecord(func(_ context.Context, rec *Record) ([]*Record, error) {
			return []*Record{{Topic: "out", Value: append([]byte("a"), rec.Value...)}, {Topic: "out", Value: append([]byte("b"), rec.Value...)}}, nil
		})
		err := process(t, c, Processor{Handle: double}, func() bool { return coord.committed() == 200 })
		wantCode(t, err, mq.Canceled)
		if n := len(b.values("out")); n != 400 || coord.committed() != 200 {
			t.Errorf("%d records of output, %d committed", n, coord.committed())
		}
	})
}

// TestProcessRepeatsCommitsThatFailed, now and then, though nothing more comes; and once more when it gives its partitions up.
func TestProcessRepeatsCommitsThatFailed(t *testing.T) {
	for _, ends := range []bool{false, true} {
		inMill(t, 20, func(t *testing.T, b *fakeBroker, coord *fakeCoordinator, c *Client) {
			var refused int
			refuse := true
			coord.before = func(what string) error {
				if what == "commit" && refuse {
					refused++
					return mq.Errorf(mq.GroupAuthorizationFailed, "planted")
				}
				return nil
			}
			allow := func() (before int) {
				coord.mu.Lock()
				defer coord.mu.Unlock()
				refuse = false
				return refused
			}
			pass := EachRecord(func(_ context.Context, rec *Record) ([]*Record, error) {
				return []*Record{{Topic: "out", Value: rec.Value}}, nil
			})
			began := time.Now()
			err := process(t, c, Processor{Handle: pass}, func() bool {
				if time.Since(began) < time.Minute {
					return false
				}
				if n := allow(); n < 10 || n > 80 { // two partitions of five batches, and every five seconds
					t.Errorf("%d commits were refused in a minute", n)
				}
				return ends || coord.committed() == 40 || time.Since(began) > 2*time.Minute
			})
			wantCode(t, err, mq.Canceled)
			if got := coord.committed(); got != 40 || len(b.values("out")) != 40 {
				t.Errorf("%d are committed, of 40, at the end: %v", got, ends)
			}
		})
	}
}

func TestProcessCommitsNothingWhoseOutputFailed(t *testing.T) {
	inMill(t, 100, func(t *testing.T, b *fakeBroker, coord *fakeCoordinator, c *Client) {
		b.setFault(func(_ int32, batch mq.Batch) fault {
			for rec, err := range batch.Records(nil) {
				if err == nil && string(rec.Value) == "42" {
					return fault{refuse: mq.Errorf(mq.MessageTooLarge, "planted")}
				}
			}
			return fault{}
		})
		pass := EachBatch(func(_ context.Context, recs []Record) (out []*Record, _ error) {
			for i := range recs {
				out = append(out, &Record{Topic: "out", Value: recs[i].Value})
			}
			return out, nil
		})
		err := process(t, c, Processor{Handle: pass}, func() bool { return false })
		wantCode(t, err, mq.MessageTooLarge)
		coord.mu.Lock()
		defer coord.mu.Unlock()
		for tp, list := range coord.commits {
			if last := list[len(list)-1]; last > 42 {
				t.Errorf("%v: %d is committed", tp, last)
			}
		}
	})
}

func TestPoisonIsRetriedAndThenGoesToTheDeadLetterTopic(t *testing.T) {
	for name, p := range map[string]Poison{"dead letter": {Retries: 3, Pause: time.Second, DeadLetter: "dead"}, "skip": {Retries: 3, Pause: time.Second, Skip: true}, "end": {Retries: 3}} {
		for _, whole := range []bool{false, true} {
			t.Run(fmt.Sprint(name, whole), func(t *testing.T) {
				inMill(t, 20, func(t *testing.T, b *fakeBroker, coord *fakeCoordinator, c *Client) {
					alone := 0 // how often record 7 was tried by itself
					handle := func(recs []Record) (out []*Record, _ error) {
						for i := range recs {
							if string(recs[i].Value) == "7" {
								if len(recs) == 1 {
									alone++
								}
								return nil, errors.New("it is a seven")
							}
							out = append(out, &Record{Topic: "out", Value: recs[i].Value})
						}
						return out, nil
					}
					h := EachRecord(func(_ context.Context, rec *Record) ([]*Record, error) { return handle([]Record{*rec}) })
					if whole {
						h = EachBatch(func(_ context.Context, recs []Record) ([]*Record, error) { return handle(recs) })
					}
					err := process(t, c, Processor{Handle: h, Poison: p}, func() bool { return coord.committed() == 40 })
					if !p.handles() {
						if err == nil || !strings.Contains(err.Error(), "it is a seven") || coord.committed() > 20 {
							t.Errorf("error %v, %d committed", err, coord.committed())
						}
						return
					}
					wantCode(t, err, mq.Canceled)
					if n := len(b.values("out")); n != 38 || alone != 8 {
						t.Errorf("%d records of output, the bad ones tried %d times", n, alone)
					}
					dead, _ := b.topic("dead")
					recs := dead.parts[0].records()
					if p.DeadLetter == "" {
						if len(recs) != 0 {
							t.Errorf("%d dead letters", len(recs))
						}
						return
					}
					if len(recs) != 2 || string(recs[0].Value) != "7" {
						t.Fatalf("%d dead letters", len(recs))
					}
					found := map[string]string{}
					for _, h := range recs[0].Headers {
						found[h.Key] = string(h.Value)
					}
					if found["own"] != "x" || found[HeaderError] != "it is a seven" || found[HeaderAttempts] != "4" || found[HeaderTopic] != "in" || found[HeaderOffset] != "7" || found[HeaderGroup] != "mill" {
						t.Errorf("headers %v", found)
					}
				})
			})
		}
	}
}

func TestWindowsAreHandledWhenTheyAreOver(t *testing.T) {
	inMill(t, 100, func(t *testing.T, b *fakeBroker, coord *fakeCoordinator, c *Client) {
		sums := EachWindow(10*time.Second, time.Second, func(_ context.Context, w *TimeWindow) ([]*Record, error) {
			if w.End.Sub(w.Start) != 10*time.Second || w.Records[0].Timestamp.Before(w.Start) || !w.Records[len(w.Records)-1].Timestamp.Before(w.End) {
				t.Errorf("a window of %v to %v", w.Start, w.End)
			}
			return []*Record{{Topic: "out", Value: fmt.Append(nil, w.Partition, "/", w.Start.Unix(), "=", len(w.Records))}}, nil
		})
		err := process(t, c, Processor{Handle: sums}, func() bool { return coord.committed() == 200 })
		wantCode(t, err, mq.Canceled)
		got := b.values("out")
		slices.Sort(got)
		var want []string
		for i := range 20 {
			want = append(want, fmt.Sprint(i%2, "/", i/2*10, "=", 10))
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("windows %v", got)
		}
		for tp, list := range coord.commits {
			if !slices.IsSorted(list) {
				t.Errorf("commits of %v go back: %v", tp, list)
			}
		}
	})
}
