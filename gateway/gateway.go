package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"

	"connectrpc.com/connect"

	"github.com/rustmq/rustmq/api/rustmq/v1/rustmqpbconnect"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// Config is what a Gateway needs.
type Config struct {
	// Node is whose process it is in.
	Node mq.NodeID
	// Software is that process's name and version.
	Software string
	// Cluster says how the cluster is reached, and by what it is known: servers, TLS, transport. What the gateway needs of a client beside that, it sets itself.
	Cluster []client.Option
	Limits  Limits
	Logger  *slog.Logger
}

// Gateway serves rustmq.v1. It is for any number of goroutines.
type Gateway struct {
	node     mq.NodeID
	software string
	limits   Limits
	log      *slog.Logger
	client   *client.Client
	known    sync.Map // what topics that exist, or did, want of each record, by name: a known
	stats    stats

	shares       *shares
	consumers    atomic.Int64
	requestBytes atomic.Int64

	wg       sync.WaitGroup // calls
	mu       sync.Mutex
	stopping bool
	calls    map[*call]struct{}
	streams  map[string]*stream // of groups, by session id
}

// New makes a gateway. It connects to nobody before it is asked.
func New(cfg Config) (*Gateway, error) {
	g := &Gateway{
		node: cfg.Node, software: cfg.Software, limits: cfg.Limits.withDefaults(), log: cfg.Logger, stats: stats{calls: make(map[Outcome]int64)},
		calls: make(map[*call]struct{}), streams: make(map[string]*stream),
	}
	g.shares = newShares(g.limits.CallerBytes)
	var err error
	g.client, err = client.New(append(cfg.Cluster,
		client.ClientID("gateway"), client.Logger(cfg.Logger), client.Connections(1), client.PartitionBy(partitioner),
		client.MaxBufferedBytes(g.limits.BufferedBytes), client.DeliveryTimeout(deliveryTimeout),
	)...)
	if err != nil {
		return nil, err
	}
	return g, nil
}

// partitioner obeys a record that names its partition, and asks Kafka's for all others.
func partitioner(topic string) func(*client.Record, int) int {
	pick := client.HashPartitioner()(topic)
	return func(rec *client.Record, n int) int {
		if rec.Partition >= 0 {
			return int(rec.Partition)
		}
		return pick(rec, n)
	}
}

// consumes are the procedures that take a consumer.
var consumes = map[string]bool{
	rustmqpbconnect.ConsumeServiceFetchProcedure:   true,
	rustmqpbconnect.ConsumeServiceConsumeProcedure: true,
}

// readMax is the largest message of a procedure in bytes, as it is sent.
func readMax(spec connect.Spec) []connect.HandlerOption {
	limit := maxSmallRequestBytes
	switch spec.Procedure {
	case rustmqpbconnect.ProduceServiceProduceProcedure:
		limit = maxRequestBytes
	case rustmqpbconnect.ProduceServiceProduceStreamProcedure:
		limit = maxStreamRequestBytes
	}
	return []connect.HandlerOption{connect.WithReadMaxBytes(limit)}
}

// Services are the handlers of all services by the path that each begins with. Requests of pages that browsers show are refused but for those of the same address.
func (g *Gateway) Services() map[string]http.Handler {
	options := []connect.HandlerOption{
		connect.WithRequestGate(g.gate), connect.WithInterceptors(outcome{g.limits.CallTime}), connect.WithConditionalHandlerOptions(readMax),
		connect.WithCompression("gzip", nil, nil), // a small request could become a large one
		connect.WithCodec(protoCodec{}),
	}
	for _, codec := range jsonCodecs() {
		options = append(options, connect.WithCodec(codec))
	}
	services := make(map[string]http.Handler)
	add := func(path string, h http.Handler) {
		services[path] = refuseBrowsers(g.serve(h))
	}
	add(rustmqpbconnect.NewProduceServiceHandler(producing{g}, options...))
	add(rustmqpbconnect.NewConsumeServiceHandler(consuming{g}, options...))
	add(rustmqpbconnect.NewTopicServiceHandler(topics{g}, options...))
	add(rustmqpbconnect.NewGroupServiceHandler(groups{g}, options...))
	add(rustmqpbconnect.NewClusterServiceHandler(cluster{g}, options...))
	return services
}

// Shutdown refuses further calls, ends streams, lets all that is under way finish until ctx ends, then ends that, too. When it returns nothing of the gateway is left.
func (g *Gateway) Shutdown(ctx context.Context) error {
	g.mu.Lock()
	g.stopping = true
	under := g.under()
	g.mu.Unlock()
	for _, c := range under {
		c.part()
	}
	finished := make(chan struct{})
	go func() {
		g.wg.Wait()
		close(finished)
	}()
	select {
	case <-finished:
	case <-ctx.Done():
		g.mu.Lock()
		under = g.under()
		g.mu.Unlock()
		for _, c := range under {
			c.kill()
		}
		<-finished
	}
	return g.client.Close()
}

// under lists the calls under way. The mutex is held.
func (g *Gateway) under() []*call {
	list := make([]*call, 0, len(g.calls))
	for c := range g.calls {
		list = append(list, c)
	}
	return list
}
