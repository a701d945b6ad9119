package control

import (
	"time"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
)

// Plan is one thing that the leading controller looks after: a function from what is to what should be proposed.
type Plan struct {
	// Name for the log.
	Name string
	// Pause after the last change of brokers, or of who may lead what, before the plan is made. 0: at once.
	Pause time.Duration
	// Every is how often it is made even if nothing changed. 0: never.
	Every time.Duration
	// Commands gives what is to be proposed, each of a bounded size, nothing when all is as it should be. It must name the epochs that
	// it goes by, so that a plan which comes too late is refused. When it gave something it is asked again after the last of them was
	// decided, if they changed anything that concerns plans, and after a while if they were not decided, or were refused.
	Commands func(*metadata.Image) ([]*metadatapb.Command, error)
}

// never is a time that does not come.
const never = time.Duration(1<<63 - 1)

// planner knows when which plan is to be made. It is a pure core.
type planner struct {
	plans []Plan
	due   []time.Duration // of each plan
	vain  []int           // how often in a row what each plan gave was refused
	image *metadata.Image // that the last changes were seen in
}

// begin makes all plans due, after their pauses.
func (p *planner) begin(now time.Duration) {
	p.image = nil
	p.due, p.vain = make([]time.Duration, len(p.plans)), make([]int, len(p.plans))
	p.postpone(now)
}

func (p *planner) postpone(now time.Duration) {
	for i, plan := range p.plans {
		p.due[i] = now + plan.Pause
	}
}

// see takes what is now. What changed and concerns plans makes all due after their pauses; when brokers came or went the pauses begin anew.
func (p *planner) see(now time.Duration, img *metadata.Image) {
	before := p.image
	p.image = img
	if before == nil || before == img {
		return
	}
	d := metadata.Diff(before, img)
	switch {
	case len(d.Brokers)+len(d.RemovedBrokers) > 0:
		p.postpone(now)
	case concernsPlans(d):
		for i, plan := range p.plans {
			p.due[i] = min(p.due[i], now+plan.Pause)
		}
	}
}

// concernsPlans says whether there is more to a change than that records came and went.
func concernsPlans(d *metadata.Delta) bool {
	if d.Cluster || len(d.Created)+len(d.Deleted) > 0 {
		return true
	}
	for _, c := range d.Changed {
		if c.ConfigChanged {
			return true
		}
		for _, i := range c.Partitions {
			if before := c.Old.Partition(i); before == nil || before.PartitionEpoch != c.New.Partition(i).PartitionEpoch {
				return true
			}
		}
	}
	return false
}

// next is a plan that is due, by its place among the plans, or false. It counts as made then.
func (p *planner) next(now time.Duration) (place int, ok bool) {
	for i, plan := range p.plans {
		if now < p.due[i] {
			continue
		}
		p.due[i] = never
		if plan.Every > 0 {
			p.due[i] = now + plan.Every
		}
		return i, true
	}
	return 0, false
}

// again makes a plan due after a pause, if it is not due sooner: what it gave was not decided, and nothing else may ever change that would have it made.
func (p *planner) again(now time.Duration, place int, pause time.Duration) {
	p.due[place] = min(p.due[place], now+pause)
}

// refused makes a plan due again whose command was decided against: after a pause that doubles each time, up to maxVain, for what it went by may never change.
func (p *planner) refused(now time.Duration, place int, pause time.Duration) {
	p.again(now, place, min(pause<<min(p.vain[place], maxDoublings), maxVain))
	p.vain[place]++
}

// decided notes that all that a plan gave was decided.
func (p *planner) decided(place int) { p.vain[place] = 0 }

// maxVain is the longest pause between two plans of which the first was refused, of which there are at most maxDoublings before.
const (
	maxVain      = 30 * time.Second
	maxDoublings = 20
)

// planBatch is the most partitions that one command of a plan changes: some 50 KiB, a few milliseconds in which nothing else is decided.
const planBatch = 1000

// drainAtOnce is how many replicas of a broker that is drained move at the same time: enough to keep streams full, and few enough that what has
// moved is complete soon when the drain is ended.
const drainAtOnce = 100

// Plans are those that every cluster needs: brokers that leave lead nothing soon, partitions have leaders where there is somebody to lead,
// brokers that are drained have their replicas moved, and preferred leaders lead again when for a pause no broker has come or gone.
func Plans(balancePause time.Duration) []Plan {
	return []Plan{
		{Name: "shutdown", Commands: planChanges(func(img *metadata.Image) []*metadatapb.PartitionChange {
			for _, b := range img.Brokers() {
				if !b.ShuttingDown || b.Fenced {
					continue
				}
				if changes := metadata.PlanShutdown(img, b.ID, planBatch); len(changes) > 0 {
					return changes
				}
			}
			return nil
		})},
		{Name: "elections", Commands: planChanges(func(img *metadata.Image) []*metadatapb.PartitionChange {
			return metadata.PlanElections(img, planBatch)
		})},
		{Name: "drain", Commands: planDrain},
		{Name: "balance", Pause: balancePause, Commands: planChanges(func(img *metadata.Image) []*metadatapb.PartitionChange {
			return metadata.PlanBalance(img, planBatch)
		})},
	}
}

func planChanges(plan func(*metadata.Image) []*metadatapb.PartitionChange) func(*metadata.Image) ([]*metadatapb.Command, error) {
	return func(img *metadata.Image) ([]*metadatapb.Command, error) {
		changes := plan(img)
		if len(changes) == 0 {
			return nil, nil
		}
		return []*metadatapb.Command{{Kind: &metadatapb.Command_ChangePartitions{ChangePartitions: &metadatapb.ChangePartitions{Changes: changes}}}}, nil
	}
}

// planDrain has the next replicas of brokers that are drained moved, as others have arrived.
func planDrain(img *metadata.Image) ([]*metadatapb.Command, error) {
	for _, b := range img.Brokers() {
		if !b.Draining {
			continue
		}
		moves := metadata.PlanDrain(img, b.ID, drainAtOnce-metadata.DrainOf(img, b.ID).Moving)
		if len(moves) > 0 {
			return []*metadatapb.Command{{Kind: &metadatapb.Command_ReassignPartitions{ReassignPartitions: &metadatapb.ReassignPartitions{Reassignments: moves}}}}, nil
		}
	}
	return nil, nil
}
