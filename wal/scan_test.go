package wal_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// lister makes visitors that write down what they are given last.
func lister(list *[]string) func() func(wal.Entry) error {
	return func() func(wal.Entry) error {
		*list = nil
		return func(e wal.Entry) error {
			*list = append(*list, fmt.Sprintf("%v %x [%d, %d) %q", e.Type, e.Stream, e.First, e.End, e.Payload))
			return nil
		}
	}
}

// TestScanSeesWhatOpenSees reads a log with copies, states and truncations.
func TestScanSeesWhatOpenSees(t *testing.T) {
	fs := bigLog(t)
	var got, want []string
	before := fs.Calls()
	r, err := wal.Scan(fs, dir, lister(&got))
	if err != nil || len(r.Damage) > 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if n := fs.Calls() - before; n != 0 {
		t.Errorf("%d calls that change something", n)
	}
	l, _, err := wal.Open(options(fs), lister(&want)())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if !slices.Equal(got, want) {
		t.Errorf("%d entries, want %d", len(got), len(want))
	}
}

// TestScanReadsALogInUse, which goes on as if nothing had been.
func TestScanReadsALogInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := crashfs.New(1)
		l := mustOpen(t, options(fs))
		for i := range uint64(10) {
			mustAdd(t, l, data(1, i, i+1, 3000))
		}
		time.Sleep(time.Second)
		before := fs.Calls()
		var got []string
		r, err := wal.Scan(fs, dir, lister(&got))
		if err != nil || len(r.Damage) > 0 || len(got) != 10 {
			t.Errorf("%d entries, %+v, %v", len(got), r, err)
		}
		if n := fs.Calls() - before; n != 0 {
			t.Errorf("%d calls that change something", n)
		}
		mustAdd(t, l, data(1, 10, 11, 3000))
		wantStream(t, l, 1, 0, 11)
	})
}
