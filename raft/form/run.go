package form

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// Config is what [Run] is given.
type Config struct {
	// Self is this controller with the state that its directory has.
	Self Answer
	// Ask asks another controller; its answer is checked here. It ends with its context.
	Ask func(context.Context, Controller) (Answer, error)
	// Save makes a state durable. After an error the forming ends, and what the directory has is read again by the next start.
	Save func(State) error
	// Publish, when set, is told each state once it is durable, also the first: what this controller answers from then on.
	Publish func(Answer)
	// Interval between rounds, and the most that one takes. 0: 500 ms.
	Interval time.Duration
	// Logger may be nil.
	Logger *slog.Logger
}

// Run asks the other controllers until this one has formed, which may take for as long as they do not answer, or is to rejoin. A controller that has
// formed already returns at once. The decision is Form or Rejoin. What Rejoin asks for may fail for want of a leader: Run may be called
// again then. Errors: those of [Next], Save and ctx; InvalidRequest for a Self that cannot be.
func Run(ctx context.Context, cfg Config) (Decision, error) {
	if err := cfg.Self.Check(); err != nil {
		return Decision{}, err
	}
	if cfg.Interval == 0 {
		cfg.Interval = 500 * time.Millisecond
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Publish == nil {
		cfg.Publish = func(Answer) {}
	}
	r := &runner{cfg: cfg, own: cfg.Self}
	cfg.Publish(r.own)
	for {
		d, done, err := r.round(ctx)
		if err != nil || done {
			return d, err
		}
		if d.Step != Wait {
			continue
		}
		if d.Why != r.why {
			r.why = d.Why
			cfg.Logger.Info("the controllers do not form a group yet", "why", d.Why)
		}
		select {
		case <-time.After(cfg.Interval):
		case <-ctx.Done():
			return Decision{}, mq.Wrapf(ctx.Err(), "form a group of controllers: %s", d.Why)
		}
	}
}

type runner struct {
	cfg Config
	own Answer
	why string // last told
}

// round asks once and does what follows. Nothing of an earlier round is used in it.
func (r *runner) round(ctx context.Context) (d Decision, done bool, err error) {
	var answers []Answer
	if r.own.State.Phase != Formed {
		answers = r.ask(ctx)
	}
	if d, err = Next(r.own, answers); err != nil {
		return d, false, err
	}
	switch d.Step {
	case Prepare:
		err = r.save(State{Phase: Prepared, View: d.View})
	case Form:
		done = true
		if r.own.State.Phase != Formed {
			err = r.save(State{Phase: Formed, View: d.View})
		}
	case Rejoin:
		done = true
	}
	return d, done, err
}

func (r *runner) save(s State) error {
	if err := r.cfg.Save(s); err != nil {
		return mq.Wrapf(err, "form: save %s", s)
	}
	r.own.State = s
	r.cfg.Publish(r.own)
	r.cfg.Logger.Info("forming", "state", s.String())
	return nil
}

// ask asks all the others at once.
func (r *runner) ask(ctx context.Context) []Answer {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Interval)
	defer cancel()
	var wait sync.WaitGroup
	found := make([]atomic.Pointer[Answer], len(r.own.Controllers))
	for i, c := range r.own.Controllers {
		if c.Node == r.own.Node {
			continue
		}
		wait.Go(func() {
			a, err := r.cfg.Ask(ctx, c)
			if err == nil {
				err = a.Check()
			}
			if err == nil && a.Node != c.Node {
				err = mq.Errorf(mq.InvalidConfig, "node %d answers at %s", a.Node, c.Address)
			}
			if err != nil {
				r.cfg.Logger.Debug("ask a controller", "node", c.Node, "address", c.Address, "err", err)
				return
			}
			found[i].Store(&a)
		})
	}
	wait.Wait()
	var answers []Answer
	for i := range found {
		if a := found[i].Load(); a != nil {
			answers = append(answers, *a)
		}
	}
	return answers
}
