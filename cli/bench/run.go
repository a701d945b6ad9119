package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal/walbench"
)

// Kind is what to measure.
type Kind string

// The kinds.
const (
	Produce Kind = "produce" // throughput with a window of records in flight
	Latency Kind = "latency" // one record in flight per producer
	Consume Kind = "consume" // reading what was produced before
)

// Source is where a consumer's records come from.
type Source string

// The sources. The names are those of the server's metric.
const (
	FromTail  Source = "tail"  // the server's memory
	FromLog   Source = "log"   // its write-ahead log
	FromStore Source = "store" // the object store
)

// Options say what to measure. The zero value of a field but Kind, and with Limits Spawn, stands for its default.
type Options struct {
	Kind        Kind
	From        Source          // for Consume; default FromTail
	Client      []client.Option // how to reach the cluster
	OverTCP     bool            // which it is reached by: its bound is that of TLS on TCP
	Kafka       []string        // host:port of servers that speak Kafka's protocol, without TLS: they are driven with franz-go, and Client, From and Acks say nothing. Produce and Consume
	Admin       string          // host:port of the server's admin listener; "": the server is not looked at, and Consume fails
	Limits      bool            // measure the machine's own bounds in the same run
	Spawn       Spawn           // starts the other process of the bounds
	ObjectStore string          // URL of the server's, for Consume from the store with Limits; "": no bound of that
	Dir         string          // where the bounds write their files: on the disk of the log; default "."
	Topic       string          // created if missing; default "rustmq-bench"
	Partitions  int32           // of the topic, if it is created; default 4
	Connections int             // of the client, and of the QUIC bounds; default client.DefaultConnections
	Size        int             // of a record's value, bytes; default 1024
	Producers   int             // default 16
	Window      int             // records in flight per producer, for Produce and to fill for Consume; default 256
	Records     int64           // to produce, or to consume, in all rounds; 0: Produce goes by Duration, Consume reads 2 GiB
	Duration    time.Duration   // of each measurement, all its rounds together; default 8 s
	Rounds      int             // default 8
	Acks        mq.Durability
}

const (
	defaultRecordSize   = 1 << 10
	defaultProducers    = 16
	defaultWindow       = 256
	defaultDuration     = 8 * time.Second
	defaultRounds       = 8
	defaultPartitions   = 4
	defaultConsumeBytes = 2 << 30 // far above all windows and buffers
)

func (o Options) withDefaults() Options {
	o.From = or(o.From, FromTail)
	o.Dir = or(o.Dir, ".")
	o.Topic = or(o.Topic, "rustmq-bench")
	o.Partitions = or(o.Partitions, defaultPartitions)
	o.Connections = or(o.Connections, client.DefaultConnections)
	o.Size = or(o.Size, defaultRecordSize)
	o.Producers = or(o.Producers, defaultProducers)
	o.Window = or(o.Window, defaultWindow)
	o.Duration = or(o.Duration, defaultDuration)
	o.Rounds = or(o.Rounds, defaultRounds)
	if o.Kind == Consume {
		size := defaultConsumeBytes
		if len(o.Kafka) > 0 {
			size = kafkaFill
		}
		o.Records = or(o.Records, int64(size/o.Size))
	}
	return o
}

func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// bench is one run.
type bench struct {
	Options
	client *client.Client
	server *server // nil: not to be looked at
	dir    string  // of this run, below Options.Dir
	ends   []func() error
}

// Run measures. The results come with the bounds before them, if asked for.
func Run(ctx context.Context, o Options) (results []Result, err error) {
	b := &bench{Options: o.withDefaults()}
	defer func() { err = errors.Join(err, b.close()) }()
	if b.Admin != "" {
		b.server = newServer(b.Admin)
		if _, err := b.server.metrics(ctx); err != nil {
			return nil, err
		}
	}
	entrants, err := b.open(ctx)
	if err != nil {
		return nil, err
	}
	return interleave(ctx, b.Rounds, b.Duration/time.Duration(b.Rounds), entrants)
}

// open reaches the cluster and prepares what is measured in turn.
func (b *bench) open(ctx context.Context) (entrants []entrant, err error) {
	if len(b.Kafka) > 0 {
		return b.againstKafka(ctx)
	}
	if b.client, err = client.New(b.clientOptions()...); err != nil {
		return nil, err
	}
	b.ends = append(b.ends, b.client.Close)
	_, err = b.client.CreateTopic(ctx, client.NewTopic{Name: b.Topic, Partitions: b.Partitions})
	if err != nil && mq.CodeOf(err) != mq.TopicAlreadyExists {
		return nil, err
	}
	return b.entrants(ctx)
}

func (b *bench) clientOptions(more ...client.Option) []client.Option {
	opts := append([]client.Option{}, b.Client...)
	return append(append(opts, client.RequiredAcks(b.Acks), client.Connections(b.Connections)), more...)
}

func (b *bench) close() error {
	var errs []error
	for i := len(b.ends) - 1; i >= 0; i-- {
		errs = append(errs, b.ends[i]())
	}
	return errors.Join(errs...)
}

// entrants are what is measured in turn: the bounds, if asked for, and what is divided by them.
func (b *bench) entrants(ctx context.Context) ([]entrant, error) {
	switch b.Kind {
	case Produce:
		return b.againstBulk(ctx, toServer, entrant{measure: b.produce})
	case Consume:
		c, err := b.newConsumption(ctx)
		if err != nil {
			return nil, err
		}
		entrants, err := b.againstBulk(ctx, fromServer, entrant{measure: c.measure, cold: true})
		if err != nil || b.ObjectStore == "" {
			return entrants, err
		}
		return b.againstStore(ctx, c, entrants)
	case Latency:
		return b.againstFloor(ctx, entrant{measure: b.latency})
	}
	return nil, mq.Errorf(mq.InvalidRequest, "there is no benchmark %q: produce, consume or latency", b.Kind)
}

// againstBulk has the QUIC bulk rate for its bound, at as many connections as the client opens; TLS is beside it for comparison. Over TCP the bound is TLS, and
// QUIC is left out.
func (b *bench) againstBulk(ctx context.Context, way direction, e entrant) ([]entrant, error) {
	if !b.Limits {
		return []entrant{e}, nil
	}
	link, err := b.farEnd(ctx, b.Connections)
	if err != nil {
		return nil, err
	}
	e.bounds = []int{0}
	quicBound := entrant{measure: func(ctx context.Context, d time.Duration) (Result, error) { return quicBulk(ctx, link, way, b.Size, d) }}
	tlsBound := entrant{measure: func(ctx context.Context, d time.Duration) (Result, error) { return tlsBulk(ctx, link, way, b.Size, d) }}
	if b.OverTCP {
		return []entrant{tlsBound, e}, nil
	}
	return []entrant{quicBound, e, tlsBound}, nil
}

// againstStore has plain reads of the object store for a bound beside those that there are. They come last: the first round of the figure says how large the ranges are.
func (b *bench) againstStore(ctx context.Context, c *consumption, entrants []entrant) ([]entrant, error) {
	gets, err := newStoreGets(ctx, b.ObjectStore, func() int64 { return c.fetch })
	if err != nil {
		return nil, err
	}
	b.ends = append(b.ends, gets.store.Close)
	for i := range entrants {
		if entrants[i].bounds != nil {
			entrants[i].bounds = append(entrants[i].bounds, len(entrants))
		}
	}
	return append(entrants, entrant{cold: true, measure: func(ctx context.Context, d time.Duration) (Result, error) { return gets.measure(ctx, b.Size, d) }}), nil
}

// againstFloor has the composed floor for its bound, and beside it the log alone against the raw group commit.
func (b *bench) againstFloor(ctx context.Context, e entrant) ([]entrant, error) {
	if !b.Limits {
		return []entrant{e}, nil
	}
	link, err := b.farEnd(ctx, min(b.Producers, b.Connections))
	if err != nil {
		return nil, err
	}
	floor, err := newFloor(ctx, link, b.Producers, b.Size)
	if err != nil {
		return nil, err
	}
	e.bounds = []int{0}
	out := []entrant{{measure: floor.measure}, e}
	for _, disk := range []struct {
		name   string
		bounds []int
		open   func(dir string) (*walbench.Bench, error)
	}{{"group_commit", nil, walbench.NewRaw}, {"wal_append", []int{len(out)}, walbench.NewLog}} {
		w, err := disk.open(b.dir)
		if err != nil {
			return nil, fmt.Errorf("%s in %s: %w", disk.name, b.dir, err)
		}
		b.ends = append(b.ends, w.Close)
		name := fmt.Sprintf("%s_%d", disk.name, b.Producers)
		out = append(out, entrant{bounds: disk.bounds, measure: func(_ context.Context, d time.Duration) (Result, error) { return b.groupCommit(w, name, d) }})
	}
	return out, nil
}

// groupCommit is producers that each wait for their record to be committed.
func (b *bench) groupCommit(w *walbench.Bench, name string, d time.Duration) (Result, error) {
	watch := startWatch()
	r, err := w.Run(walbench.Load{Producers: b.Producers, Window: 1, Size: b.Size, For: d})
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", name, err)
	}
	_, cpu := watch.elapsed()
	return Result{
		Name: name, Value: r.PerSecond(), Unit: unitRecords,
		P50: float64(r.P50) / float64(time.Microsecond), P99: float64(r.P99) / float64(time.Microsecond),
		CPUPerRecord: perRecord(cpu, r.Records), Records: r.Records, RecordSizeBytes: b.Size,
	}, nil
}

// farEnd starts the other process of the bounds, and makes the directory of both.
func (b *bench) farEnd(ctx context.Context, conns int) (*farLink, error) {
	dir, err := filepath.Abs(b.Dir)
	if err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp(dir, "rustmq-bench-"); err != nil {
		return nil, fmt.Errorf("make a directory for the bounds: %w", err)
	}
	b.ends = append(b.ends, func() error { return os.RemoveAll(b.dir) })
	far := filepath.Join(b.dir, "far")
	if err := os.Mkdir(far, 0o755); err != nil {
		return nil, fmt.Errorf("make a directory for the bounds: %w", err)
	}
	link, err := startFarEnd(ctx, b.Spawn, far, conns)
	if err != nil {
		return nil, err
	}
	b.ends = append(b.ends, link.Close)
	return link, nil
}

// watched is what measure gives, with the CPU time that the server used meanwhile; afterwards the server has come to rest.
func (b *bench) watched(ctx context.Context, measure func() (Result, error)) (Result, metrics, error) {
	if b.server == nil {
		r, err := measure()
		return r, nil, err
	}
	before, err := b.server.metrics(ctx)
	if err != nil {
		return Result{}, nil, err
	}
	r, err := measure()
	if err != nil {
		return r, nil, err
	}
	after, err := b.server.metrics(ctx)
	if err != nil {
		return r, nil, err
	}
	used := after.minus(before)
	r.ServerCPUPerRecord = perRecord(used.cpu(), r.Records)
	return r, used, b.server.quiet(ctx)
}

// payload is incompressible, and the same for all records of a producer.
func (b *bench) payload() []byte {
	p := make([]byte, b.Size)
	_, _ = rand.Read(p)
	return p
}

// latency is a closed loop: each producer has one record in flight.
func (b *bench) latency(ctx context.Context, d time.Duration) (Result, error) {
	value := b.payload()
	r, _, err := b.watched(ctx, func() (Result, error) {
		loop, err := closedLoop(ctx, b.Producers, d, func(ctx context.Context, _ int) error {
			return b.client.ProduceSync(ctx, &client.Record{Topic: b.Topic, Value: value}).FirstErr()
		})
		if err != nil {
			return Result{}, err
		}
		return loop.result(fmt.Sprintf("produce_ack_%d", b.Producers), b.Size), nil
	})
	return r, err
}
