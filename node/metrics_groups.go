package node

import (
	"context"
	"sync"
	"time"

	consumers "github.com/rustmq/rustmq/group"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
)

// groupSample is what metrics of consumer groups are read from.
type groupSample struct {
	figures consumers.Figures
	lags    map[string]groupLag
}

// groupLag is how far a group is behind.
type groupLag struct {
	records int64
	age     time.Duration // of the oldest record that it has not committed
}

const (
	// lagWithin is how long a scrape waits for coordinators and records that wait for a disk.
	lagWithin = time.Second
	// lagReads is how many batches a scrape reads from the log or the object store, for those that groups are at and that are not in memory. What it
	// has no room for is that of the next scrape.
	lagReads = 64
)

// lagClock keeps the times of the records that groups are at: who does not get on is looked at once. Its methods may be called from any goroutine.
type lagClock struct {
	mu   sync.Mutex
	seen map[groupPlace]placeTime
}

type groupPlace struct {
	group string
	at    mq.PartitionID
}

type placeTime struct {
	offset mq.Offset
	ms     int64
}

// lagScrape is one look at all groups.
type lagScrape struct {
	n     *Node
	ctx   context.Context
	now   time.Time
	reads int // that may still be made
	was   map[groupPlace]placeTime
	seen  map[groupPlace]placeTime
	lags  map[string]groupLag
}

func (n *Node) groupSample(now time.Time) (s groupSample) {
	if n.groups == nil {
		return s
	}
	ctx, cancel := context.WithTimeout(context.Background(), lagWithin)
	defer cancel()
	s.figures = n.groups.Figures()
	n.lagClock.mu.Lock()
	defer n.lagClock.mu.Unlock()
	look := &lagScrape{
		n: n, ctx: ctx, now: now, reads: lagReads, was: n.lagClock.seen, seen: make(map[groupPlace]placeTime), lags: make(map[string]groupLag),
	}
	n.groups.EachCommitted(ctx, look.visit)
	n.lagClock.seen, s.lags = look.seen, look.lags
	return s
}

// visit adds one partition to the lag of its group.
func (l *lagScrape) visit(name string, id mq.PartitionID, committed mq.Offset) {
	lag := l.lags[name]
	if part := l.n.partitions.Table().Get(id); part != nil {
		if _, high, _, _ := part.Offsets(); high > committed {
			lag.records += int64(high - committed)
			lag.age = max(lag.age, l.age(groupPlace{name, id}, part, committed))
		}
	}
	l.lags[name] = lag
}

// age is how long ago the record at a group's place was made. One that cannot be looked at now counts as the one that the group was at when it was looked at last.
func (l *lagScrape) age(place groupPlace, part *partition.Partition, committed mq.Offset) time.Duration {
	at, known := l.was[place]
	if !known || at.offset != committed {
		ms, ok, err := part.TimeAt(l.ctx, committed, false)
		if err == nil && !ok && l.reads > 0 {
			l.reads--
			ms, ok, err = part.TimeAt(l.ctx, committed, true)
		}
		if err == nil && ok {
			at, known = placeTime{committed, ms}, true
		}
	}
	if !known {
		return 0
	}
	l.seen[place] = at
	return max(0, l.now.Sub(time.UnixMilli(at.ms)))
}

func groupMetrics() []metric {
	lag := func(of func(groupLag) float64) func(s *sample) map[string]float64 {
		return func(s *sample) map[string]float64 {
			lags := make(map[string]float64, len(s.groups.lags))
			for name, lag := range s.groups.lags {
				lags[name] = of(lag)
			}
			return lags
		}
	}
	return []metric{
		{name: "rustmq_groups", help: "Consumer groups that this node coordinates.", kind: gauge, value: func(s *sample) float64 { return float64(s.groups.figures.Groups) }},
		{name: "rustmq_group_members", help: "Members of the consumer groups that this node coordinates.", kind: gauge, value: func(s *sample) float64 { return float64(s.groups.figures.Members) }},
		{name: "rustmq_group_offsets", help: "Committed offsets of the consumer groups that this node coordinates.", kind: gauge, value: func(s *sample) float64 { return float64(s.groups.figures.Offsets) }},
		{name: "rustmq_group_memory_bytes", help: "Memory that the consumer groups that this node coordinates take, about; groups.max_memory bounds it.", kind: gauge, value: func(s *sample) float64 { return float64(s.groups.figures.Bytes) }},
		{name: "rustmq_group_rebalances_total", help: "Group epochs and generations that were begun here: by members that came, went or wanted something else, and by topics that changed.", kind: counter, value: func(s *sample) float64 { return float64(s.groups.figures.Rebalances) }},
		{name: "rustmq_group_lag_records", help: "Offsets between what a consumer group that this node coordinates has committed and the ends of the partitions, of those partitions that have a replica on this node.", kind: gauge, label: "group", each: lag(func(l groupLag) float64 { return float64(l.records) })},
		{name: "rustmq_group_lag_seconds", help: "Age, by its timestamp, of the oldest record that a consumer group which this node coordinates has not committed, of those partitions that have a replica on this node; 0: it has committed all.", kind: gauge, label: "group", each: lag(func(l groupLag) float64 { return l.age.Seconds() })},
	}
}
