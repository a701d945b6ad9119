package partition

import (
	"context"
	"slices"

	"github.com/rustmq/rustmq/mq"
)

// tieredWait is told when the object mark has passed an offset.
type tieredWait chan AppendResult

// Complete implements Completion.
func (w tieredWait) Complete(r AppendResult) { w <- r }

// AwaitTiered has what is committed below end brought into the object store at once, as for producers that wait for that, and returns when it is there. What lies below the log start is
// not waited for: it need not come there any more. Errors: OffsetOutOfRange beyond the high watermark, reasons not to lead, those of ctx.
func (p *Partition) AwaitTiered(ctx context.Context, end mq.Offset) error {
	told := make(tieredWait, 1)
	waits, err := p.waitTiered(end, told)
	if err != nil || !waits {
		return err
	}
	if p.cfg.Committed != nil {
		p.cfg.Committed(p)
	}
	select {
	case r := <-told:
		return mq.Wrapf(r.Err, "wait for the object store")
	case <-ctx.Done():
		p.mu.Lock()
		defer p.unlock()
		q := &p.waiting[mq.MarkObject]
		q.items = slices.DeleteFunc(q.items, func(w waiting) bool { return w.done == told })
		return mq.Wrapf(context.Cause(ctx), "wait for the object store to have partition %s up to %d", p.name(), end)
	}
}

// waitTiered has w told when the object mark passes end. waits is false if that is so already, or never will be.
func (p *Partition) waitTiered(end mq.Offset, w tieredWait) (waits bool, err error) {
	p.mu.Lock()
	defer p.unlock()
	switch err := p.mustLead(); {
	case err != nil:
		return false, err
	case end > p.marks.high():
		return false, mq.Errorf(mq.OffsetOutOfRange, "partition %s: wait for the object store to have it up to %d, it is committed up to %d", p.name(), end, p.marks.high())
	case end <= max(p.marks.object(), p.marks.logStart()):
		return false, nil
	}
	p.wait(waiting{done: w, base: end - 1, last: end - 1, timestamp: -1, other: true}, mq.MarkObject)
	return true, nil
}
