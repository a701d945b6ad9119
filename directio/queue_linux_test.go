package directio

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

func TestQueueReadsAllPieces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	want := make([]byte, 100*Align)
	for i := range want {
		want[i] = byte(rand.Uint32())
	}
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	// Without direct I/O the system reads while it takes the request, and all else is the same.
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var q Queue
	for _, n := range []int{1, 2, queueDepth, 2*queueDepth + 5} {
		pieces := make([]Piece, n)
		for i := range pieces {
			at := int64((i * 7) % 99 * Align)
			pieces[i] = Piece{Bytes: make([]byte, 2*Align), At: at, N: 1}
		}
		pieces[n/2].At = int64(len(want) - Align) // its second half lies behind the end
		if !q.Read(f.Fd(), pieces) {
			t.Log("the system of the test does not read many pieces at once")
			return
		}
		for i, p := range pieces {
			got := min(2*Align, len(want)-int(p.At))
			if p.N != got || !bytes.Equal(p.Bytes[:got], want[p.At:][:got]) {
				t.Errorf("piece %d of %d at %d: %d bytes were read, or others", i, n, p.At, p.N)
			}
		}
	}
}

func TestQueueSurvivesPiecesThatCannotBeRead(t *testing.T) {
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "f"), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var q Queue
	for range 3 {
		pieces := []Piece{{Bytes: make([]byte, Align), N: 1}, {Bytes: make([]byte, Align), At: Align, N: 1}}
		if q.Read(f.Fd(), pieces) && (pieces[0].N != 0 || pieces[1].N != 0) {
			t.Fatalf("%d and %d bytes of a file that is open for writing only", pieces[0].N, pieces[1].N)
		}
	}
}
