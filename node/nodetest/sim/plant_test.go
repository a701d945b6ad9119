package sim

import (
	"encoding/binary"
	"io"
	"strings"
	"testing"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/wal"
)

// plants are bugs that are planted under or beside the nodes, each with the first seed to look at: within so many of them it must be found.
var plants = []struct {
	name  string
	from  uint64
	seeds uint64
	plant Plant
}{
	{"acknowledged before the sync", 1, 5, Plant{Disk: func(d wal.FS) wal.FS { return lyingDisk{FS: d, below: "/data/wal/"} }}},
	{"raft's state is not persisted", 1, 5, Plant{Disk: func(d wal.FS) wal.FS { return lyingDisk{FS: d, below: "/data/raft/"} }}},
	{"names are not persisted", 1, 5, Plant{Disk: func(d wal.FS) wal.FS { return forgetful{d} }}},
	{"a new run is not told from the last one", 1, 10, Plant{Random: func(r io.Reader) io.Reader { return sameAgain{r} }}},
	{"who sent a batch is forgotten", 1, 5, Plant{Client: []client.Option{client.Idempotent(false)}}},
}

// TestPlantedBugsAreFound shows that the simulation finds what it is for.
func TestPlantedBugsAreFound(t *testing.T) {
	if testing.Short() {
		t.Skip("each is a run or more of a whole cluster")
	}
	for _, p := range plants {
		t.Run(strings.ReplaceAll(p.name, " ", "-"), func(t *testing.T) {
			for s := p.from; s < p.from+p.seeds; s++ {
				result, err := simulate(t, Config{Seed: s, Plant: p.plant})
				if err != nil {
					t.Logf("seed %d: %v", s, err)
					return
				}
				if len(result.Anomalies) > 0 {
					t.Logf("seed %d: %d anomalies, such as %s", s, len(result.Anomalies), result.Anomalies[0])
					return
				}
			}
			t.Errorf("not found within %d seeds", p.seeds)
		})
	}
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
