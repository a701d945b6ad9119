package control

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/rustmq/rustmq/api/control/v1/controlpbconnect"
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
)

// Local is the controller on the client's own node.
type Local struct {
	// Store has the image, so that none is watched, and answers what may be as old as it is.
	Store Store
	// Propose is tried before any other controller; NotController sends the client there.
	Propose func(ctx context.Context, command []byte) (result []byte, err error)
}

// ClientConfig is what a Client is made with.
type ClientConfig struct {
	Node mq.NodeID
	// Seeds are RPC addresses of controllers, at least one. More are found in the image.
	Seeds []string
	// Connect gives the HTTP client and the base URL for an address, or no URL for one at which no controller is known to be: it is not called. The connection must be
	// HTTP/2, and should carry nothing that can hold up a heartbeat.
	Connect func(address string) (client connect.HTTPClient, baseURL string)
	// Registration is what this process registers as a broker with, asked each time that it has to: at the start, and after it was fenced. Its RPC
	// listener must be open by then. nil: this node is no broker, and does not heartbeat.
	Registration func() *metadatapb.RegisterBroker
	// Unfit says why this broker must not lead now, as when its disk hangs; nil, and a nil func: it may. It is asked before each heartbeat, with none sent and the
	// lease given up while it says so: the controllers have others lead, and take the broker back when it is over. It must not wait.
	Unfit func() error
	// Local is nil on a node without a controller. See Detach.
	Local  *Local
	Timing Timing
	// Now is a monotonic clock that counts the time in which the machine sleeps. nil: BootClock.
	Now func() time.Duration
	// Random gives numbers in [0, 1) for pauses, from any goroutine. nil: math/rand/v2.
	Random func() float64
	// Logger may be nil.
	Logger *slog.Logger
}

// Client is a node's way to the leading controller. Its methods may be called at the same time.
type Client struct {
	cfg    ClientConfig
	log    *slog.Logger
	timing Timing
	finder *finder
	feed   metadata.Feed // with a local store its watches only are used
	local  atomic.Pointer[Local]

	leaseEnd atomic.Int64 // by cfg.Now; 0: there is none
	newsAt   atomic.Int64 // by cfg.Now, when a controller that leads was last heard: one that is watched, or with a local store one that answers heartbeats
	epoch    atomic.Uint64

	mu         sync.Mutex                                       // never held while anything waits
	services   map[string]controlpbconnect.ControlServiceClient // by their URL
	registered registration
	leaving    bool
	urge       chan struct{} // sends a heartbeat ahead of its time

	leased       chan struct{} // closed with the first lease
	mayLeave     chan struct{} // closed when the controller lets this broker go
	detached     chan struct{} // closed when the local controller is no more
	onceLeased   sync.Once
	onceMayLeave sync.Once

	stopped    context.Context
	stop       context.CancelFunc
	goroutines sync.WaitGroup
}

// registration is what became of this broker's.
type registration struct {
	epoch   uint64 // 0: not registered, or fenced since
	err     error  // why it was refused for good
	changed chan struct{}
}

// NewClient starts a client. It needs nobody to be there yet.
func NewClient(cfg ClientConfig) (*Client, error) {
	timing, err := cfg.Timing.withDefaults()
	if err != nil {
		return nil, err
	}
	if len(cfg.Seeds) == 0 {
		return nil, mq.Errorf(mq.InvalidConfig, "node %d knows the address of no controller", cfg.Node)
	}
	if cfg.Now == nil {
		cfg.Now = BootClock()
	}
	if cfg.Random == nil {
		cfg.Random = rand.Float64
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Client{
		cfg: cfg, log: cfg.Logger, timing: timing, finder: newFinder(cfg.Seeds), services: map[string]controlpbconnect.ControlServiceClient{},
		registered: registration{changed: make(chan struct{})}, mayLeave: make(chan struct{}), leased: make(chan struct{}), urge: make(chan struct{}, 1),
		detached: make(chan struct{}),
	}
	c.newsAt.Store(int64(cfg.Now()))
	c.stopped, c.stop = context.WithCancel(context.Background())
	if cfg.Registration != nil {
		c.goroutines.Go(c.beBroker)
	}
	c.local.Store(cfg.Local)
	if cfg.Local == nil {
		c.goroutines.Go(c.follow)
	} else {
		c.goroutines.Go(func() { c.relay(cfg.Local.Store) })
	}
	return c, nil
}

// relay passes on that the local store's image changed, until there is none.
func (c *Client) relay(store Store) {
	watch := store.Watch()
	defer watch.Close()
	for {
		select {
		case <-watch.C():
			c.feed.Tell()
		case <-c.detached:
			c.follow()
			return
		case <-c.stopped.Done():
			return
		}
	}
}

// Detach goes on without the local controller, which is no member of the group any more: the image is followed from the others, beginning with what the local store has. It
// is called once.
func (c *Client) Detach() {
	c.feed.Publish(c.Image())
	c.local.Store(nil)
	close(c.detached)
}

// Close ends the client's streams and goroutines. The lease ends with it.
func (c *Client) Close() {
	c.stop()
	c.goroutines.Wait()
	c.leaseEnd.Store(0)
}

// Image is the present image of this node. It never waits, and is never nil: before anything came it is the empty one, at index 0.
func (c *Client) Image() *metadata.Image {
	if l := c.local.Load(); l != nil {
		return l.Store.Image()
	}
	return c.feed.Image()
}

// Watch tells of changes of Image.
func (c *Client) Watch() *metadata.Watch {
	return c.feed.WatchOf(c.Image)
}

// AwaitIndex waits until Image has an index, or a later one.
func (c *Client) AwaitIndex(ctx context.Context, index uint64) error {
	return awaitIndex(ctx, c.Watch, index)
}

// Stale is for how long no controller that leads was heard: Image may lack what happened since. A broker with a local store hears it by its heartbeats; for a node
// with a controller only it is always 0: how old that may be, raft knows.
func (c *Client) Stale() time.Duration {
	if c.local.Load() != nil && c.cfg.Registration == nil {
		return 0
	}
	return c.cfg.Now() - time.Duration(c.newsAt.Load())
}

// LeaseLeft is for how long this broker may act as a leader of partitions without hearing from the controllers, by what they last
// answered; 0: no longer. It reads the clock and one word.
func (c *Client) LeaseLeft() time.Duration {
	return max(0, time.Duration(c.leaseEnd.Load())-c.cfg.Now())
}

// Leased says whether there is a lease now. Ask after the sync, just before an acknowledgement.
func (c *Client) Leased() bool { return c.LeaseLeft() > 0 }

// Epoch is the broker epoch that this process is registered with, which is the index of the image that has it; 0: none. A lease belongs to it: asked
// after Leased it is not older than that lease. Who was fenced before may have been replaced as a leader, so that lease is good for roles of this image
// or later ones only.
func (c *Client) Epoch() uint64 { return c.epoch.Load() }

// AwaitLease waits for the first lease of this process: before it there is nothing that it could do as a leader.
func (c *Client) AwaitLease(ctx context.Context) error {
	select {
	case <-c.leased:
		return nil
	case <-ctx.Done():
		return mq.Wrapf(ctx.Err(), "wait for the first lease of broker %d", c.cfg.Node)
	case <-c.stopped.Done():
		return mq.Errorf(mq.ShuttingDown, "node %d is shutting down", c.cfg.Node)
	}
}

// Leader is the RPC address of the controller that leads, as far as this node knows.
func (c *Client) Leader() string { return c.finder.pick() }

// service is that of the controller at an address.
func (c *Client) service(address string) controlpbconnect.ControlServiceClient {
	client, url := c.cfg.Connect(address)
	if url == "" {
		return newService(nowhere{address}, nowhereURL)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.services[url]
	if !ok {
		s = newService(client, url)
		c.services[url] = s
	}
	return s
}

func newService(client connect.HTTPClient, url string) controlpbconnect.ControlServiceClient {
	return controlpbconnect.NewControlServiceClient(client, url, connect.WithAcceptCompression("gzip", nil, nil), connect.WithReadMaxBytes(maxAnswerBytes))
}

// nowhere is the way to an address at which nobody is known to be, as of a controller that was forgotten.
type nowhere struct{ address string }

const nowhereURL = "https://nowhere.invalid"

// Do implements connect.HTTPClient. Its error is one of dialing: nothing was sent.
func (n nowhere) Do(*http.Request) (*http.Response, error) {
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: mq.Errorf(mq.NetworkException, "no controller is known to be at %s", n.address)}
}

// failed takes note of an attempt that found no leader and says how long to wait before the next. A leader that is said to be where nobody is known is not looked for: the
// others are asked again, until one says where it is or the image does.
func (c *Client) failed(p *pauses, address string, f failure) time.Duration {
	if f.leader != "" {
		if _, url := c.cfg.Connect(f.leader); url == "" {
			c.log.Debug("the leading controller is said to be where none is known", "by", address, "leader", f.leader)
			f.leader = ""
		}
	}
	c.finder.failed(address, f.leader)
	return p.next(c.finder, f.leader != "", c.cfg.Random())
}

// sleep waits, unless the context ends first.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
