package raft

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

// TestDumpReadsTheLogOfARunningNode, and of a stopped one, and changes nothing.
func TestDumpReadsTheLogOfARunningNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, nil)
		want := []string{"first", "second", "third"}
		for _, p := range want {
			m.propose(t, p)
		}
		synctest.Wait()
		status := m.node.Status()
		look := func(when string) {
			before := m.fs.Calls()
			d, err := ReadDump(m.fs, "raft")
			if err != nil || len(d.Found.Damage) > 0 {
				t.Fatalf("%s: %+v, %v", when, d, err)
			}
			if n := m.fs.Calls() - before; n != 0 {
				t.Errorf("%s: %d calls that change something", when, n)
			}
			var got []string
			for i, e := range d.Entries {
				if e.Err != nil || e.Term == 0 || i > 0 && e.Index != d.Entries[i-1].Index+1 {
					t.Errorf("%s: %+v", when, e)
				}
				for _, p := range e.Proposals {
					got = append(got, string(p))
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: proposals %q, want %q", when, got, want)
			}
			if d.Term != status.Term || d.Vote != 1 || d.Commit == 0 || d.SnapshotIndex != bootstrapIndex || d.Entries[0].Kind != "empty" {
				t.Errorf("%s: %+v, and the node says %+v", when, d, status)
			}
		}
		look("running")
		m.halt()
		look("stopped")
	})
}

func TestDumpSaysWhatItCannotRead(t *testing.T) {
	entry := func(payload []byte) wal.Entry {
		return wal.Entry{Stream: LogStream(), Type: wal.EntryData, First: 7, End: 8, Payload: payload}
	}
	good := append([]byte{recordFormat, 0, 0, 0}, make([]byte, 16)...)
	good[11] = 7
	for what, c := range map[string]struct {
		payload []byte
		code    mq.Code
	}{
		"too short":           {[]byte{1}, mq.Corrupt},
		"another format":      {append([]byte{9}, good[1:]...), mq.UnsupportedVersion},
		"a broken batch":      {append(slices.Clone(good), 1, 2, 3), mq.Corrupt},
		"a membership change": {append([]byte{recordFormat, 1, 0, 0}, append(slices.Clone(good[4:]), 0xff)...), mq.Corrupt},
	} {
		d := &Dump{}
		if err := d.visit(entry(c.payload)); err != nil || len(d.Entries) != 1 {
			t.Fatalf("%s: %+v, %v", what, d, err)
		}
		if e := d.Entries[0]; e.Index != 7 || mq.CodeOf(e.Err) != c.code {
			t.Errorf("%s: %+v, want %v", what, e, c.code)
		}
	}
}
