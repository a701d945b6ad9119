package control

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"connectrpc.com/connect"

	"github.com/rustmq/rustmq/api/control/v1/controlpbconnect"
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
)

// Bounds of a controller.
const (
	// maxCommandBytes is the largest request: raft's largest proposal, and what is around it.
	maxCommandBytes = 16<<20 + 64<<10
	// maxRangesPage is the most ranges of one answer, so that it has about a megabyte at most.
	maxRangesPage = 1000
	// recentImages is how many images a watcher that comes back may have missed and still gets only what changed. They share all that did
	// not change.
	recentImages = 64
	// proposeTimeout is how long the controller waits for what it proposes itself; then it looks anew at what is to be done.
	proposeTimeout = 5 * time.Second
	// awaitTimeout is how long a read waits for the image that it must not be older than, and who proposed a command for the image that shows it.
	awaitTimeout = 5 * time.Second
)

// ControllerConfig is what a Controller is made with.
type ControllerConfig struct {
	Node  mq.NodeID
	Group Group
	Store Store
	// Peer is the node at the other end of a call, by the certificate of its connection; false: nobody that we know.
	Peer func(ctx context.Context) (mq.NodeID, bool)
	// Dial connects to an RPC address and hangs up again. An error that is ECONNREFUSED says that nothing listens there any more.
	Dial func(ctx context.Context, address string) error
	// Operate does what an operator asks of the leading controller, as rustmq.admin.v1 encodes it. It is called only while this one leads, and answers
	// NotController when it does not any more. nil: nothing can be asked.
	Operate func(ctx context.Context, request []byte) (response []byte, err error)
	// Plans are made while this controller leads, the first ones first.
	Plans  []Plan
	Timing Timing
	// Now is a monotonic clock. nil: BootClock.
	Now func() time.Duration
	// Logger may be nil.
	Logger *slog.Logger
}

// Controller serves ControlService, and while it leads the group it judges who lives and makes plans. Its methods may be called at
// the same time.
type Controller struct {
	cfg     ControllerConfig
	log     *slog.Logger
	now     func() time.Duration
	streams atomic.Uint64 // the last number of a heartbeat stream

	mu      sync.Mutex // never held while anything waits
	judge   *judge
	term    uint64 // in which the judge leads
	recent  []*metadata.Image
	planner planner // of the loop's goroutine

	wake       chan struct{}
	stopped    context.Context
	stop       context.CancelFunc
	goroutines sync.WaitGroup
}

// NewController starts a controller. The group and the store are the caller's, who closes them after it.
func NewController(cfg ControllerConfig) (*Controller, error) {
	timing, err := cfg.Timing.withDefaults()
	if err != nil {
		return nil, err
	}
	cfg.Timing = timing
	if cfg.Now == nil {
		cfg.Now = BootClock()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Controller{
		cfg: cfg, log: cfg.Logger, now: cfg.Now, judge: newJudge(timing), planner: planner{plans: cfg.Plans}, wake: make(chan struct{}, 1),
	}
	c.stopped, c.stop = context.WithCancel(context.Background())
	c.goroutines.Go(c.run)
	c.goroutines.Go(c.confirm)
	return c, nil
}

// Handler is the service, and the path that it is served under.
func (c *Controller) Handler() (path string, handler http.Handler) {
	return controlpbconnect.NewControlServiceHandler(service{c}, connect.WithReadMaxBytes(maxCommandBytes))
}

// Close ends the controller's goroutines. Watches end, and what else comes is answered ShuttingDown.
func (c *Controller) Close() {
	c.stop()
	c.goroutines.Wait()
}

// run is the controller's loop: it looks at what is, carries out what follows, and waits for something to change.
func (c *Controller) run() {
	ticker := time.NewTicker(c.cfg.Timing.Tick)
	defer ticker.Stop()
	watch := c.cfg.Store.Watch()
	defer watch.Close()
	for {
		_, changed := c.cfg.Group.Leadership()
		if work := c.look(); work.term != 0 {
			c.carryOut(work)
		}
		select {
		case <-c.stopped.Done():
			return
		case <-changed:
		case <-watch.C():
		case <-c.wake:
		case <-ticker.C:
		}
	}
}

// work is what is to be done in a term.
type work struct {
	term   uint64 // 0: this controller does not lead
	dials  []dialOrder
	fences []fenceOrder
	stops  []fenceOrder // brokers that want to leave, which the metadata does not know yet
}

// look takes over what changed and gives what follows from it.
func (c *Controller) look() work {
	leads, _ := c.cfg.Group.Leadership()
	img, now := c.cfg.Store.Image(), c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remember(img)
	switch {
	case !leads.Leading:
		if c.judge.leading {
			c.log.Info("this controller does not lead any more", "term", c.term)
			c.judge.yield()
		}
		return work{}
	case !c.judge.leading || c.term != leads.Term:
		c.log.Info("this controller leads", "term", leads.Term)
		c.term = leads.Term
		c.judge.lead(now, img)
		c.planner.begin(now)
	}
	c.judge.sync(now, img)
	c.judge.tick(now)
	c.planner.see(now, img)
	w := work{term: c.term}
	w.dials, w.fences = c.judge.orders(now)
	for _, id := range c.judge.leaving() {
		if b := img.Broker(id); b != nil && !b.ShuttingDown {
			w.stops = append(w.stops, fenceOrder{node: id, epoch: b.Epoch})
		}
	}
	return w
}

// remember keeps an image for watchers that come back.
func (c *Controller) remember(img *metadata.Image) {
	if n := len(c.recent); n > 0 && c.recent[n-1] == img {
		return
	}
	if len(c.recent) == recentImages {
		c.recent = slices.Delete(c.recent, 0, 1)
	}
	c.recent = append(c.recent, img)
}

// carryOut dials beside, and proposes one after the other: fences first.
func (c *Controller) carryOut(w work) {
	for _, o := range w.dials {
		c.goroutines.Go(func() { c.dial(o) })
	}
	for _, o := range w.fences {
		c.log.Warn("a broker is fenced", "broker", o.node, "epoch", o.epoch, "why", o.why)
		outcome := c.propose(w.term, "fence", &metadatapb.Command{Kind: &metadatapb.Command_FenceBroker{
			FenceBroker: &metadatapb.FenceBroker{NodeId: int32(o.node), BrokerEpoch: o.epoch},
		}})
		if outcome == fateRefused || outcome == fateNever {
			c.mu.Lock()
			c.judge.unfenced(o)
			c.mu.Unlock()
		}
	}
	for _, o := range w.stops {
		c.log.Info("a broker leaves", "broker", o.node, "epoch", o.epoch)
		c.propose(w.term, "shutdown", &metadatapb.Command{Kind: &metadatapb.Command_RequestShutdown{
			RequestShutdown: &metadatapb.RequestShutdown{NodeId: int32(o.node), BrokerEpoch: o.epoch},
		}})
	}
	if len(w.fences)+len(w.stops) > 0 {
		return // what there is to plan has changed
	}
	for {
		place, ok := c.planner.next(c.now())
		if !ok {
			return
		}
		plan := c.planner.plans[place]
		commands, err := plan.Commands(c.planner.image)
		if err != nil {
			c.log.Error("a plan cannot be made", "plan", plan.Name, "error", err)
		}
		for _, command := range commands {
			switch c.propose(w.term, plan.Name, command) {
			case fateDecided:
			case fateRefused:
				c.planner.refused(c.now(), place, c.cfg.Timing.Redial)
				return
			case fateOpen, fateNever:
				c.planner.again(c.now(), place, c.cfg.Timing.Redial)
				return
			}
		}
		c.planner.decided(place)
		if len(commands) > 0 {
			c.nudge() // to look at what they did, and at who died meanwhile
			return
		}
	}
}

// fate is what became of a command.
type fate int

const (
	fateOpen    fate = iota // it may be carried out yet
	fateNever               // it was not decided, and will not be
	fateRefused             // it was decided against
	fateDecided
)

// propose has a command of the controller's own decided.
func (c *Controller) propose(term uint64, what string, command *metadatapb.Command) fate {
	if leads, _ := c.cfg.Group.Leadership(); !leads.Leading || leads.Term != term {
		return fateNever
	}
	data, err := metadata.EncodeCommand(command)
	if err != nil {
		c.log.Error("a command cannot be encoded", "for", what, "error", err)
		return fateRefused
	}
	ctx, cancel := context.WithTimeout(c.stopped, proposeTimeout)
	defer cancel()
	result, err := c.cfg.Group.Propose(ctx, data)
	outcome := fateNever
	switch {
	case err == nil:
		outcome = fateRefused
		_, err = metadata.DecodeResult(result)
	case Undecided(err):
		outcome = fateOpen
	}
	if err != nil {
		c.log.Warn("a command of the controller's was not carried out", "for", what, "error", err)
		return outcome
	}
	return fateDecided
}

// dial tries once to reach a broker whose stream is not there.
func (c *Controller) dial(o dialOrder) {
	ctx, cancel := context.WithTimeout(c.stopped, c.cfg.Timing.Redial)
	defer cancel()
	err := c.cfg.Dial(ctx, o.address)
	c.mu.Lock()
	c.judge.dialed(c.now(), o, errors.Is(err, syscall.ECONNREFUSED))
	c.mu.Unlock()
	c.nudge()
}

// nudge has the loop look again.
func (c *Controller) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// confirm proves again and again that this controller leads. A read index that is had while it leads, in one term from before to after,
// came from a majority that it asked itself.
func (c *Controller) confirm() {
	ticker := time.NewTicker(c.cfg.Timing.Confirm)
	defer ticker.Stop()
	for {
		leads, changed := c.cfg.Group.Leadership()
		if leads.Leading {
			c.confirmOnce(leads.Term)
		}
		select {
		case <-c.stopped.Done():
			return
		case <-changed:
		case <-ticker.C:
		}
	}
}

func (c *Controller) confirmOnce(term uint64) {
	ctx, cancel := context.WithTimeout(c.stopped, c.cfg.Timing.Lease)
	defer cancel()
	asked := c.now()
	if _, err := c.cfg.Group.ReadIndex(ctx); err != nil {
		return
	}
	if leads, _ := c.cfg.Group.Leadership(); !leads.Leading || leads.Term != term {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.term == term {
		c.judge.confirm(asked)
	}
}
