package node

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rustmq/rustmq/broker"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/tier"
)

const (
	// regainLook is how often it is looked whether the object index ends below what a log has let go of.
	regainLook = time.Second
	// regainRetry is the pause after a search that failed.
	regainRetry = 5 * time.Second
	// regainPause is the pause after a search that did not fill every gap: it reads the footers of all objects of before the recovery.
	regainPause = time.Minute
	// regainWithin is how long a partition waits for a search before it is led without: the store may be away.
	regainWithin = 30 * time.Second
	// maxStrays bounds the ranges that a search keeps, some 200 bytes each. What is beyond is for the next one.
	maxStrays = 1 << 20
)

// regain makes ranges of objects part of their partitions again that only controllers knew of which were lost: after a recovery from a lost majority the object index
// may end below what logs have let go of, though the bytes are in the bucket. Each leader does that for what it leads. One goroutine (run) searches and commits; anyone may ask.
type regain struct {
	node        mq.NodeID
	cluster     cluster
	catalog     tier.Catalog
	store       *tier.Store
	prefix      string // of the keys of objects
	commitBytes int64  // RangeCommit.Size in one commit: that of one range more may come in addition
	table       func() *broker.Table
	logger      *slog.Logger

	regained atomic.Int64        // ranges
	spoilt   map[uint64]struct{} // objects that the controllers refuse for good; of run only

	mu    sync.Mutex
	asked map[mq.PartitionID]*search
	// ends is up to where objects of before the last recovery have anything of each partition, found when surveyed was the generation. No such object comes any more, but of what brokers
	// were uploading at the time.
	ends     map[mq.PartitionID]mq.Offset
	surveyed uint64
}

// search is what is wanted of one partition.
type search struct {
	epoch    mq.Epoch  // of the leader that asked
	gap      tier.Gap  // without what only the controllers know
	needed   mq.Offset // the log does not have what lies below
	since    time.Time
	searched bool // since it was asked the bucket was looked through, and what was found is committed
	seen     bool // it was asked for, or seen twice: no race
	told     bool // that it is not filled
}

func (r *regain) setUp() {
	r.spoilt, r.asked = make(map[uint64]struct{}), make(map[mq.PartitionID]*search)
}

// ask has the bucket searched for what goes on where the index of a partition ends, at tiered, that this node leads, or is about to, in epoch. searched says that this was
// done. late says that it takes too long to wait for; it goes on. It is to be asked again until then.
func (r *regain) ask(id mq.PartitionID, epoch mq.Epoch, tiered mq.Offset, gap tier.Gap) (searched, late bool) {
	generation := r.cluster.Image().Generation()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.surveyed == generation && r.ends[id] <= tiered {
		return true, false // as always where no controllers were ever lost
	}
	s := r.asked[id]
	if s == nil || s.epoch != epoch {
		gap.Partition = id
		s = &search{epoch: epoch, gap: gap, needed: gap.LogFirst, since: time.Now(), seen: true}
		r.asked[id] = s
	}
	return s.searched, time.Since(s.since) > regainWithin
}

// gaps says for each partition that lacks something on this node what that is.
func (r *regain) gaps() map[mq.PartitionID]error {
	img := r.cluster.Image()
	out := make(map[mq.PartitionID]error)
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, s := range r.asked {
		if p := img.Partition(id); p != nil && s.seen && p.TieredEnd < s.needed {
			out[id] = mq.Errorf(mq.ObjectStoreUnavailable, "partition %s: the object index ends at %d, and the log had let go of what lies below %d: what lost controllers had committed is looked for",
				id, p.TieredEnd, s.needed)
		}
	}
	return out
}

// run searches when somebody asks, and when what is led here has a gap, until ctx ends; and once in each generation, so that who asks need not wait.
func (r *regain) run(ctx context.Context) {
	ticker := time.NewTicker(regainLook)
	defer ticker.Stop()
	var hold, next time.Time
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		jobs, fresh := r.look()
		if now := time.Now(); now.Before(hold) || !fresh && (len(jobs) == 0 || now.Before(next)) {
			continue
		}
		refused, err := r.search(ctx, jobs)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			r.logger.Warn("what lost controllers had committed cannot be looked for: it is tried again", "partitions", len(jobs), "error", err)
			hold = time.Now().Add(regainRetry)
			continue
		}
		next = time.Now().Add(regainPause)
		r.settle(jobs, refused)
	}
}

// job is a search that is made.
type job struct {
	asked *search
	gap   tier.Gap
}

// look finds what is to be searched for. fresh says that some of it never was, or nothing in this generation.
func (r *regain) look() (jobs map[mq.PartitionID]*job, fresh bool) {
	parts := r.table().All()
	r.mu.Lock()
	defer r.mu.Unlock()
	jobs = make(map[mq.PartitionID]*job)
	img := r.cluster.Image()
	if img.Generation() == 0 {
		return jobs, false // no controllers were ever lost: an image that is behind is all that there can be
	}
	for id, part := range parts {
		r.lookAt(id, part)
	}
	fresh = r.surveyed != img.Generation()
	for id, s := range r.asked {
		p := img.Partition(id)
		if p == nil || p.Leader != r.node || p.LeaderEpoch != s.epoch {
			delete(r.asked, id) // who leads now looks for itself
			continue
		}
		if s.seen && (!s.searched || p.TieredEnd < s.needed) {
			jobs[id], fresh = &job{s, s.gap}, fresh || !s.searched
		}
	}
	return jobs, fresh
}

// lookAt notes a partition that is led here and has more in the object store, by what it was told, than the index has. The caller holds mu.
func (r *regain) lookAt(id mq.PartitionID, part *partition.Partition) {
	epoch := part.LeaderEpoch()
	_, high, _, tiered := part.Offsets()
	p := r.cluster.Image().Partition(id) // not before the marks were read
	if epoch == mq.NoEpoch || p == nil || p.LeaderEpoch != epoch || p.TieredEnd >= tiered {
		return
	}
	s := r.asked[id]
	if s == nil || s.epoch != epoch || s.needed < tiered {
		s = &search{epoch: epoch, since: time.Now(), needed: tiered}
		r.asked[id] = s
	} else {
		s.seen = true
	}
	s.gap = tier.Gap{Partition: id, Log: part.Epochs(), LogEnd: high, Bounded: true}
}

// settle notes that these were searched for, and says what was not found. Of those that were refused something another search is to find out what there is.
func (r *regain) settle(jobs map[mq.PartitionID]*job, refused map[mq.PartitionID]bool) {
	img := r.cluster.Image()
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, j := range jobs {
		if refused[id] {
			continue
		}
		s, p := j.asked, img.Partition(id)
		s.searched = true
		if p != nil && p.TieredEnd < s.needed && !s.told {
			s.told = true
			r.logger.Error("records that lost controllers had committed are not in the object store: they cannot be read", "partition", id.String(),
				"from", int64(p.TieredEnd), "to", int64(s.needed))
		}
	}
}

// search looks through the bucket for what fills gaps, and commits it. refused are the partitions of which the controllers did not take something, as when another leader epoch
// has begun.
func (r *regain) search(ctx context.Context, jobs map[mq.PartitionID]*job) (refused map[mq.PartitionID]bool, err error) {
	img := r.cluster.Image()
	for id, j := range jobs {
		c, _, err := r.cluster.Checkpoint(ctx, id)
		if err != nil {
			return nil, mq.Wrapf(err, "look up the checkpoint of partition %s", id)
		}
		j.gap.From, j.gap.Epochs = c.End, c.Epochs
		if p := img.Partition(id); p != nil {
			j.gap.Start = p.LogStart
		}
	}
	found, ends, err := r.survey(ctx, img.Generation(), jobs)
	if err != nil {
		return nil, err
	}
	chains := make(map[mq.PartitionID][]tier.Stray)
	for id, strays := range found {
		if chain := jobs[id].gap.Fill(strays); len(chain) > 0 {
			chains[id] = chain
			r.logger.Info("the object store has records that lost controllers had committed: they are part of the partition again", "partition", id.String(),
				"from", int64(jobs[id].gap.From), "to", int64(chain[len(chain)-1].End), "ranges", len(chain))
		}
	}
	if refused, err = r.commit(ctx, chains); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ends, r.surveyed = ends, img.Generation()
	return refused, nil
}

// survey reads the footers of all objects of earlier generations: what they have behind the gaps, and where they end.
func (r *regain) survey(ctx context.Context, generation uint64, jobs map[mq.PartitionID]*job) (
	found map[mq.PartitionID][]tier.Stray, ends map[mq.PartitionID]mq.Offset, err error,
) {
	found, ends = make(map[mq.PartitionID][]tier.Stray), make(map[mq.PartitionID]mq.Offset)
	if generation == 0 {
		return found, ends, nil // no controllers were ever lost
	}
	earlier := func(id uint64) bool {
		_, spoilt := r.spoilt[id]
		return !spoilt && metadata.ObjectGeneration(id) < generation
	}
	kept := 0
	err = tier.Survey(ctx, r.store, r.prefix, r.logger, earlier, func(strays []tier.Stray) {
		for _, s := range strays {
			ends[s.Partition] = max(ends[s.Partition], s.End)
			if j := jobs[s.Partition]; j != nil && s.End > j.gap.From && kept < maxStrays {
				found[s.Partition] = append(found[s.Partition], s)
				kept++
			}
		}
	})
	return found, ends, err
}

// commit has chains of ranges committed. refused are the partitions of which one was not taken.
func (r *regain) commit(ctx context.Context, chains map[mq.PartitionID][]tier.Stray) (refused map[mq.PartitionID]bool, err error) {
	refused = make(map[mq.PartitionID]bool)
	err = commitStrays(chains, func(strays []tier.Stray) (map[mq.PartitionID]bool, error) {
		if err := tier.FillStates(ctx, r.store, strays); err != nil {
			return nil, err
		}
		accepted, err := r.commitOf(ctx, strays)
		for i := range strays {
			refused[strays[i].Partition] = !accepted[strays[i].Partition]
		}
		return accepted, err
	})
	return refused, err
}

// commitOf commits ranges of one object, of those that are led here.
func (r *regain) commitOf(ctx context.Context, strays []tier.Stray) (accepted map[mq.PartitionID]bool, err error) {
	accepted = make(map[mq.PartitionID]bool)
	object, size := tier.ObjectCommit{ID: strays[0].ObjectID, Key: strays[0].Key, Size: strays[0].Size}, int64(0)
	img := r.cluster.Image()
	for i := range strays {
		p := img.Partition(strays[i].Partition)
		if p != nil && p.Leader == r.node {
			c := strays[i].Commit(p.LeaderEpoch)
			object.Ranges = append(object.Ranges, c)
			size += c.Size()
		}
		if len(object.Ranges) > 0 && (size >= r.commitBytes || i == len(strays)-1) {
			if err := r.propose(ctx, object, accepted); err != nil {
				return nil, err
			}
			object.Ranges, size = nil, 0
		}
	}
	return accepted, nil
}

// propose has the controllers decide on ranges of an object, and notes which they took.
func (r *regain) propose(ctx context.Context, object tier.ObjectCommit, accepted map[mq.PartitionID]bool) error {
	verdicts, err := r.catalog.CommitObject(ctx, object)
	if mq.CodeOf(err) == mq.InvalidRequest {
		r.logger.Warn("an object with records that lost controllers had committed cannot be taken back", "object", object.Key, "error", err)
		r.spoilt[object.ID] = struct{}{}
		return nil
	}
	if err != nil {
		return err
	}
	for i, verdict := range verdicts {
		c := object.Ranges[i]
		if verdict != nil {
			r.logger.Warn("a range that lost controllers had committed was refused", "object", object.Key, "partition", c.Partition.String(), "error", verdict)
			continue
		}
		accepted[c.Partition] = true
		r.regained.Add(1)
	}
	return nil
}
