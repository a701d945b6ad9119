package tier

import (
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// TestSeededFaults lets everything fail in every way, for a while, and then
// looks at what is there.
func TestSeededFaults(t *testing.T) { throughSeeds(t, 60, 10, 0, seededFaults) }

func seededFaults(t *testing.T, seed uint64, d *dice) {
	r := newRig(t, 6)
	r.store.NoMD5 = seed%3 == 0
	delay := func() time.Duration { return time.Duration(d.draw(3000)) * time.Millisecond }
	r.fail(d, 15, 10)
	start := func() {
		r.start(func(c *UploaderConfig) {
			c.FlushAge, c.FlushBytes, c.Concurrency = 2*time.Second, 8<<10, 1+int(seed%4)
		})
	}
	start()
	for i := range 400 {
		n := d.draw(len(r.sources))
		values := make([][]byte, 1+d.draw(5))
		for j := range values {
			values[j] = value(i + j)
		}
		r.append(n, values...)
		time.Sleep(delay() / 10)
		switch {
		case d.chance(1): // another leader, then this one again, with a new epoch; the old uploads are fenced
			s := r.sources[n]
			epoch := s.LeaderEpoch() + 1
			r.catalog.setEpoch(s.id, epoch)
			time.Sleep(delay())
			s.setEpoch(epoch)
			r.up.Notify(s)
		case d.chance(1): // the broker restarts
			r.up.Close()
			for _, s := range r.sources {
				s.tiered = r.catalog.tieredEnd(s.id)
			}
			start()
		}
	}
	r.heal()
	time.Sleep(30 * time.Second) // what is late comes, and holds end
	if err := r.up.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	r.up.Close()
	r.checkAll()
	// Whatever is whole in the store is true, and what was committed is whole.
	committed := map[string]bool{}
	for _, list := range r.catalog.ranges {
		var end mq.Offset
		for _, g := range list {
			if g.First != end {
				t.Errorf("%s: range from %d after %d", g.Partition, g.First, end)
			}
			end = g.End
			committed[g.Key] = true
		}
	}
	for _, key := range r.store.Keys() {
		if !committed[key] {
			if report := must[Report](t)(Check(inMemory(r.store.Content(key)))); len(report.Damage) > 0 {
				r.store.Remove(key) // half an upload that nobody committed
			}
		}
	}
	r.checkObjects()
}

// TestCrashAtEveryStep stops the uploader at each call of the store and the
// catalogue, before it and after it, and starts another.
func TestCrashAtEveryStep(t *testing.T) { crashEverywhere(t, 8, crashes) }

func crashes(t *testing.T, c *crash) {
	r := newRig(t, 3)
	var first *Uploader
	c.begin(r, func() func() {
		first = r.start(nil)
		return first.cancel
	})
	for i := range 30 {
		r.append(i%3, make([]byte, 2000))
	}
	time.Sleep(11 * time.Second)
	for i := range 6 {
		r.append(i%3, value(i))
	}
	time.Sleep(11 * time.Second)
	first.Close()
	r.heal()
	for _, s := range r.sources {
		// Released is only what is committed; a new leader begins at that.
		end := r.catalog.tieredEnd(s.id)
		if s.tiered > end {
			t.Errorf("step %d: %s released up to %d, committed up to %d", c.cut, s.id, s.tiered, end)
		}
		s.tiered = end
	}
	r.start(nil)
	defer r.up.Close()
	if err := r.up.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	r.checkAll()
	r.checkObjects()
}
