package tier

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier/faultstore"
)

func testCheckpoint() *Checkpoint {
	return &Checkpoint{
		Cluster: mq.ClusterID{1, 2, 3}, Node: 4, Index: 1<<40 + 7, Term: 9, Written: 1_700_000_000_000,
		Parts: []CheckpointPart{{checkpointPartBytes, 0xdeadbeef}, {17, 1}},
	}
}

func TestCheckpointManifestIsAsItWas(t *testing.T) {
	const file = "testdata/checkpoint.golden.hex"
	got := testCheckpoint().encode()
	if *update {
		if err := os.WriteFile(file, []byte(hex.Dump(got)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || hex.Dump(got) != string(want) {
		t.Errorf("%v; got\n%s", err, hex.Dump(got))
	}
	back, err := decodeCheckpoint(got)
	if err != nil || !bytes.Equal(back.encode(), got) {
		t.Errorf("%+v, %v", back, err)
	}
	for i := range got {
		spoilt := slices.Clone(got)
		spoilt[i] ^= 0x10
		if _, err := decodeCheckpoint(spoilt); mq.CodeOf(err) != mq.Corrupt && mq.CodeOf(err) != mq.UnsupportedVersion {
			t.Errorf("byte %d is another one: %v", i, err)
		}
		if _, err := decodeCheckpoint(got[:i]); mq.CodeOf(err) != mq.Corrupt {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
}

func FuzzCheckpoint(f *testing.F) {
	f.Add(testCheckpoint().encode())
	f.Add((&Checkpoint{}).encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := decodeCheckpoint(data); err == nil && !bytes.Equal(c.encode(), data) {
			t.Errorf("%x: %+v", data, c)
		}
	})
}

// write makes a checkpoint of so many bytes.
func writeCheckpoint(t *testing.T, s *Store, index uint64, size int) ([]byte, error) {
	t.Helper()
	data := make([]byte, size)
	chance := rand.New(rand.NewPCG(index, 1))
	for i := range data {
		data[i] = byte(chance.Uint32())
	}
	c := &Checkpoint{Cluster: mq.ClusterID{1}, Node: 1, Index: index, Term: 1}
	return data, WriteCheckpoint(t.Context(), s, "p/", c, bytes.NewReader(data))
}

func TestCheckpointIsReadBackAndOldOnesGo(t *testing.T) {
	faults := faultstore.New()
	s := NewStore(faults.Bucket(), Limits{})
	if newest, err := NewestCheckpoint(t.Context(), s, "p/"); newest != nil || err != nil {
		t.Fatal(newest, err)
	}
	for i, size := range []int{0, 1, checkpointPartBytes, checkpointPartBytes + 1} {
		data, err := writeCheckpoint(t, s, uint64(i+1)*100, size)
		if err != nil {
			t.Fatal(err)
		}
		c, err := NewestCheckpoint(t.Context(), s, "p/")
		if err != nil || c.Index != uint64(i+1)*100 || c.Bytes() != int64(size) {
			t.Fatalf("%+v, %v", c, err)
		}
		if back, err := io.ReadAll(c.Open(t.Context(), s)); err != nil || !bytes.Equal(back, data) {
			t.Fatalf("%d bytes: %d came back, %v", size, len(back), err)
		}
	}
	if err := TrimCheckpoints(t.Context(), s, "p/", 2); err != nil {
		t.Fatal(err)
	}
	found, rest, err := ListCheckpoints(t.Context(), s, "p/")
	if err != nil || len(found) != 2 || found[0].Index != 300 || len(rest) != 0 || len(faults.Keys()) != 2+3 {
		t.Errorf("%v, %v, %v: %v", found, rest, err, faults.Keys())
	}
	c := found[1]
	if err := c.Load(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	faults.Flip(c.part(1), 3)
	if _, err := io.ReadAll(c.Open(t.Context(), s)); mq.CodeOf(err) != mq.Corrupt || !strings.Contains(err.Error(), c.part(1)) {
		t.Errorf("a part is damaged: %v", err)
	}
	faults.Flip(c.Key, 9)
	if err := c.Load(t.Context(), s); mq.CodeOf(err) != mq.Corrupt || !strings.Contains(err.Error(), c.Key) {
		t.Errorf("the manifest is damaged: %v", err)
	}
}

// Wherever writing fails there is no checkpoint, or a whole one; and what is left of it goes with the next one.
func TestCheckpointIsWholeOrNotThere(t *testing.T) {
	for fail := 0; ; fail++ {
		faults := faultstore.New()
		s := NewStore(faults.Bucket(), Limits{})
		if _, err := writeCheckpoint(t, s, 1, 10); err != nil {
			t.Fatal(err)
		}
		writes := 0
		faults.SetHook(func(op faultstore.Op) (f faultstore.Fault) {
			if op.Kind == faultstore.Write {
				if writes++; writes > fail {
					f.Before = errors.New("away")
				}
			}
			return f
		})
		_, err := writeCheckpoint(t, s, 2, 2*checkpointPartBytes)
		faults.SetHook(nil)
		newest, listed := NewestCheckpoint(t.Context(), s, "p/")
		if listed != nil {
			t.Fatal(listed)
		}
		if _, readable := io.ReadAll(newest.Open(t.Context(), s)); readable != nil || (newest.Index == 2) != (err == nil) {
			t.Fatalf("after %d writes: the newest is %+v, %v", fail, newest, readable)
		}
		if err == nil {
			return
		}
		if _, err := writeCheckpoint(t, s, 3, 10); err != nil {
			t.Fatal(err)
		}
		if err := TrimCheckpoints(t.Context(), s, "p/", 1); err != nil {
			t.Fatal(err)
		}
		for _, key := range faults.Keys() {
			if !strings.HasPrefix(path.Base(path.Dir(key)), "0000000000000003-") {
				t.Errorf("after %d writes: %s is left", fail, key)
			}
		}
	}
}

// What is above the newest checkpoint may be on its way from another controller.
func TestCheckpointOnItsWayIsNotTrimmed(t *testing.T) {
	faults := faultstore.New()
	s := NewStore(faults.Bucket(), Limits{})
	if _, err := writeCheckpoint(t, s, 5, 10); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"p/meta/0000000000000006-x/000000.part", "p/meta/0000000000000005-x/000000.part", "p/meta/other/000000.part", "p/objects/x"} {
		if err := s.Put(t.Context(), key, []byte("x"), checksum([]byte("x"))); err != nil {
			t.Fatal(err)
		}
	}
	before := len(faults.Keys())
	if err := TrimCheckpoints(t.Context(), s, "p/", 1); err != nil {
		t.Fatal(err)
	}
	if after := len(faults.Keys()); after != before {
		t.Errorf("%v are left", faults.Keys())
	}
}

func TestDeletingAgainIsNoErrorAndTroubleIsNone(t *testing.T) {
	faults := faultstore.New()
	s := NewStore(faults.Bucket(), Limits{})
	keys := []string{"a", "b", "c", "gone"}
	for _, key := range keys[:3] {
		if err := s.Put(t.Context(), key, []byte("x"), checksum([]byte("x"))); err != nil {
			t.Fatal(err)
		}
	}
	faults.SetHook(func(op faultstore.Op) (f faultstore.Fault) {
		switch {
		case op.Kind != faultstore.Delete:
		case op.Key == "b":
			f.Before = errors.New("away")
		case op.Key == "c":
			f.After = errors.New("the reply was lost") // and then there is nothing to delete
		}
		return f
	})
	for i, err := range DeleteObjects(t.Context(), s, keys) {
		if (err != nil) != (keys[i] == "b") {
			t.Errorf("%s: %v", keys[i], err)
		}
	}
	faults.SetHook(nil)
	if err := errors.Join(DeleteObjects(t.Context(), s, keys)...); err != nil || len(faults.Keys()) != 0 {
		t.Errorf("%v, left %v", err, faults.Keys())
	}
}

func TestKeysSayTheirIDs(t *testing.T) {
	key := objectKey("p/", 0x123456)
	if id, ok := KeyID("p/", key); !ok || id != 0x123456 || !Holds("p/", key) || Holds("q/", key) {
		t.Errorf("%s: %x, %v", key, id, ok)
	}
	for _, other := range []string{"", "p/", "p/objects/", "q/" + key, strings.TrimSuffix(key, ".rmq"), strings.Replace(key, "0000000000123456", "123456", 1), "p/meta/" + path.Base(key)} {
		if id, ok := KeyID("p/", other); ok {
			t.Errorf("%q: %x", other, id)
		}
	}
}
