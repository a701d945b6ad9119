package wal_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

const dir = "/data/wal"

// id is a stream of the tests.
func id(n int) (s wal.StreamID) {
	binary.BigEndian.PutUint32(s[:], uint32(n))
	return s
}

// body is a payload that says what it is, so that one in the wrong place is seen.
func body(stream int, first uint64, size int) []byte {
	b := fmt.Appendf(nil, "stream %d offset %d ", stream, first)
	for len(b) < size {
		b = append(b, byte('a'+len(b)%26))
	}
	return b[:max(size, 1)]
}

// seeded is a random source for salts.
func seeded(seed uint64) io.Reader {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return rand.NewChaCha8(key)
}

func options(fs wal.FS) wal.Options {
	return wal.Options{FS: fs, Dir: dir, SegmentBytes: wal.MinSegmentBytes, PromiseDelay: time.Millisecond, RetryDelay: time.Millisecond, FullDelay: 10 * time.Millisecond, CopyBehind: 1, Rand: seeded(1)}
}

func mustOpen(t testing.TB, o wal.Options) *wal.Log {
	t.Helper()
	l, r, err := wal.Open(o, nil)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	for _, d := range r.Damage {
		t.Errorf("damage: %v", d)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// result is a Done that can be waited for.
type result chan error

func (r result) Appended(err error) { r <- err }

func (r result) wait(t testing.TB) error {
	t.Helper()
	return <-r
}

// add appends without waiting.
func add(t testing.TB, l *wal.Log, e wal.Entry) result {
	t.Helper()
	if e.Type == wal.EntryData {
		if err := l.Reserve(t.Context(), int64(len(e.Payload))); err != nil {
			r := make(result, 1)
			r <- err
			return r
		}
	}
	r := make(result, 1)
	l.Append(e, r)
	return r
}

func data(stream int, first, end uint64, size int) wal.Entry {
	return wal.Entry{Stream: id(stream), Type: wal.EntryData, First: first, End: end, Payload: body(stream, first, size)}
}

func truncate(stream int, to uint64) wal.Entry {
	return wal.Entry{Stream: id(stream), Type: wal.EntryTruncate, First: to, End: to, Payload: []byte("cut")}
}

func reset(stream int, at uint64) wal.Entry {
	return wal.Entry{Stream: id(stream), Type: wal.EntryReset, First: at, End: at}
}

func state(stream int, text string) wal.Entry {
	return wal.Entry{Stream: id(stream), Type: wal.EntryState, Payload: []byte(text)}
}

func mustAdd(t testing.TB, l *wal.Log, e wal.Entry) {
	t.Helper()
	if err := add(t, l, e).wait(t); err != nil {
		t.Fatalf("append %v [%d, %d) to %x: %v", e.Type, e.First, e.End, e.Stream, err)
	}
}

// dumpTo writes a line for each frame.
func dumpTo(fs wal.FS, path string, w io.Writer) error {
	return wal.Frames(fs, path, func(f wal.Frame) error {
		_, err := fmt.Fprintln(w, f)
		return err
	})
}

// contents are the live entries of a stream.
func contents(l *wal.Log, stream wal.StreamID) (list []wal.Entry, err error) {
	first, end, ok := l.Bounds(stream)
	if !ok {
		return nil, nil
	}
	for from := first; from < end; {
		next, err := l.ReadEntries(stream, from, 1<<20, func(e wal.Entry) error {
			e.Payload = bytes.Clone(e.Payload)
			list = append(list, e)
			return nil
		})
		if err != nil {
			return list, err
		}
		from = next
	}
	return list, nil
}

// wantStream checks that a stream holds whole entries from first to end, each
// where it belongs.
func wantStream(t testing.TB, l *wal.Log, stream int, first, end uint64) {
	t.Helper()
	gotFirst, gotEnd, ok := l.Bounds(id(stream))
	if !ok || gotFirst != first || gotEnd != end {
		t.Errorf("stream %d: bounds [%d, %d) %t, want [%d, %d)", stream, gotFirst, gotEnd, ok, first, end)
		return
	}
	list, err := contents(l, id(stream))
	if err != nil {
		t.Errorf("stream %d: %v", stream, err)
		return
	}
	at := first
	for i, e := range list {
		if e.First > at || i > 0 && e.First != at {
			t.Errorf("stream %d: entry [%d, %d), want one at %d", stream, e.First, e.End, at)
		}
		if want := body(stream, e.First, len(e.Payload)); !bytes.Equal(e.Payload, want) {
			t.Errorf("stream %d: entry at %d: payload %.40q, want %.40q", stream, e.First, e.Payload, want)
		}
		at = e.End
	}
	if at != end {
		t.Errorf("stream %d: entries up to %d, want %d", stream, at, end)
	}
}

// until waits for something that the log does by itself, for 10 seconds of
// looking: a machine that stands still is given the time.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for looks := 0; !ok(); looks++ {
		if looks == 100_000 {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(100 * time.Microsecond)
	}
}

func ctx(t testing.TB) context.Context { return t.Context() }

func isCode(err error, c mq.Code) bool { return errors.Is(err, &mq.Error{Code: c}) }

var _ wal.FS = (*crashfs.FS)(nil)

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
