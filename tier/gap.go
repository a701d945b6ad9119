package tier

import (
	"cmp"
	"slices"

	"github.com/rustmq/rustmq/mq"
)

// Stray is a range that an object says it has, whatever a catalogue knows of it.
type Stray struct {
	ObjectID uint64
	Key      string
	Size     int64 // of the object, in bytes
	RangeInfo
}

// Strays are the ranges of an object of size bytes, by its footer.
func (f *Footer) Strays(key string, size int64) []Stray {
	strays := make([]Stray, len(f.Ranges))
	for i := range f.Ranges {
		strays[i] = Stray{ObjectID: f.ObjectID, Key: key, Size: size, RangeInfo: f.Ranges[i]}
	}
	return strays
}

// Commit is what a catalogue is told to take the range as one that the leader of epoch committed.
func (s *Stray) Commit(epoch mq.Epoch) RangeCommit {
	c := s.commit()
	c.LeaderEpoch = epoch
	return c
}

// Gap is where that ends what a catalogue has of a partition, though objects may go on: it was set back to an earlier state, or is made anew
// from a bucket.
type Gap struct {
	Partition mq.PartitionID
	From      mq.Offset       // the catalogue's tiered end
	Start     mq.Offset       // the log start: what lies below it may be missing
	Epochs    mq.EpochHistory // at From, as the catalogue has them
	// Log are the epochs of a replica's log, which holds [LogFirst, LogEnd): what objects have of that must be the same. nil: there is
	// none, or it gives way to the objects.
	Log              mq.EpochHistory
	LogFirst, LogEnd mq.Offset
	// Bounded keeps to what ends within that log.
	Bounded bool
}

// Fill chooses of all ranges of the partition those that the catalogue should commit, in this order, to go on as far as possible. Each begins where the one
// before ends: the first offset of a Stray is moved up to there.
//
// Every object is a true part of the log of its time. But logs part where a leader had less than the one before, as after an unclean election. The same epoch at
// the same offset is the same record, and so is everything below it: of ranges that do not agree with each other those are taken that agree with what is known, and
// then with the newest epoch.
func (g *Gap) Fill(strays []Stray) []Stray {
	var fitting []*Stray
	var newest *Stray
	for i := range strays {
		s := &strays[i]
		if !g.fits(s) {
			continue
		}
		fitting = append(fitting, s)
		if newest == nil || cmp.Or(cmp.Compare(s.lastEpoch(), newest.lastEpoch()), cmp.Compare(s.End, newest.End)) > 0 {
			newest = s
		}
	}
	if newest == nil {
		return nil
	}
	fitting = slices.DeleteFunc(fitting, func(s *Stray) bool {
		return s.End > newest.End || !mq.EpochHistory(s.Epochs).Agrees(newest.Epochs, s.End-1)
	})
	slices.SortFunc(fitting, func(a, b *Stray) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.ObjectID, b.ObjectID))
	})
	return g.chain(fitting)
}

// chain goes on from range to range, each time with the one that reaches furthest; of these the last to begin. They are sorted by where they begin.
func (g *Gap) chain(ranges []*Stray) (chain []Stray) {
	at := g.From
	for next := 0; ; {
		var best *Stray
		for ; next < len(ranges) && ranges[next].First <= max(at, g.Start); next++ {
			if best == nil || ranges[next].End >= best.End {
				best = ranges[next]
			}
		}
		if best == nil || best.End <= at {
			return chain
		}
		link := *best
		link.First = max(link.First, at)
		chain = append(chain, link)
		at = link.End
	}
}

// fits says whether a range can be one of those that follow From.
func (g *Gap) fits(s *Stray) bool {
	if s.Partition != g.Partition || s.End <= g.From || g.Bounded && s.End > g.LogEnd || !g.Epochs.Agrees(s.Epochs, g.From-1) {
		return false
	}
	shared := min(s.End, g.LogEnd) - 1 // the last offset that both have, if any
	return g.Log == nil || shared < max(s.First, g.LogFirst) || g.Log.Agrees(s.Epochs, shared)
}

func (s *Stray) lastEpoch() mq.Epoch { return mq.EpochHistory(s.Epochs).At(s.End - 1) }
