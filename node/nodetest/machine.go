package nodetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// machine is a machine and what clients know of it, over all the lives of its node.
type machine struct {
	*Rig
	h    *history
	rand *rand.Rand
	cuts int

	forgetful bool // plants a bug: who has sent a batch is forgotten when it comes again
}

func newMachine(seed uint64, scratch string) *machine {
	return &machine{Rig: NewRig(seed, scratch), h: &history{}, rand: rand.New(rand.NewPCG(seed, 1))}
}

// lifetime is more than any life takes, on a busy machine too: one that takes longer hangs.
const lifetime = 5 * time.Minute

// live is one life of the node: it starts by itself, and does its work. In the cutAt-th call of its disk from now the power is
// cut; 0: it is not. An error is a broken promise, or a failure that is not for lack of power.
func (m *machine) live(ctx context.Context, cutAt int, work func(context.Context, *clients) error) error {
	ctx, cancel := context.WithTimeout(ctx, lifetime)
	defer cancel()
	if cutAt > 0 {
		m.FS.CutAt(cutAt)
	}
	err := m.run(ctx, work)
	cut := m.FS.Cut()
	if cutAt > 0 {
		m.PowerCut()
	}
	if !cut {
		return err
	}
	m.cuts++
	if v, ok := errors.AsType[*violation](err); ok {
		return fmt.Errorf("before the cut: %w", v)
	}
	return ctx.Err()
}

func (m *machine) run(ctx context.Context, work func(context.Context, *clients) error) error {
	n, err := m.Start(ctx)
	if err != nil {
		return fmt.Errorf("the node does not start: %w", err)
	}
	c := newClients(m.h, m.Rig, n, m.rand)
	c.forgetful = m.forgetful
	err = work(ctx, c)
	if closed := n.Close(ctx); err == nil && closed != nil {
		err = fmt.Errorf("close the node: %w", closed)
	}
	c.sending.Wait() // a node that is closed has answered everything
	return err
}

// settle is what clients do when the node is back: look whether all is there, and send again what has no outcome.
func (c *clients) settle(ctx context.Context) error {
	if err := c.check(ctx); err != nil {
		return err
	}
	if err := c.retry(ctx); err != nil {
		return fmt.Errorf("send again: %w", err)
	}
	return c.check(ctx)
}

// goOn is settle, and then some steps more.
func goOn(steps int) func(context.Context, *clients) error {
	return func(ctx context.Context, c *clients) error {
		if err := c.settle(ctx); err != nil {
			return err
		}
		if err := c.work(ctx, steps); err != nil {
			return err
		}
		return c.check(ctx)
	}
}

// survive is what comes after a cut: the node starts again, maybe has its power cut once more or twice while it does, and in the end
// has everything, and takes records.
func (m *machine) survive(ctx context.Context, again int) error {
	for range again {
		if err := m.live(ctx, 1+m.rand.IntN(60), goOn(2)); err != nil {
			return err
		}
	}
	return m.live(ctx, 0, func(ctx context.Context, c *clients) error {
		if err := c.settle(ctx); err != nil {
			return err
		}
		return c.prove(ctx)
	})
}

// prove shows that the node takes records, of a new topic and of old ones.
func (c *clients) prove(ctx context.Context) error {
	if len(c.h.producers) == 0 {
		if err := c.addProducer(ctx); err != nil {
			return err
		}
	}
	if len(c.h.usable()) == 0 {
		if _, err := c.create(ctx, "proof", 1); err != nil {
			return err
		}
	}
	before := c.h.acknowledged()
	for _, i := range c.h.usable() {
		if err := c.send(ctx, c.h.add(batch{topic: i, records: 2, bytes: 20, acks: 2}), false); err != nil {
			return err
		}
	}
	if err := c.wait(ctx); err != nil {
		return err
	}
	if got, want := c.h.acknowledged()-before, 2*len(c.h.usable()); got != want {
		return broken("refused", "%d of %d records were acknowledged", got, want)
	}
	return c.check(ctx)
}
