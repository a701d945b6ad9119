package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// entry is one data entry of the naive model.
type entry struct {
	first, end uint64
	payload    []byte
}

// streamModel is what one stream should be, the plain way.
type streamModel struct {
	started    bool
	first, end uint64
	entries    []entry
	state      string
	released   uint64 // the log may begin at any offset up to this
}

// step is one thing that a workload does to a log.
type step struct {
	e     wal.Entry
	acked bool
}

// entryRelease is a step that is no entry: everything below First was released.
const entryRelease wal.EntryType = 200

// apply does a step to the model.
func apply(m map[wal.StreamID]*streamModel, e wal.Entry) {
	s := m[e.Stream]
	if e.Type == wal.EntryDrop {
		delete(m, e.Stream)
		return
	}
	if s == nil {
		s = &streamModel{}
		m[e.Stream] = s
	}
	switch e.Type {
	case wal.EntryData:
		if !s.started {
			s.first, s.end = e.First, e.First
		}
		s.started, s.end = true, e.End
		s.entries = append(s.entries, entry{e.First, e.End, bytes.Clone(e.Payload)})
	case wal.EntryState:
		s.state = string(e.Payload)
	case entryRelease:
		s.released = max(s.released, min(e.First, s.end))
	case wal.EntryTruncate:
		s.released = min(s.released, e.First)
		s.entries = slices.DeleteFunc(s.entries, func(x entry) bool { return x.first >= e.First })
		s.end, s.started = e.First, true
		s.first = min(s.first, e.First)
	case wal.EntryReset:
		s.first, s.end, s.started, s.entries, s.released = e.First, e.First, true, nil, e.First
	}
}

// workload drives a log and remembers what it was told.
type workload struct {
	t       testing.TB
	log     *wal.Log
	mu      sync.Mutex
	steps   []*step
	now     map[wal.StreamID]*streamModel
	pending []result
	failed  bool
	version int
}

func newWorkload(t testing.TB, l *wal.Log) *workload {
	return &workload{t: t, log: l, now: map[wal.StreamID]*streamModel{}}
}

// stepDone notes in the step that it is durable, and checks that
// completions come in the order of the log.
type stepDone struct {
	w  *workload
	i  int
	ch result
}

func (d *stepDone) Appended(err error) {
	d.w.mu.Lock()
	if err == nil {
		d.w.steps[d.i].acked = true
		if d.w.failed {
			d.w.t.Errorf("step %d was acknowledged after one before it had failed", d.i)
		}
	} else {
		d.w.failed = true
	}
	d.w.mu.Unlock()
	d.ch <- err
}

// do appends an entry; the model has it from then on.
func (w *workload) do(e wal.Entry) {
	apply(w.now, e)
	w.mu.Lock()
	d := &stepDone{w: w, i: len(w.steps), ch: make(result, 1)}
	w.steps = append(w.steps, &step{e: e})
	w.mu.Unlock()
	w.log.Append(e, d)
	w.pending = append(w.pending, d.ch)
}

func (w *workload) data(stream int, n uint64, size int) {
	var at uint64
	if s := w.now[id(stream)]; s != nil {
		at = s.end
	}
	w.version++
	p := append(fmt.Appendf(nil, "version %d ", w.version), body(stream, at, size)...)
	w.do(wal.Entry{Stream: id(stream), Type: wal.EntryData, First: at, End: at + n, Payload: p[:size]})
}

func (w *workload) release(stream int, upTo uint64) {
	// What is not durable yet cannot be released.
	if w.now[id(stream)] == nil || !w.wait() {
		return
	}
	e := wal.Entry{Stream: id(stream), Type: entryRelease, First: upTo}
	apply(w.now, e)
	w.mu.Lock()
	w.steps = append(w.steps, &step{e: e})
	w.mu.Unlock()
	w.log.Release(id(stream), upTo)
}

// wait waits for all that was appended, and says whether it is durable.
func (w *workload) wait() bool {
	ok := true
	for _, r := range w.pending {
		ok = r.wait(w.t) == nil && ok
	}
	w.pending = w.pending[:0]
	return ok
}

// acked is how many steps are certain.
func (w *workload) acked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for i, s := range w.steps {
		if s.acked {
			n = i + 1
		}
	}
	return n
}

// check finds out whether a log is what some prefix of the steps makes of it
// that has all that were acknowledged.
func (w *workload) check(l *wal.Log) (int, error) {
	m := map[wal.StreamID]*streamModel{}
	acked := w.acked()
	for _, s := range w.steps[:acked] {
		apply(m, s.e)
	}
	var errs []error
	for n := acked; ; n++ {
		err := w.same(l, m)
		if err == nil {
			return n, nil
		}
		errs = append(errs, fmt.Errorf("as after step %d: %w", n, err))
		if n == len(w.steps) {
			return 0, errors.Join(errs...)
		}
		apply(m, w.steps[n].e)
	}
}

func (w *workload) same(l *wal.Log, m map[wal.StreamID]*streamModel) error {
	ids := l.Streams()
	for _, s := range ids {
		if m[s] == nil {
			return fmt.Errorf("stream %x should not be there", s[:4])
		}
	}
	for s, want := range m {
		if err := w.sameStream(l, s, want); err != nil {
			return fmt.Errorf("stream %x: %w", s[:4], err)
		}
	}
	return nil
}

func (w *workload) sameStream(l *wal.Log, s wal.StreamID, want *streamModel) error {
	if err := l.Quarantined(s); err != nil {
		return err
	}
	first, end, ok := l.Bounds(s)
	if ok != want.started {
		return fmt.Errorf("has offsets: %t, want %t", ok, want.started)
	}
	if !ok {
		first, end = want.first, want.end
	}
	st, _ := l.State(s)
	if string(st.Payload) != want.state {
		return fmt.Errorf("state %q, want %q", st.Payload, want.state)
	}
	if released := max(want.first, want.released); end != want.end || first < want.first || first > released {
		return fmt.Errorf("bounds [%d, %d), want [%d..%d, %d)", first, end, want.first, released, want.end)
	}
	got, err := contents(l, s)
	if err != nil {
		return err
	}
	rest := slices.DeleteFunc(slices.Clone(want.entries), func(x entry) bool { return x.end <= first })
	if len(got) != len(rest) {
		return fmt.Errorf("%d entries from %d, want %d", len(got), first, len(rest))
	}
	for i, e := range got {
		if x := rest[i]; e.First != x.first || e.End != x.end || !bytes.Equal(e.Payload, x.payload) {
			return fmt.Errorf("entry [%d, %d) %.20q, want [%d, %d) %.20q", e.First, e.End, e.Payload, x.first, x.end, x.payload)
		}
	}
	return nil
}

// visited rebuilds the streams from what Open gives its visitor.
type visited struct {
	m map[wal.StreamID]*streamModel
}

func (v *visited) visit(e wal.Entry) error {
	s := v.m[e.Stream]
	if e.Type == wal.EntryData && s != nil && s.started && e.First != s.end {
		return fmt.Errorf("visited stream %x at %d, after %d", e.Stream[:4], e.First, s.end)
	}
	e.Payload = bytes.Clone(e.Payload)
	apply(v.m, e)
	return nil
}

// same checks that what was visited is what the log holds, apart from entries
// that were released.
func (v *visited) same(l *wal.Log) error {
	for _, s := range l.Streams() {
		first, end, ok := l.Bounds(s)
		got := v.m[s]
		if got == nil {
			if st, has := l.State(s); has || first != end {
				return fmt.Errorf("stream %x was not visited: [%d, %d), state %q", s[:4], first, end, st.Payload)
			}
			continue
		}
		if st, _ := l.State(s); string(st.Payload) != got.state {
			return fmt.Errorf("stream %x was visited with state %q, has %q", s[:4], got.state, st.Payload)
		}
		if ok && first != end && (got.end != end || got.first > first) {
			return fmt.Errorf("stream %x was visited as [%d, %d), is [%d, %d)", s[:4], got.first, got.end, first, end)
		}
	}
	return nil
}

// entriesIn is how many of the first n steps are entries. A release is none: a
// crash may take it back, and the stream begins earlier again.
func (w *workload) entriesIn(n int) (entries int) {
	for _, s := range w.steps[:n] {
		if s.e.Type != entryRelease {
			entries++
		}
	}
	return entries
}

// reopen opens the log that a crash left and checks it against the workload.
func (w *workload) reopen(fs wal.FS, o wal.Options) (*wal.Log, int, error) {
	o.FS = fs
	v := &visited{m: map[wal.StreamID]*streamModel{}}
	l, r, err := wal.Open(o, v.visit)
	if err != nil {
		return nil, 0, fmt.Errorf("open: %w", err)
	}
	if len(r.Damage) > 0 || len(r.Suspect) > 0 || r.Doubt {
		var text strings.Builder
		_ = dumpTo(fs, o.Dir, &text) // only to be looked at
		return l, 0, fmt.Errorf("doubt %t, damage %v\n%s", r.Doubt, r.Damage, text.String())
	}
	n, err := w.check(l)
	return l, n, errors.Join(err, v.same(l))
}

// survives checks what a crash left: the log is whole, what it shows stays
// when the power goes again at once, and it goes on.
func (w *workload) survives(after *crashfs.FS, o wal.Options) error {
	l, n, err := w.reopen(after, o)
	if err != nil {
		return errors.Join(err, closeIf(l))
	}
	again := after.Clone(99)
	again.CrashWith(crashfs.Lose())
	l2, n2, err := w.reopen(again, o)
	if a, b := w.entriesIn(n), w.entriesIn(n2); err == nil && a != b {
		err = fmt.Errorf("it showed %d entries, and after another power cut %d", a, b)
	}
	if err = errors.Join(err, closeIf(l2)); err != nil {
		return errors.Join(fmt.Errorf("crashed again: %w", err), l.Close())
	}
	// It goes on: what is appended now is what is there then.
	const fresh = 77
	for i := range uint64(40) {
		r := make(result, 1)
		l.Append(wal.Entry{Stream: id(fresh), Type: wal.EntryData, First: i, End: i + 1, Payload: body(fresh, i, 1000)}, r)
		if i%10 == 9 {
			if err := r.wait(w.t); err != nil {
				return errors.Join(fmt.Errorf("append to what was left: %w", err), l.Close())
			}
		}
	}
	l.Drop(id(fresh))
	if err := l.Close(); err != nil {
		return err
	}
	l3, n3, err := w.reopen(after, o)
	if a, b := w.entriesIn(n), w.entriesIn(n3); err == nil && a != b {
		err = fmt.Errorf("it had %d entries, and %d after going on", a, b)
	}
	return errors.Join(err, closeIf(l3))
}

func closeIf(l *wal.Log) error {
	if l == nil {
		return nil
	}
	return l.Close()
}
