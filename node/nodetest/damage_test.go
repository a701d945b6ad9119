package nodetest

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"

	"github.com/rustmq/rustmq/mq"
)

// TestFlippedBitOfTheLogDoesNotStopTheNode flips one bit of the data log at a
// time, all over it: whatever it hits, the node starts, serves no wrong record, and
// a partition that cannot show all it promised says so.
func TestFlippedBitOfTheLogDoesNotStopTheNode(t *testing.T) {
	t.Run("several segments", func(t *testing.T) { flipEverywhere(t, 100) })
	t.Run("one segment", func(t *testing.T) { flipEverywhere(t, 8) })
}

func flipEverywhere(t *testing.T, records int) {
	base := NewRig(1, t.TempDir())
	defer base.Close()
	base.Config.ObjectStore.FlushAge = 1 << 40 // all of it stays in the log
	base.Config.ObjectStore.FlushSize = 64 << 20
	w := &Workload{Topic: "orders", Partitions: 2, Acks: mq.DurabilityAll}
	n, err := base.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.CreateTopic(t.Context(), n.Broker()); err != nil {
		t.Fatal(err)
	}
	if err := w.Produce(t.Context(), n.Broker(), records, 900); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	flips, found, named := 0, 0, 0
	for _, name := range base.FS.Files("/data/wal") {
		path := name
		if !strings.HasPrefix(path, "/") {
			path = filepath.Join("/data/wal", name)
		}
		data, err := base.FS.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		places := identityPlaces(t, base, data)
		named += len(places)
		for at := 0; at < len(data); at += len(data)/16 | 1 {
			places = append(places, at)
		}
		for _, at := range places {
			flips++
			if flipAndStart(t, base, w, path, int64(at)*8+3) {
				found++
			}
		}
	}
	t.Logf("%d flips, %d quarantined something", flips, found)
	if found == 0 || named == 0 {
		t.Errorf("%d flips were found, %d hit the log's identity: want some of both", found, named)
	}
}

// identityPlaces are those bytes of a segment that say whose log it is: damage to them must not make it anybody else's.
func identityPlaces(t *testing.T, r *Rig, segment []byte) (places []int) {
	t.Helper()
	text, err := r.FS.ReadFile("/data/node.toml")
	if err != nil {
		t.Fatal(err)
	}
	var identity struct {
		Dir mq.DirID `toml:"dir_id"`
	}
	if err := toml.Unmarshal(text, &identity); err != nil {
		t.Fatal(err)
	}
	for from := 0; ; {
		i := bytes.Index(segment[from:], identity.Dir[:])
		if i < 0 {
			return places
		}
		places = append(places, from+i, from+i-20) // the payload, and the header before it
		from += i + 1
	}
}

// flipAndStart starts a copy of the machine with one bit flipped, and says whether a partition was quarantined.
func flipAndStart(t *testing.T, base *Rig, w *Workload, path string, bit int64) (quarantined bool) {
	t.Helper()
	r := base.Clone(uint64(bit))
	defer r.Close()
	if err := r.FS.Flip(path, bit); err != nil {
		t.Fatal(err)
	}
	n, err := r.Start(t.Context())
	if err != nil {
		t.Fatalf("bit %d of %s: the node does not start: %v", bit, path, err)
	}
	defer n.Close(t.Context())
	err = w.Check(t.Context(), n.Broker())
	switch mq.CodeOf(err) {
	case mq.None:
		return false
	case mq.PartitionQuarantined, mq.Corrupt:
		return true
	}
	t.Errorf("bit %d of %s: %v", bit, path, err)
	return false
}
