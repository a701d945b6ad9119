package replication

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
)

var (
	self  = partition.Replica{Node: 1, Incarnation: 10}
	early = time.Unix(1_000_000, 0)
)

// view is a leader's progress in epoch 3, which began at 50, with the watermark at 80 and the log's end at 100.
func view(isr []mq.NodeID, followers ...partition.FollowerProgress) partition.Progress {
	return partition.Progress{Epoch: 3, PartitionEpoch: 7, EpochStart: 50, HighWatermark: 80, LogEnd: 100, ISR: isr, Followers: followers}
}

func at(node mq.NodeID, incarnation uint64, end mq.Offset) partition.FollowerProgress {
	return partition.FollowerProgress{Replica: partition.Replica{Node: node, Incarnation: incarnation}, End: end}
}

func TestInSyncSetIsJudged(t *testing.T) {
	up := standing{connected: true, since: early}
	limits := lagLimits{lag: 10 * time.Second, broken: 2 * time.Second}
	set := func(nodes ...mq.NodeID) []mq.NodeID { return nodes }
	doubtful, asked, lower := view(set(1, 2), at(2, 20, 100)), view(set(1, 2), at(2, 20, 100), at(3, 30, 100)), view(set(1), at(2, 20, 49))
	doubtful.Doubt, asked.Asked, lower.HighWatermark = true, true, 40
	for name, c := range map[string]struct {
		progress partition.Progress
		standing map[mq.NodeID]standing
		after    time.Duration // with the same progress
		want     []mq.NodeID   // nil: nothing is proposed
	}{
		"all have all":                           {view(set(1, 2, 3), at(2, 20, 100), at(3, 30, 100)), map[mq.NodeID]standing{2: up, 3: up}, time.Hour, nil},
		"one lags, not for long":                 {view(set(1, 2, 3), at(2, 20, 100), at(3, 30, 99)), map[mq.NodeID]standing{2: up, 3: up}, 10 * time.Second, nil},
		"one lags for too long":                  {view(set(1, 2, 3), at(2, 20, 100), at(3, 30, 99)), map[mq.NodeID]standing{2: up, 3: up}, 11 * time.Second, set(1, 2)},
		"both lag for too long":                  {view(set(1, 2, 3), at(2, 20, 90), at(3, 30, 99)), map[mq.NodeID]standing{2: up, 3: up}, 11 * time.Second, set(1)},
		"no stream to one that lags":             {view(set(1, 2), at(2, 20, 99)), map[mq.NodeID]standing{2: {since: early}}, 3 * time.Second, set(1)},
		"no stream since just now":               {view(set(1, 2), at(2, 20, 99)), map[mq.NodeID]standing{2: {since: early.Add(2 * time.Second)}}, 3 * time.Second, nil},
		"no stream, but nothing is missing":      {view(set(1, 2), at(2, 20, 100)), map[mq.NodeID]standing{2: {since: early}}, time.Hour, nil},
		"one that has never spoken":              {view(set(1, 2), at(2, 20, -1)), map[mq.NodeID]standing{2: {since: early}}, 3 * time.Second, set(1)},
		"one that is no replica any more":        {view(set(1, 2), at(2, 20, 99)), nil, 3 * time.Second, set(1)},
		"one has caught up":                      {view(set(1), at(2, 20, 80)), map[mq.NodeID]standing{2: up}, 0, set(1, 2)},
		"one is stuck at the watermark":          {view(set(1), at(2, 20, 80)), map[mq.NodeID]standing{2: up}, 11 * time.Second, nil},
		"one was away for long and has all":      {view(set(1), at(2, 20, 100)), map[mq.NodeID]standing{2: up}, time.Hour, set(1, 2)},
		"one is below the watermark":             {view(set(1), at(2, 20, 79)), map[mq.NodeID]standing{2: up}, time.Hour, nil},
		"one is below the beginning of the term": {lower, map[mq.NodeID]standing{2: up}, time.Hour, nil},
		"one has caught up and is fenced":        {view(set(1), at(2, 20, 100)), map[mq.NodeID]standing{2: {connected: true, since: early, fenced: true}}, 0, nil},
		"one has caught up and is away":          {view(set(1), at(2, 20, 100)), map[mq.NodeID]standing{2: {since: early}}, 0, nil},
		"one has caught up and is no replica":    {view(set(1), at(2, 20, 100)), nil, 0, nil},
		"one goes, one comes":                    {view(set(1, 2), at(2, 20, 70), at(3, 30, 100)), map[mq.NodeID]standing{2: up, 3: up}, 11 * time.Second, set(1, 3)},
		"an answer is awaited":                   {asked, map[mq.NodeID]standing{2: up, 3: up}, time.Hour, nil},
		"an answer was lost":                     {doubtful, map[mq.NodeID]standing{2: up}, 0, set(1, 2)},
	} {
		t.Run(name, func(t *testing.T) {
			j := &insync{}
			if c.after > 0 {
				first := c.progress
				first.Asked = true // so that only time passes
				j.judge(early, self, first, c.standing, limits)
			}
			var nodes []mq.NodeID
			isr, _ := j.judge(early.Add(c.after), self, c.progress, c.standing, limits)
			for _, r := range isr {
				nodes = append(nodes, r.Node)
				if r.Incarnation != 10*uint64(r.Node) {
					t.Errorf("node %d is proposed as incarnation %d", r.Node, r.Incarnation)
				}
			}
			if !slices.Equal(nodes, c.want) {
				t.Errorf("proposed %v, want %v", nodes, c.want)
			}
		})
	}
}

// Kafka's rule: a follower is in sync that reaches in time where the log ended some time ago, though it never reaches the end of a busy log.
func TestFollowerOfABusyLogIsInSync(t *testing.T) {
	j, up := &insync{}, map[mq.NodeID]standing{2: {connected: true, since: early}}
	limits := lagLimits{lag: 10 * time.Second, broken: 2 * time.Second}
	progress := func(end, logEnd mq.Offset, incarnation uint64) partition.Progress {
		return partition.Progress{Epoch: 3, LogEnd: logEnd, HighWatermark: end, ISR: []mq.NodeID{1, 2}, Followers: []partition.FollowerProgress{at(2, incarnation, end)}}
	}
	now := early
	for i := range mq.Offset(100) {
		now = now.Add(time.Second)
		if isr, _ := j.judge(now, self, progress(100*i, 100*i+300, 20), up, limits); isr != nil {
			t.Fatalf("proposed %v after %d s: it lags 3 s", isr, i)
		}
	}
	for range 20 { // it restarts, and is given time anew
		now = now.Add(500 * time.Millisecond)
		if isr, _ := j.judge(now, self, progress(-1, 20_000, 21), up, limits); isr != nil {
			t.Fatalf("proposed %v", isr)
		}
	}
	if isr, _ := j.judge(now.Add(10*time.Second), self, progress(-1, 20_000, 21), up, limits); len(isr) != 1 {
		t.Fatalf("proposed %v", isr)
	}
}

// A follower that has what the log had a moment ago is waited for, as long as that is so: it never has all of a busy log.
func TestFollowerThatIsNearIsExpected(t *testing.T) {
	j, up := &insync{}, map[mq.NodeID]standing{2: {connected: true, since: early}}
	limits := lagLimits{lag: 10 * time.Second, broken: 2 * time.Second}
	for i, c := range []struct {
		end, logEnd mq.Offset
		standing    map[mq.NodeID]standing
		want        []mq.NodeID
	}{
		{-1, 100, up, nil}, // it has to show what it has
		{99, 200, up, nil}, // it was not there when it was looked at last
		{200, 300, up, []mq.NodeID{2}},
		{310, 400, up, []mq.NodeID{2}},
		{390, 500, up, nil}, // it is slow
		{500, 600, up, []mq.NodeID{2}},
		{600, 700, map[mq.NodeID]standing{2: {connected: true, since: early, fenced: true}}, nil},
		{700, 800, map[mq.NodeID]standing{2: {since: early}}, nil},
		{800, 900, nil, nil},
	} {
		pr := partition.Progress{Epoch: 3, LogEnd: c.logEnd, HighWatermark: c.logEnd, ISR: []mq.NodeID{1}, Followers: []partition.FollowerProgress{at(2, 20, c.end)}}
		isr, expected := j.judge(early.Add(time.Duration(i)*time.Second), self, pr, c.standing, limits)
		if isr != nil || !slices.Equal(expected, c.want) {
			t.Errorf("at %d of %d: %v is proposed, %v expected, want %v", c.end, c.logEnd, isr, expected, c.want)
		}
	}
}

// What is proposed at once is bounded, whatever has happened to how many partitions: the controllers take no command of any size.
// With fewer replicas in sync than there must be the watermark stands. A follower with more than is below it, which goes no further, or no faster than the log grows, comes in now and then: each
// time the watermark moves, and what lies below it leaves the logs.
func TestFollowerAheadOfTheWatermarkComesIn(t *testing.T) {
	limits := lagLimits{lag: 10 * time.Second, broken: 2 * time.Second}
	up := map[mq.NodeID]standing{2: {connected: true, since: early}}
	for name, c := range map[string]struct {
		end, logEnd func(look mq.Offset) mq.Offset
	}{
		"its log is full":          {func(mq.Offset) mq.Offset { return 90 }, func(mq.Offset) mq.Offset { return 100 }},
		"as quick as the log":      {func(i mq.Offset) mq.Offset { return 90 + i }, func(i mq.Offset) mq.Offset { return 1000 + i }},
		"stuck at the watermark":   {func(mq.Offset) mq.Offset { return 80 }, func(mq.Offset) mq.Offset { return 100 }},
		"below it, and no further": {func(mq.Offset) mq.Offset { return 79 }, func(mq.Offset) mq.Offset { return 100 }},
	} {
		t.Run(name, func(t *testing.T) {
			j, p, proposed := &insync{}, view([]mq.NodeID{1}), 0
			const looks, between = 400, 250 * time.Millisecond // 100 s
			for i := range mq.Offset(looks) {
				end := mq.Offset(70) // away at first
				if i > 60 {
					end = c.end(i)
				}
				p.LogEnd, p.Followers = c.logEnd(i), []partition.FollowerProgress{at(2, 20, end)}
				wanted, _ := j.judge(early.Add(time.Duration(i)*between), self, p, up, limits)
				if wanted == nil {
					continue
				}
				proposed++
				if p.ISR = p.ISR[:0]; len(wanted) == 2 {
					p.HighWatermark = end
				}
				for _, r := range wanted {
					p.ISR = append(p.ISR, r.Node)
				}
			}
			switch ahead := c.end(looks) > 80; {
			case ahead && proposed == 0:
				t.Error("it is kept out for ever")
			case !ahead && proposed > 0, proposed > 2*looks*int(between)/int(limits.lag):
				t.Errorf("%d changes in %v", proposed, looks*between)
			}
		})
	}
}

func TestChangesAreProposedInSteps(t *testing.T) {
	var mu sync.Mutex
	var steps []int
	p := &Peers{ctx: t.Context(), proposing: make(chan struct{}, maxProposals), cfg: Config{
		Logger: slog.New(slog.DiscardHandler), Propose: func(_ context.Context, changes []Change) []Outcome {
			mu.Lock()
			defer mu.Unlock()
			steps = append(steps, len(changes))
			return slices.Repeat([]Outcome{OutcomeDecided}, len(changes))
		},
	}}
	const n = 2*maxChanges + 7
	p.propose(make([]Change, n), slices.Repeat([]*partition.Partition{{}}, n))
	p.joined.Wait()
	slices.Sort(steps)
	if want := []int{7, maxChanges, maxChanges}; !slices.Equal(steps, want) {
		t.Errorf("in steps of %v, want %v", steps, want)
	}
}

// The answer to one proposal does not come. What others need is proposed meanwhile.
func TestProposalWithoutAnAnswerHoldsUpNoOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		decided := make(chan mq.PartitionID, 1)
		p := &Peers{ctx: t.Context(), proposing: make(chan struct{}, maxProposals), cfg: Config{
			Logger: slog.New(slog.DiscardHandler), Propose: func(ctx context.Context, changes []Change) []Outcome {
				if changes[0].Partition == id(0) {
					<-ctx.Done()
					return nil
				}
				decided <- changes[0].Partition
				return []Outcome{OutcomeDecided}
			},
		}}
		began := time.Now()
		for i := range 2 {
			p.propose([]Change{{Partition: id(i)}}, []*partition.Partition{{}})
		}
		if got := <-decided; got != id(1) || time.Since(began) > 0 {
			t.Errorf("%v was decided after %v", got, time.Since(began))
		}
		p.joined.Wait()
		if waited := time.Since(began); waited != proposeTimeout || len(p.proposing) != 0 {
			t.Errorf("the answer was waited for for %v, %d proposals are under way", waited, len(p.proposing))
		}
	})
}

// A peer that is forgotten may be about to be dialed: its stream ends a moment later, and until then it has the way that it had.
func TestPeerThatIsForgottenKeepsItsWayUntilItEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1, 1, 1, 1).start()
		defer c.close()
		time.Sleep(100 * time.Millisecond)
		led, dials := c.brokers[1].partition(id(0)), 0
		p := Open(Config{Self: partition.Replica{Node: 1, Incarnation: 9}, Logger: slog.New(slog.DiscardHandler)})
		p.Set(Peer{Node: 2, Incarnation: 7, Dial: func(ctx context.Context) (net.Conn, error) {
			dials++
			<-ctx.Done()
			return nil, ctx.Err()
		}}, []Assignment{{Partition: led, Epoch: led.LeaderEpoch()}})
		one := p.peers[2]
		synctest.Wait()
		p.Forget(2)
		if one.target().Dial == nil || len(p.Status()) != 0 {
			t.Error("who dials it next dials nothing")
		}
		synctest.Wait()
		if dials != 1 || one.ctx.Err() == nil {
			t.Errorf("it was dialed %d times, and goes on: %v", dials, one.ctx.Err() == nil)
		}
		p.Forget(2)
		p.Close()
	})
}
