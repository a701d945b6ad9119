package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// TestReadReturnsWhatIsGoodBeforeDamage: all entries lie in one stretch and are read with one call of the file system, which is no reason
// to give none of them when one cannot be read.
func TestReadReturnsWhatIsGoodBeforeDamage(t *testing.T) {
	const entries, bad, size = 10, 4, 400
	for name, c := range map[string]struct {
		code  mq.Code
		at    int64 // of the damage, behind the beginning of the frame
		spoil func(fs *crashfs.FS, f frameAt) error
	}{
		"payload": {mq.Corrupt, 0, func(fs *crashfs.FS, f frameAt) error { return fs.Flip(f.path, (f.pos+70)*8) }},
		"header":  {mq.Corrupt, 0, func(fs *crashfs.FS, f frameAt) error { return fs.Flip(f.path, (f.pos+40)*8) }},
		"unreadable header": {mq.KafkaStorageError, 0, func(fs *crashfs.FS, f frameAt) error {
			fs.Unreadable(f.path, f.pos, f.pos+1)
			return nil
		}},
		"unreadable payload": {mq.KafkaStorageError, 64, func(fs *crashfs.FS, f frameAt) error {
			fs.Unreadable(f.path, f.end-1, f.end)
			return nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			fs := crashfs.New(1)
			o := options(fs)
			o.PromiseDelay = time.Hour // promises between the entries would move them
			l := mustOpen(t, o)
			var before, behind []byte
			for i := range uint64(entries) {
				mustAdd(t, l, data(1, i, i+1, size))
				mustAdd(t, l, data(2, i, i+1, size))
				if i < bad {
					before = append(before, body(1, i, size)...)
				} else if i > bad {
					behind = append(behind, body(1, i, size)...)
				}
			}
			list := slices.DeleteFunc(frames(t, fs), func(f frameAt) bool { return f.kind != "data" || !strings.HasPrefix(f.stream, "00000001") })
			f := list[bad]
			if f.pos>>12 == f.end>>12 {
				t.Fatalf("%+v should cross blocks: what is behind an unreadable one is looked for in the next", f)
			}
			if err := c.spoil(fs, f); err != nil {
				t.Fatal(err)
			}
			got, next, err := l.Read(id(1), 0, 1<<20, nil)
			if !bytes.Equal(got, before) || next != bad || err != nil {
				t.Errorf("before the damage: %d bytes up to %d, %v", len(got), next, err)
			}
			got, next, err = l.Read(id(1), bad, 1<<20, nil)
			if place := fmt.Sprintf("%s at %d", f.path, f.pos+c.at); !isCode(err, c.code) || !strings.Contains(err.Error(), place) {
				t.Errorf("in the damage: %v, want %s", err, place)
			}
			if len(got) != 0 || next != bad {
				t.Errorf("in the damage: %d bytes up to %d", len(got), next)
			}
			got, next, err = l.Read(id(1), bad+1, 1<<20, nil)
			if !bytes.Equal(got, behind) || next != entries || err != nil {
				t.Errorf("behind the damage: %d bytes up to %d, %v", len(got), next, err)
			}
			wantStream(t, l, 2, 0, entries)
		})
	}
}

// An error of who is shown the entries is none of the log's, whatever its code and however many entries came before.
func TestErrorOfAVisitEndsARead(t *testing.T) {
	l := mustOpen(t, options(crashfs.New(1)))
	for i := range uint64(5) {
		mustAdd(t, l, data(1, i, i+1, 100))
	}
	mine := mq.Errorf(mq.Corrupt, "not what I wanted")
	next, err := l.ReadEntries(id(1), 0, 1<<20, func(e wal.Entry) error {
		if e.First == 2 {
			return mine
		}
		return nil
	})
	if !errors.Is(err, mine) || next != 2 {
		t.Errorf("%d, %v", next, err)
	}
}
