package wal_test

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// openFuzzed opens a log with a first segment of these bytes, and reads all of it.
func openFuzzed(t *testing.T, segment []byte) error {
	fs := crashfs.New(1)
	fs.WriteFile(filepath.Join(dir, "0000000000000001.wal"), segment)
	if _, err := wal.Check(fs, dir); mq.CodeOf(err) == mq.Unknown {
		t.Errorf("check: %v", err)
	}
	l, _, err := wal.Open(options(fs), func(wal.Entry) error { return nil })
	if err != nil {
		if mq.CodeOf(err) == mq.Unknown {
			t.Errorf("open: %v", err)
		}
		return err
	}
	for _, s := range l.Streams() {
		from, end, _ := l.Bounds(s)
		for from < end {
			next, err := l.ReadEntries(s, from, 1<<20, func(e wal.Entry) error {
				if e.First > from || e.End <= from || e.End > end {
					t.Errorf("read [%d, %d) at %d of %d", e.First, e.End, from, end)
				}
				from = e.End
				return nil
			})
			if err != nil {
				break
			}
			from = next
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	return nil
}

// FuzzOpen: a file of any bytes is opened or refused, and nothing else.
func FuzzOpen(f *testing.F) {
	f.Add([]byte("RUSTMQWL"), uint16(0))
	f.Add(bytes.Repeat([]byte{0x57, 0x52}, 500), uint16(8192))
	f.Fuzz(func(t *testing.T, b []byte, at uint16) {
		var frames []wal.MadeFrame
		for i := range uint64(8) {
			frames = append(frames, wal.MadeFrame{Kind: wal.EntryData, Stream: id(int(i % 2)), Seq: uint32(i/2 + 1), First: i / 2, End: i/2 + 1, Promised: 8192, Payload: []byte("some payload")})
		}
		whole := wal.MakeSegment(frames)
		copy(whole[min(int(at), len(whole)):], b)
		_ = openFuzzed(t, whole)
		_ = openFuzzed(t, b)
	})
}

// FuzzReplay: frames with right checksums that say anything are no reason to
// panic, to loop, or to read what is not there.
func FuzzReplay(f *testing.F) {
	f.Add([]byte{1, 0, 1, 0, 5, 0, 0, 1, 0, 2, 5, 1, 0, 0, 2, 0, 3, 3, 0, 0, 0, 66, 1, 1, 1, 9, 66, 0})
	f.Add([]byte{67, 0, 9, 9, 9, 9, 0, 64, 1, 1, 1, 1, 1, 1, 3, 1, 1, 1, 0, 66, 0, 1, 1, 2, 1, 2, 67, 1})
	f.Fuzz(func(t *testing.T, script []byte) {
		var frames []wal.MadeFrame
		for ; len(script) >= 7 && len(frames) < 200; script = script[7:] {
			s := script[:7]
			frame := wal.MadeFrame{
				Kind: wal.EntryType(s[0]), Flags: s[6] & 3, Stream: id(int(s[1] % 4)), Seq: uint32(s[2]),
				First: uint64(s[3]), End: uint64(s[3]) + uint64(s[4]), Promised: uint32(s[5]) << 7, Payload: []byte("payload"),
			}
			switch frame.Kind {
			case wal.TypeCheckpoint:
				frame.Payload = wal.MakeCheckpoint(frame.Stream, frame.Seq, frame.First, frame.End)
			case wal.TypeSeal:
				frame.Payload = wal.MakeSeal(frame.Stream, frame.Seq, frame.End)
			case wal.TypeFree:
				frame.Payload = wal.MakeFree(frame.Stream, frame.End)
			case wal.EntryTruncate, wal.EntryReset:
				frame.End = frame.First
			}
			frames = append(frames, frame)
		}
		_ = openFuzzed(t, wal.MakeSegment(frames))
	})
}

func TestReservedBitsOfAFrameAreUnsupportedAndNotCorrupt(t *testing.T) {
	for name, f := range map[string]wal.MadeFrame{
		"flag": {Kind: wal.EntryData, Flags: 1 << 7, Seq: 1, End: 1},
		"type": {Kind: 99, Seq: 1, End: 1},
	} {
		if err := openFuzzed(t, wal.MakeSegment([]wal.MadeFrame{f})); !isCode(err, mq.UnsupportedVersion) {
			t.Errorf("a frame with a %s of the future: %v", name, err)
		}
	}
}
