package partition

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// entry is a batch that the model knows to be in the log.
type entry struct {
	by    producedBy
	count int32
	bytes []byte // as stored, but for the epoch of the leader
	base  mq.Offset
}

func (e *entry) end() mq.Offset { return e.base + mq.Offset(e.count) }

// model is a partition as one would write it down on paper: a list of batches. Everything about producers is looked up in it.
type model struct {
	t       *rapid.T
	n       *node
	store   *bucket
	epoch   mq.Epoch
	log     []*entry
	results []*modelAck
	high    mq.Offset // what the follower has acknowledged
	tiered  mq.Offset
	nextTag byte
}

// modelAck is an append that is on its way.
type modelAck struct {
	base, end mq.Offset

	mu     sync.Mutex
	told   bool
	result AppendResult
}

func (a *modelAck) Complete(r AppendResult) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.told {
		panic("completed twice")
	}
	a.told, a.result = true, r
}

func (a *modelAck) get() (result AppendResult, done bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.result, a.told
}

func (m *model) end() mq.Offset {
	if len(m.log) == 0 {
		return 0
	}
	return m.log[len(m.log)-1].end()
}

// isr makes the watermark depend on what the model acknowledges as node 2.
func (m *model) lead() {
	m.epoch++
	if err := m.n.p.Lead(m.epoch, 0, both()); err != nil {
		m.t.Fatalf("lead in epoch %d: %v", m.epoch, err)
	}
	m.ack(m.high)
}

func (m *model) ack(end mq.Offset) {
	if err := m.n.p.Acked(Replica{2, 1}, m.epoch, end); err != nil {
		m.t.Fatalf("ack %d: %v", end, err)
	}
	synctest.Wait()
	m.high = max(m.high, end)
}

// expect says what an append must give: a duplicate's base, or a code.
func (m *model) expect(by producedBy, count int32) (dup mq.Offset, code mq.Code) {
	if by.id < 0 {
		return -1, mq.None
	}
	var of []*entry
	for _, e := range m.log {
		if e.by.id == by.id {
			of = append(of, e)
		}
	}
	if len(of) == 0 {
		if by.seq != 0 {
			return -1, mq.UnknownProducerID
		}
		return -1, mq.None
	}
	newest := of[len(of)-1]
	next := newest.by.seq + newest.count
	switch {
	case by.epoch < newest.by.epoch:
		return -1, mq.InvalidProducerEpoch
	case by.epoch > newest.by.epoch && by.seq == 0, by.epoch == newest.by.epoch && by.seq == next:
		return -1, mq.None
	case by.epoch > newest.by.epoch || by.seq > next:
		return -1, mq.OutOfOrderSequence
	}
	for _, e := range of {
		if e.by == by && e.count == count {
			return e.base, mq.None
		}
	}
	return -1, mq.InvalidRequest
}

// append sends a batch, from the next, a past or a future sequence of one of three producers, or of none.
func (m *model) append(t *rapid.T) {
	by, count := nobody(), int32(rapid.IntRange(1, 3).Draw(t, "count"))
	if id := mq.ProducerID(rapid.IntRange(-1, 2).Draw(t, "id")); id >= 0 {
		by = producedBy{id: id}
		for _, e := range m.log {
			if e.by.id == id {
				by = e.by
				by.seq += e.count
			}
		}
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0:
			by.epoch, by.seq = by.epoch+1, 0
		case 1:
			by.seq += int32(rapid.IntRange(1, 3).Draw(t, "gap"))
		case 2, 3, 4:
			by.seq = max(0, by.seq-int32(rapid.IntRange(1, 6).Draw(t, "back")))
		case 5:
			by.epoch = max(0, by.epoch-1)
		}
	}
	m.nextTag++
	b := batch(by, int(count), m.nextTag, rapid.SampledFrom([]int{1, 300, 3000}).Draw(t, "size"), int64(m.end()))
	dup, code := m.expect(by, count)
	ack := &modelAck{base: m.end(), end: m.end() + mq.Offset(count)}
	if dup >= 0 {
		ack.base, ack.end = dup, dup+mq.Offset(count)
	}
	want := rapid.SampledFrom([]mq.Durability{mq.DurabilityLeader, mq.DurabilityAll}).Draw(t, "want")
	if m.n.log.Reserve(context.Background(), LogBytes(b)) != nil {
		return // the power is cut
	}
	_, _, before, _ := m.n.p.Offsets()
	m.n.p.Append(b, want, ack)
	result, done := ack.get()
	if !done && code != mq.None {
		synctest.Wait() // whoever is telling outcomes tells this one too
		result, done = ack.get()
	}
	if state, _ := m.n.p.State(); state != StateLeader && done && result.Err != nil {
		// Likewise; but if it came as far as the log, it may turn up again.
		if _, _, after, _ := m.n.p.Offsets(); after > before {
			m.log = append(m.log, &entry{by, count, bytes.Clone(b), ack.base})
		}
		return
	}
	switch {
	case code != mq.None:
		if !done || mq.CodeOf(result.Err) != code {
			t.Fatalf("%+v of %d: %+v, want %v", by, count, result, code)
		}
		return
	case dup < 0:
		m.log = append(m.log, &entry{by, count, bytes.Clone(b), ack.base})
	}
	if _, _, end, _ := m.n.p.Offsets(); before != ack.base && dup < 0 || end != m.end() {
		t.Fatalf("%+v of %d: appended [%d, %d), the model has [%d, %d), duplicate of %d: %+v",
			by, count, before, end, ack.base, m.end(), dup, result)
	}
	m.results = append(m.results, ack)
}

// settle checks what was acknowledged by now, and returns how far that goes.
func (m *model) settle() (acked mq.Offset) {
	kept := m.results[:0]
	for _, a := range m.results {
		result, done := a.get()
		switch {
		case !done:
			kept = append(kept, a)
		case result.Err == nil:
			if result.Base != a.base || result.Last != a.end-1 {
				m.t.Fatalf("acknowledged %+v, want [%d, %d)", result, a.base, a.end)
			}
			acked = max(acked, a.end)
		}
	}
	m.results = kept
	return acked
}

// compare checks that the log is the model's.
func (m *model) compare() {
	m.settle()
	var buf ReadBuffer
	next := mq.Offset(0)
	for {
		res, err := m.n.p.Read(context.Background(), next, 2000, mq.IsolationCommitted, &buf)
		if err != nil {
			m.t.Fatalf("read at %d: %v", next, err)
		}
		if res.End > max(m.high, m.tiered) {
			m.t.Fatalf("reads up to %d, but only %d is committed", res.End, m.high)
		}
		for _, s := range res.Batches {
			for _, b := range split(m.n.t, s) {
				m.same(b)
			}
		}
		if next = res.Next; next == res.End {
			return
		}
	}
}

func (m *model) same(b mq.Batch) {
	for _, e := range m.log {
		if e.base == b.BaseOffset() {
			if !bytes.Equal(e.bytes, b) {
				m.t.Fatalf("%v is not what was appended there", b)
			}
			return
		}
	}
	m.t.Fatalf("%v was never appended", b)
}

// crash cuts the power in the middle of some appends and starts again.
func (m *model) crash(t *rapid.T) {
	m.settle()
	m.n.disk.CutAt(rapid.IntRange(1, 12).Draw(t, "cut"))
	for range rapid.IntRange(0, 6).Draw(t, "appends") {
		m.append(t)
		if rapid.Bool().Draw(t, "wait") {
			synctest.Wait()
		}
	}
	synctest.Wait()
	if rapid.IntRange(0, 3).Draw(t, "kill") == 0 {
		m.n.disk.Kill()
	} else {
		m.n.disk.Crash()
	}
	acked := max(m.settle(), m.high, m.tiered)
	m.restart(acked)
}

// restart starts again; everything below acked must be there.
func (m *model) restart(acked mq.Offset) {
	m.n.stop()
	synctest.Wait()
	m.results = nil
	m.n.disk.Kill()
	m.n.start(m.store.checkpoint)
	if s, err := m.n.p.State(); s != StateOffline {
		m.t.Fatalf("after the crash: %v %v", s, err)
	}
	_, _, end, _ := m.n.p.Offsets()
	if end < acked || end > m.end() {
		m.t.Fatalf("the log ends at %d; %d was acknowledged, %d appended", end, acked, m.end())
	}
	m.cutTo(end)
	m.lead()
}

// cutTo cuts the model's list.
func (m *model) cutTo(end mq.Offset) {
	for len(m.log) > 0 && m.log[len(m.log)-1].end() > end {
		m.log = m.log[:len(m.log)-1]
	}
	if m.end() != end {
		m.t.Fatalf("the log ends at %d, inside a batch", end)
	}
}

// boundary draws the end of a batch in [low, m.end()], or low.
func (m *model) boundary(t *rapid.T, low mq.Offset) mq.Offset {
	var ends []mq.Offset
	for _, e := range m.log {
		if e.end() > low {
			ends = append(ends, e.end())
		}
	}
	i := rapid.IntRange(0, len(ends)).Draw(t, "boundary")
	if i == len(ends) {
		return low
	}
	return ends[i]
}

// truncate follows another leader that has less, then leads again.
func (m *model) truncate(t *rapid.T) {
	synctest.Wait()
	m.settle()
	to := m.boundary(t, max(m.high, m.tiered))
	m.epoch++
	if err := m.n.p.Follow(m.epoch, 2); err != nil {
		t.Fatal(err)
	}
	m.results = nil
	if to > 0 {
		if _, err := m.n.p.Truncate(m.epoch, m.n.p.Epochs().At(to-1), to); err != nil {
			t.Fatalf("truncate to %d: %v", to, err)
		}
		m.cutTo(to)
	}
	m.lead()
}

func (m *model) upload(t *rapid.T) {
	if p := m.n.p.Pending(); p.End > p.First {
		var ends []mq.Offset
		for _, e := range m.log {
			if e.end() > p.First && e.end() <= p.End {
				ends = append(ends, e.end())
			}
		}
		m.tiered = ends[rapid.IntRange(0, len(ends)-1).Draw(t, "upload to")]
		m.store.upload(m.n.t, m.n.p, m.tiered)
	}
}

// inBubble runs f in a synctest bubble; rapid's own panics come through.
func inBubble(t *testing.T, f func(t *testing.T)) {
	var caught any
	synctest.Test(t, func(t *testing.T) {
		defer func() { caught = recover() }()
		f(t)
	})
	if caught != nil {
		panic(caught)
	}
}

func TestPartitionIsWhatTheModelIs(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		inBubble(t, func(t *testing.T) { runModel(t, rt) })
	})
}

func runModel(outer *testing.T, t *rapid.T) {
	store := &bucket{}
	m := &model{t: t, store: store, epoch: -1}
	m.n = makeNode(outer, 1, store)
	m.n.stop()
	m.n.disk = crashfs.New(rapid.Uint64().Draw(t, "seed"))
	m.n.start(Checkpoint{})
	defer func() { m.n.stop() }()
	m.lead()
	t.Repeat(map[string]func(*rapid.T){
		"append": func(t *rapid.T) {
			for range rapid.IntRange(1, 8).Draw(t, "appends") {
				m.append(t)
			}
		},
		"sync": func(*rapid.T) { synctest.Wait() },
		"ack": func(t *rapid.T) {
			synctest.Wait()
			m.ack(m.boundary(t, m.high))
		},
		"upload":   m.upload,
		"evict":    func(*rapid.T) { synctest.Wait(); m.n.evict() },
		"truncate": m.truncate,
		"crash":    m.crash,
		"restart":  func(*rapid.T) { synctest.Wait(); m.restart(m.end()) },
		"":         func(*rapid.T) { m.compare() },
	})
}
