package partition

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

func TestRestartBringsEverythingBack(t *testing.T) {
	n := newNode(t, 1, nil)
	n.lead()
	for i := range 10 {
		n.must(batch(producedBy{5, 1, int32(2 * i)}, 2, byte('a'+i), 30, int64(i)))
	}
	before := n.read(0)
	n.restart(Checkpoint{})
	if s, _ := n.p.State(); s != StateOffline {
		t.Fatal(s)
	}
	codeWanted(t, n.p.Lead(n.p.Epoch(), 0, []Replica{{1, 2}}), mq.FencedLeaderEpoch)
	n.lead()
	if string(n.read(0)) != string(before) {
		t.Fatal("other bytes")
	}
	if r := n.must(batch(producedBy{5, 1, 6}, 2, 'd', 30, 3)); !r.Duplicate || r.Base != 6 {
		t.Fatalf("%+v", r)
	}
	if r := n.produce(batch(producedBy{5, 1, 22}, 2, 'x', 30, 0), mq.DurabilityAll); mq.CodeOf(r.Err) != mq.OutOfOrderSequence {
		t.Fatalf("%+v", r)
	}
	if r := n.must(batch(producedBy{5, 1, 20}, 2, 'k', 30, 0)); r.Base != 20 {
		t.Fatalf("%+v", r)
	}
	if e, end := n.p.EndOffsetForEpoch(0); e != 0 || end != 20 {
		t.Fatalf("epoch %d ends at %d", e, end)
	}
}

// A leader that was elected, wrote nothing and was restarted must not lead in that epoch again.
func TestEpochWithoutRecordsIsRemembered(t *testing.T) {
	n := newNode(t, 1, nil)
	if err := n.p.Lead(7, 0, []Replica{{1, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := n.log.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	n.disk.Kill()
	n.restart(Checkpoint{})
	codeWanted(t, n.p.Lead(7, 0, []Replica{{1, 2}}), mq.FencedLeaderEpoch)
	codeWanted(t, n.p.Follow(6, 2), mq.FencedLeaderEpoch)
	if err := n.p.Lead(8, 0, []Replica{{1, 2}}); err != nil {
		t.Fatal(err)
	}
}

// Rule 10: what the log has let go of comes from the checkpoint.
func TestProducersAndEpochsComeFromTheCheckpointThenTheLog(t *testing.T) {
	store := &bucket{}
	n := newNode(t, 1, store)
	n.lead()
	early, both := producedBy{1, 0, 0}, producedBy{2, 0, 0}
	n.must(batch(early, 3, 'e', 100, 0))
	n.must(batch(both, 1, 'b', 100, 0))
	n.restart(Checkpoint{})
	n.lead() // epoch 1 begins at 4
	for i := range 2000 {
		n.send(batch(nobody(), 1, 'f', 500, int64(i)), mq.DurabilityNone, &results{})
	}
	_, _, end, _ := n.p.Offsets()
	n.must(plain(1))
	store.upload(t, n.p, end)
	both.seq = 1
	late := n.must(batch(both, 2, 'c', 100, 0))
	for i := range 300 { // the log frees segments by writing on
		n.must(batch(nobody(), 1, 'g', 500, int64(i)))
	}
	store.upload(t, n.p, end)

	if first, _, _ := n.log.Bounds(wal.StreamID(testID().Key())); mq.Offset(first) < end-100 {
		t.Fatalf("the log still begins at %d: the test shows nothing", first)
	}
	withCheckpoint := store.checkpoint
	n.restart(withCheckpoint)
	n.lead()
	if r := n.must(batch(early, 3, 'e', 100, 0)); !r.Duplicate || r.Base != 0 {
		t.Fatalf("only the checkpoint knows of it: %+v", r)
	}
	if r := n.must(batch(producedBy{2, 0, 0}, 1, 'b', 100, 0)); !r.Duplicate || r.Base != 3 {
		t.Fatalf("of the producer that the log knows, the checkpoint has the older batch: %+v", r)
	}
	if r := n.must(batch(both, 2, 'c', 100, 0)); !r.Duplicate || r.Base != late.Base {
		t.Fatalf("%+v, want a duplicate of %+v", r, late)
	}
	if r := n.must(batch(producedBy{1, 0, 3}, 1, 'e', 100, 0)); r.Duplicate {
		t.Fatalf("%+v", r)
	}
	if e, at := n.p.EndOffsetForEpoch(0); e != 0 || at != 4 {
		t.Fatalf("epoch %d ends at %d, want 0 at 4", e, at)
	}
}

func TestProducersComeFromTheCheckpointWhenTheLogHasNone(t *testing.T) {
	store := &bucket{}
	n := newNode(t, 1, store)
	n.lead()
	n.must(batch(producedBy{1, 0, 0}, 3, 'e', 100, 0))
	store.upload(t, n.p, 3)
	fresh := newNode(t, 2, store)
	fresh.restart(store.checkpoint)
	fresh.lead()
	fresh.must(plain(1))
	fresh.restart(store.checkpoint)
	fresh.lead()
	if r := fresh.must(batch(producedBy{1, 0, 0}, 3, 'e', 100, 0)); !r.Duplicate || r.Base != 0 {
		t.Fatalf("%+v", r)
	}
}

// Rule 13: the log of a leader never ends below the tiered end.
func TestLogThatEndsBelowTheTieredEndGoesOnThere(t *testing.T) {
	for name, lose := range map[string]func(n *node){
		"nothing left": func(n *node) { n.disk = newNode(t, 1, nil).disk.Clone(1); n.disk.Kill() },
		"older log":    func(n *node) {},
	} {
		t.Run(name, func(t *testing.T) {
			store := &bucket{}
			n := newNode(t, 1, store)
			n.lead()
			for i := range 10 {
				n.must(batch(producedBy{5, 0, int32(i)}, 1, 'a', 10, 0))
			}
			old := n.disk.Clone(1)
			for i := range 10 {
				n.must(batch(producedBy{5, 0, int32(10 + i)}, 1, 'a', 10, 0))
			}
			want := n.read(0)
			store.upload(t, n.p, 20)
			n.stop()
			n.disk = old
			n.disk.Kill()
			lose(n)
			n.start(store.checkpoint)
			n.lead()
			if _, high, end, object := n.p.Offsets(); high != 20 || end != 20 || object != 20 {
				t.Fatalf("watermark %d, end %d, object mark %d: want 20", high, end, object)
			}
			if r := n.must(batch(producedBy{5, 0, 19}, 1, 'a', 10, 0)); !r.Duplicate || r.Base != 19 {
				t.Fatalf("%+v", r)
			}
			next := n.must(batch(producedBy{5, 0, 20}, 1, 'b', 10, 0))
			if next.Base != 20 {
				t.Fatalf("%+v", next)
			}
			if got := n.read(0); string(got[:len(want)]) != string(want) || len(got) == len(want) {
				t.Fatal("other bytes below the tiered end")
			}
			n.restart(store.checkpoint)
			n.lead()
			if _, _, end, _ := n.p.Offsets(); end != 21 {
				t.Fatalf("the log ends at %d after another restart", end)
			}
		})
	}
}

// One that led, and was replaced before the others had what it wrote, comes back when the new leader's records are in the object store in their place. What it has is not taken for what is there:
// neither is a batch acknowledged as a duplicate that nobody has any more, nor is its log the beginning of the leader's.
func TestLogOfOtherRecordsThanWereTieredGoesOnAtTheTieredEnd(t *testing.T) {
	for _, has := range []int32{2, 5, 8} { // below, at, and above the tiered end
		t.Run(fmt.Sprint(has), func(t *testing.T) { otherRecordsThanWereTiered(t, has, 0) })
		t.Run(fmt.Sprint(has, " of which all were deleted before they were tiered"), func(t *testing.T) { otherRecordsThanWereTiered(t, has, 5) })
	}
}

func otherRecordsThanWereTiered(t *testing.T, has int32, logStart mq.Offset) {
	store := &bucket{}
	l, f := newNode(t, 1, store), newNode(t, 2, store)
	if err := f.p.Lead(1, 0, []Replica{{2, 1}}); err != nil {
		t.Fatal(err)
	}
	for i := range has {
		f.must(batch(producedBy{7, 0, i}, 1, 'a', 10, 0)) // with nobody else
	}
	if err := l.p.Lead(2, 0, []Replica{{1, 1}}); err != nil {
		t.Fatal(err)
	}
	for i := range int32(6) {
		l.must(batch(producedBy{8, 0, i}, 1, 'b', 10, 0))
	}
	if err := l.p.SetLogStart(logStart); err != nil {
		t.Fatal(err)
	}
	store.upload(t, l.p, 5)
	for range 2 { // and again, when the log has noted it
		f.restart(store.checkpoint)
		if err := f.p.Follow(2, 1); err != nil {
			t.Fatal(err)
		}
		if _, high, end, object := f.p.Offsets(); high != 5 || end != 5 || object != 5 {
			t.Fatalf("watermark %d, end %d, tiered end %d", high, end, object)
		}
		if last := f.p.LastEpoch(); last != 2 {
			t.Fatalf("its last record is of epoch %d", last)
		}
	}
	copyOnce(t, l, f, 2)
	if err := f.p.Lead(3, 0, []Replica{{2, 2}}); err != nil {
		t.Fatal(err)
	}
	if r := f.must(batch(producedBy{7, 0, 0}, 1, 'a', 10, 0)); r.Duplicate || r.Base != 6 {
		t.Fatalf("what nobody has, sent again: %+v", r)
	}
	if r := f.must(batch(producedBy{8, 0, 5}, 1, 'b', 10, 0)); !r.Duplicate || r.Base != 5 {
		t.Fatalf("what all have, sent again: %+v", r)
	}
}

// A hole in what is tiered anyway is no sign of another log.
func TestLogWithAHoleBelowTheTieredEndIsNotTakenForAnother(t *testing.T) {
	epochs := mq.EpochHistory{{Epoch: 1, Start: 0}, {Epoch: 2, Start: 4}}
	found := &Recovered{begun: true, end: 8, holeEnd: 5, epochs: mq.EpochHistory{{Epoch: 1, Start: 0}, {Epoch: 2, Start: 5}}}
	if found.parted(Checkpoint{End: 5, Epochs: epochs}) {
		t.Fatal("what is not there was compared")
	}
	if found.parted(Checkpoint{End: 6, Epochs: epochs}) {
		t.Fatal("the same log was taken for another")
	}
	if found.parted(Checkpoint{End: 6}) {
		t.Fatal("nothing is known of the epochs in the object store")
	}
	if !found.parted(Checkpoint{End: 6, Epochs: mq.EpochHistory{{Epoch: 1, Start: 0}}}) {
		t.Fatal("another log was not seen")
	}
}

func TestHoleBetweenTieredEndAndLogQuarantines(t *testing.T) {
	store := &bucket{}
	n := newNode(t, 1, store)
	n.lead()
	for i := range 4000 {
		n.send(batch(nobody(), 1, 'f', 500, int64(i)), mq.DurabilityNone, &results{})
	}
	n.must(plain(1))
	older := Checkpoint{}
	store.upload(t, n.p, 3900)
	for i := range 300 {
		n.must(batch(nobody(), 1, 'g', 500, int64(i)))
	}
	n.restart(older)
	if s, err := n.p.State(); s != StateQuarantined {
		t.Fatal(s, err)
	}
	n.restart(store.checkpoint)
	if s, err := n.p.State(); s != StateOffline {
		t.Fatal("with the right checkpoint all is well", s, err)
	}
}

func TestHoleInTheLogQuarantinesUnlessItIsTiered(t *testing.T) {
	for _, c := range []struct {
		there  []mq.Offset
		tiered mq.Offset
		want   State
	}{
		{[]mq.Offset{0, 1, 3, 4}, 0, StateQuarantined},
		{[]mq.Offset{0, 1, 3, 4}, 2, StateQuarantined},
		{[]mq.Offset{0, 1, 3, 4}, 3, StateOffline},
		{[]mq.Offset{0, 1, 3, 4}, 4, StateOffline},
		{[]mq.Offset{3, 4}, 2, StateQuarantined},
		{[]mq.Offset{3, 4}, 3, StateOffline},
	} {
		n := newNode(t, 1, &bucket{})
		r := NewRecovery(n.cfg.Now())
		for _, base := range c.there {
			b := stamped(plain(1), base, 0)
			_ = r.Visit(wal.Entry{Stream: wal.StreamID(testID().Key()), Type: wal.EntryData, First: uint64(base), End: uint64(base) + 1, Payload: b})
		}
		p, err := Open(n.cfg, r.Take(testID()), Checkpoint{End: c.tiered})
		if err != nil {
			t.Fatal(err)
		}
		if s, err := p.State(); s != c.want {
			t.Errorf("%v, tiered up to %d: %v %v, want %v", c.there, c.tiered, s, err, c.want)
		}
	}
}

// Recovery has to keep every batch of a producer that may still be truncated: it must not be all of a long log.
func TestWatermarkIsRememberedNowAndThen(t *testing.T) {
	n := newNode(t, 1, &bucket{})
	n.lead()
	for range rememberStride/30_000 + 10 {
		n.must(batch(nobody(), 1, 'x', 30_000, 0))
	}
	if err := n.log.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	e, ok := n.log.State(wal.StreamID(testID().Key()))
	if s, err := decodeState(e.Payload); !ok || err != nil || s.high < 500 {
		t.Fatalf("%+v %v", s, err)
	}
}

func TestRecoveryDoesNotBelieveNonsense(t *testing.T) {
	stream := wal.StreamID(testID().Key())
	data := func(first, end uint64, b []byte) wal.Entry {
		return wal.Entry{Stream: stream, Type: wal.EntryData, First: first, End: end, Payload: b}
	}
	for name, e := range map[string]wal.Entry{
		"no batch":        data(1, 2, []byte("nonsense")),
		"wrong base":      data(1, 2, stamped(plain(1), 7, 0)),
		"wrong end":       data(1, 5, stamped(plain(1), 1, 0)),
		"below the end":   data(0, 1, stamped(plain(1), 0, 0)),
		"older epoch":     data(1, 2, stamped(plain(1), 1, 0)),
		"state of future": {Stream: stream, Type: wal.EntryState, Payload: []byte{99}},
		"empty state":     {Stream: stream, Type: wal.EntryState},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, 1, nil)
			r := NewRecovery(n.cfg.Now())
			for _, e := range []wal.Entry{data(0, 1, stamped(plain(1), 0, 3)), e} {
				if err := r.Visit(e); err != nil {
					t.Fatal(err)
				}
			}
			p, err := Open(n.cfg, r.Take(testID()), Checkpoint{})
			if err != nil {
				t.Fatal(err)
			}
			if s, err := p.State(); s != StateQuarantined {
				t.Fatal(s, err)
			}
		})
	}
}

func TestDoubtQuarantinesWhatTheLogKnowsNothingOf(t *testing.T) {
	n := newNode(t, 1, nil)
	r := NewRecovery(n.cfg.Now())
	r.Finish(&wal.Recovery{Doubt: true})
	id := mq.PartitionID{Topic: mq.TopicID{9}, Index: 1}
	cfg := n.cfg
	cfg.ID = id
	p, err := Open(cfg, r.Take(id), Checkpoint{})
	if err != nil {
		t.Fatal(err)
	}
	if s, err := p.State(); s != StateQuarantined {
		t.Fatal(s, err)
	}
	r.Settle()
	if r.Take(id) != nil {
		t.Fatal("a new topic has nothing to do with the old doubt")
	}
}

func TestRecoveryInDoubtNamesWhatIsWhole(t *testing.T) {
	r := NewRecovery(time.Now())
	whole, torn := mq.PartitionID{Topic: mq.TopicID{9}, Index: 1}, mq.PartitionID{Topic: mq.TopicID{9}, Index: 2}
	for _, id := range []mq.PartitionID{whole, torn} {
		if err := r.Visit(wal.Entry{Stream: wal.StreamID(id.Key()), Type: wal.EntryReset, First: 5}); err != nil {
			t.Fatal(err)
		}
	}
	r.Finish(&wal.Recovery{Suspect: []wal.StreamID{wal.StreamID(torn.Key())}})
	if doubt, ids := r.Doubt(); doubt || ids != nil {
		t.Errorf("nothing is in doubt, and these are whole: %v", ids)
	}
	r.Finish(&wal.Recovery{Suspect: []wal.StreamID{wal.StreamID(torn.Key())}, Doubt: true})
	if doubt, ids := r.Doubt(); !doubt || len(ids) != 1 || ids[0] != whole {
		t.Errorf("in doubt %v, whole %v", doubt, ids)
	}
}

func TestRecoveryListsPartitionsAndForgetsDropped(t *testing.T) {
	n := newNode(t, 1, nil)
	n.lead()
	n.must(plain(1))
	n.stop()
	r := NewRecovery(n.cfg.Now())
	log, found, err := wal.Open(wal.Options{FS: n.disk, Dir: "wal", SegmentBytes: 64 << 10}, r.Visit)
	if err != nil {
		t.Fatal(err)
	}
	r.Finish(found)
	if ids := r.Partitions(); len(ids) != 1 || ids[0] != testID() || len(r.Suspects()) != 0 {
		t.Fatal(ids, r.Suspects())
	}
	n.log, n.cfg.Log = log, log
	if n.p, err = Open(n.cfg, r.Take(testID()), Checkpoint{}); err != nil {
		t.Fatal(err)
	}
	n.p.Delete()
	n.restart(Checkpoint{})
	if _, _, end, _ := n.p.Offsets(); end != 0 || n.p.Epoch() != mq.NoEpoch {
		t.Fatalf("the topic was deleted, but its log ends at %d", end)
	}
}
