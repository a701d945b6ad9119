package sim

import (
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/history"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/wal"
)

// plants are bugs that are planted under or beside the nodes, each with the first seed to look at: within so many of them it must be found.
var plants = []struct {
	name  string
	from  uint64
	seeds uint64
	plant Plant
	as    string      // the kind of anomaly that it must be found as; "": any
	only  func(*harm) // what brings it out; nil: any fault
}{
	{"acknowledged before the sync", 1, 20, Plant{Disk: func(d wal.FS) wal.FS { return lyingDisk{FS: d, below: "/data/wal/"} }}, "", nil},
	{"raft's state is not persisted", 1, 20, Plant{Disk: func(d wal.FS) wal.FS { return lyingDisk{FS: d, below: "/data/raft/"} }}, "", nil},
	{"names are not persisted", 1, 20, Plant{Disk: func(d wal.FS) wal.FS { return forgetful{d} }}, "", nil},
	{"a new run is not told from the last one", 1, 20, Plant{Random: func(r io.Reader) io.Reader { return sameAgain{r} }}, "", nil},
	{"who sent a batch is forgotten", 1, 20, Plant{Client: []client.Option{client.Idempotent(false)}}, "", nil},
	{"readers see what is above the watermark", 1, 20, Plant{Partition: partition.Planted{ReadsUncommitted: true}}, "above", nil},
	{"leases are measured by the wall clock", 1, 20, Plant{WallLease: true}, "zombie", loneAndSetBack},
}

// TestPlantedBugsAreFound shows that the simulation finds what it is for.
func TestPlantedBugsAreFound(t *testing.T) {
	if testing.Short() {
		t.Skip("each is a run or more of a whole cluster")
	}
	for _, p := range plants {
		t.Run(strings.ReplaceAll(p.name, " ", "-"), func(t *testing.T) {
			for s := p.from; s < p.from+p.seeds; s++ {
				result, err := simulate(t, Config{Seed: s, Plant: p.plant, only: p.only})
				if err != nil && p.as == "" {
					t.Logf("seed %d: %v", s, err)
					return
				}
				if err != nil {
					continue
				}
				if i := slices.IndexFunc(result.Anomalies, func(a history.Anomaly) bool { return p.as == "" || a.Kind == p.as }); i >= 0 {
					t.Logf("seed %d: %d anomalies, such as %s", s, len(result.Anomalies), result.Anomalies[i])
					return
				}
			}
			t.Errorf("not found within %d seeds", p.seeds)
		})
	}
}

// loneAndSetBack has one node at a time hear of no other, and its wall clock set back meanwhile.
func loneAndSetBack(h *harm) {
	if len(h.heals) > 0 {
		return
	}
	m := h.machines[h.rand.IntN(len(h.machines))]
	var ways []way
	for _, other := range h.machines {
		if other != m {
			ways = append(ways, way{m.id, other.id}, way{other.id, m.id})
		}
	}
	h.event("node %d is alone, and its clock is set back", m.id)
	h.blockFor(2*faultAtMost, ways...)
	m.wall.Add(-int64(setAtMost))
}

// lyingDisk says of the files below a directory that they are synced, and does nothing.
type lyingDisk struct {
	wal.FS
	below string
}

func (d lyingDisk) lie(path string, f wal.File, err error) (wal.File, error) {
	if err != nil || !strings.HasPrefix(path, d.below) {
		return f, err
	}
	return unsynced{f}, nil
}

// Create implements wal.FS.
func (d lyingDisk) Create(path string) (wal.File, error) {
	f, err := d.FS.Create(path)
	return d.lie(path, f, err)
}

// Open implements wal.FS.
func (d lyingDisk) Open(path string) (wal.File, error) {
	f, err := d.FS.Open(path)
	return d.lie(path, f, err)
}

type unsynced struct{ wal.File }

// Sync implements wal.File.
func (unsynced) Sync() error { return nil }

// forgetful is a disk that keeps no names.
type forgetful struct{ wal.FS }

// SyncDir implements wal.FS.
func (forgetful) SyncDir(string) error { return nil }

// sameAgain draws the same number each time that it is asked for as much as an incarnation has.
type sameAgain struct{ io.Reader }

// Read implements io.Reader.
func (s sameAgain) Read(p []byte) (int, error) {
	if len(p) == 8 {
		binary.BigEndian.PutUint64(p, 7)
		return len(p), nil
	}
	return s.Reader.Read(p)
}
