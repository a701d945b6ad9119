package verify

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/history"
	"github.com/rustmq/rustmq/mq"
)

// Config is one run.
type Config struct {
	Topic      string // created if missing
	Partitions int32  // if it is created
	Replicas   int16  // likewise; 0: the cluster's default
	Acks       mq.Durability
	// Mix is what producers ask for in turn, each always the same; empty: Acks.
	Mix []mq.Durability

	Producers int
	Readers   int     // of the tail; one more jumps about
	Rate      float64 // records per second of all producers together
	Burst     int     // records that a producer sends at once; 0: one
	Size      int     // bytes of a value
	Duration  time.Duration
	// Heal is how long the cluster may take, after the time is up, to answer for everything and to be read to its end.
	Heal time.Duration

	// Client makes a client with these options beside those that find the cluster.
	Client func(...client.Option) (*client.Client, error)
	// Random draws the number of the run.
	Random io.Reader
	// Observe is given the history before anything is in it, for those who see into nodes; nil: nobody.
	Observe func(*history.History)
	Logger  *slog.Logger
}

// Report is what a run found.
type Report struct {
	Topic      string `json:"topic"`
	Partitions int    `json:"partitions"`
	DurationMS int64  `json:"duration_ms"`

	Sent    int `json:"sent_records"`
	Acked   int `json:"acknowledged_records"`
	Refused int `json:"refused_records"`
	Unknown int `json:"unknown_records"` // of which nobody knows if they are there
	Read    int `json:"read_records"`    // by readers, while it ran

	AckP50 int64 `json:"ack_p50_us"`
	AckP99 int64 `json:"ack_p99_us"`
	// Gaps are the times in which a partition acknowledged nothing though it was sent to, longer than GapAtLeast.
	Gaps      []Gap             `json:"gaps"`
	Anomalies []history.Anomaly `json:"anomalies"`
}

// Gap is a time without an acknowledgement.
type Gap struct {
	Partition int32     `json:"partition"`
	Begin     time.Time `json:"begin"`
	MS        int64     `json:"gap_ms"`
}

// Run runs the workload until its time is up or enough ends, and checks it. The error says why it could not be run to its end; anomalies are no error.
func Run(ctx, enough context.Context, cfg Config) (*Report, error) {
	var id [8]byte
	if _, err := io.ReadFull(cfg.Random, id[:]); err != nil {
		return nil, mq.Errorf(mq.Internal, "draw the number of the run: %w", err)
	}
	r := &run{Config: cfg, h: history.New(binary.BigEndian.Uint64(id[:]))}
	if cfg.Observe != nil {
		cfg.Observe(r.h)
	}
	if err := r.topic(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	err := r.work(ctx, enough)
	if err == nil {
		heal, cancel := context.WithTimeout(ctx, cfg.Heal)
		defer cancel()
		err = r.readAll(heal)
	}
	if err != nil {
		return nil, err
	}
	return r.report(time.Since(began)), nil
}

// run is a run that goes on.
type run struct {
	Config
	h          *history.History
	partitions int32
	starts     []mq.Offset // where each partition ended before the run
	acks       acks
}

func (r *run) partition(i int32) history.Partition {
	return history.Partition{Topic: r.Topic, Index: i}
}

// topic finds or creates the topic, and notes where it ends.
func (r *run) topic(ctx context.Context) error {
	c, err := r.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.CreateTopic(ctx, client.NewTopic{Name: r.Topic, Partitions: r.Partitions, Replicas: r.Replicas})
	if err != nil && mq.CodeOf(err) != mq.TopicAlreadyExists {
		return mq.Wrapf(err, "create topic %s", r.Topic)
	}
	ends, err := c.ListOffsets(ctx, r.Topic, client.End(), mq.IsolationCommitted)
	if err != nil {
		return mq.Wrapf(err, "look where topic %s ends", r.Topic)
	}
	r.partitions = int32(len(ends))
	r.starts = make([]mq.Offset, len(ends))
	for p, end := range ends {
		if end.Err != nil {
			return mq.Wrapf(end.Err, "look where partition %d of topic %s ends", p, r.Topic)
		}
		r.starts[p] = end.Offset
	}
	r.acks.last = make([]time.Time, len(ends))
	return nil
}

// work produces and reads until the time is up or enough ends, and then waits for every outcome.
func (r *run) work(ctx, enough context.Context) error {
	working, stop := context.WithTimeout(ctx, r.Duration)
	defer stop()
	defer context.AfterFunc(enough, stop)()
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	var producers, readers sync.WaitGroup
	var failures failures
	for i := range r.Readers {
		readers.Go(func() { failures.add(r.tail(reading, fmt.Sprintf("reader %d", i))) })
	}
	readers.Go(func() { failures.add(r.jump(working)) })
	for i := range r.Producers {
		producers.Go(func() { failures.add(r.produce(working, i)) })
	}
	producers.Wait()
	stopReading()
	readers.Wait()
	return errors.Join(failures.err(), ctx.Err())
}

// failures collects what ended a part of the workload.
type failures struct {
	mu  sync.Mutex
	all []error
}

func (f *failures) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, err)
}

func (f *failures) err() error { return errors.Join(f.all...) }

// report is what is known at the end.
func (r *run) report(took time.Duration) *Report {
	counts := r.h.Counts()
	p50, p99, gaps := r.acks.summary()
	return &Report{
		Topic: r.Topic, Partitions: int(r.partitions), DurationMS: took.Milliseconds(),
		Sent: counts.Sent, Acked: counts.Acked, Refused: counts.Refused, Unknown: counts.Unknown, Read: counts.Read,
		AckP50: p50.Microseconds(), AckP99: p99.Microseconds(), Gaps: gaps, Anomalies: append([]history.Anomaly{}, r.h.Check()...),
	}
}
