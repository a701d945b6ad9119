package wal

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"github.com/rustmq/rustmq/mq"
)

// FuzzFrame: a header that is taken for one says the same when it is written
// again, and what is in the log's own frames too.
func FuzzFrame(f *testing.F) {
	var b [headerSize]byte
	h := header{kind: EntryData, seq: 7, first: 9, count: 2, length: 5, promised: 8192, prevTag: 3, prevSize: 128}
	h.encode(b[:], 1, 8192)
	f.Add(b[:], uint32(1), uint32(8192))
	f.Add(encodeCheckpoint(3, []streamRecord{
		{id: StreamID{1}, seq: 4, first: 2, end: 9, started: true, state: &Entry{Stream: StreamID{1}, Type: EntryState, First: 1, End: 2, Payload: []byte("state")}},
		{id: StreamID{2}, bad: &quarantine{segment: 1, pos: 8, from: 3, to: 4, reason: "rot", stateLost: true}},
	})[0], uint32(0), uint32(0))
	f.Add(encodeSeal([]sealRecord{{id: StreamID{3}, seq: 1, end: 2}})[0], uint32(0), uint32(0))
	f.Add(encodeFree([]freeRecord{{id: StreamID{3}, first: 2}})[0], uint32(0), uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, seed, pos uint32) {
		var h header
		if h.decode(b, seed, int64(pos)) {
			var again [headerSize]byte
			h.encode(again[:], seed, int64(pos))
			if !bytes.Equal(again[:], b[:headerSize]) {
				t.Errorf("%x read and written is %x", b, again)
			}
		}
		want, there := firstHeader(b, seed, int64(pos))
		if i, _, ok := findHeader(b, seed, int64(pos)); i != want || ok != there {
			t.Errorf("found a header at %d, %t; want %d, %t", i, ok, want, there)
		}
		if oldest, list, err := decodeCheckpoint(b); err == nil && len(b) < chunkBytes {
			if again := encodeCheckpoint(oldest, list)[0]; !bytes.Equal(again, b) && !lenient(list) {
				t.Errorf("checkpoint %x read and written is %x", b, again)
			}
		}
		if list, err := decodeSeal(b); err == nil && len(b) < chunkBytes && !bytes.Equal(encodeSeal(list)[0], b) {
			t.Errorf("seal %x", b)
		}
		if list, err := decodeFree(b); err == nil && len(b) < chunkBytes && !bytes.Equal(encodeFree(list)[0], b) {
			t.Errorf("free %x", b)
		}
		_, _, _ = decodeSegmentHead(b, uint64(seed))
	})
}

// lenient is for records whose flags can say one thing in two ways.
func lenient(list []streamRecord) bool {
	for _, r := range list {
		if r.bad == nil {
			return true
		}
	}
	return false
}

// reseal gives a changed segment header the right checksum.
func reseal(b []byte) {
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b[12:segmentHeader], castagnoli))
}

func TestReservedBitsOfASegmentHeaderAreUnsupported(t *testing.T) {
	var b [segmentHeader]byte
	segmentHead{id: 1}.encode(b[:])
	for _, at := range []int{12, 16, 48} { // version, features, reserved
		future := b
		binary.LittleEndian.PutUint32(future[at:], 1<<8)
		reseal(future[:])
		if _, _, err := decodeSegmentHead(future[:], 1); mq.CodeOf(err) != mq.UnsupportedVersion {
			t.Errorf("a header of the future, changed at %d: %v", at, err)
		}
	}
}

// firstHeader is findHeader by looking at every position.
func firstHeader(b []byte, seed uint32, pos int64) (i int, ok bool) {
	var h header
	for ; i+headerSize <= len(b); i += frameAlign {
		if h.decode(b[i:], seed, pos+int64(i)) {
			return i, true
		}
	}
	return i, false
}

// The search for a header finds what looking at every position finds, wherever marks stand that are none.
func TestHeaderIsFoundAmongMarks(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	const seed, pos = 99, 8 * 1001
	for range 20_000 {
		b := make([]byte, rng.IntN(6*headerSize))
		for i := range b {
			b[i] = []byte{0, frameMark & 0xFF, frameMark >> 8, byte(rng.Uint32())}[rng.IntN(4)]
		}
		for n := rng.IntN(3); n > 0 && len(b) >= headerSize; n-- {
			at := rng.IntN((len(b)-headerSize)/frameAlign+1) * frameAlign
			h := header{kind: EntryData, length: rng.Uint32()}
			h.encode(b[at:], seed, pos+int64(at))
		}
		want, ok := firstHeader(b, seed, pos)
		if i, _, found := findHeader(b, seed, pos); i != want || found != ok {
			t.Fatalf("%x: found at %d, %t; want %d, %t", b, i, found, want, ok)
		}
	}
}
