package partition

import (
	"testing"
	"testing/synctest"

	"github.com/rustmq/rustmq/mq"
)

// wakeCount counts its wakes.
type wakeCount struct{ n *int }

func (w wakeCount) Wake() { *w.n++ }

func TestWaitersAreWokenExactly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &bucket{}
		n := newNode(t, 1, store)
		n.lead()
		n.must(plain(2))
		await := func(from mq.Offset, iso mq.Isolation) *int {
			w := wakeCount{new(int)}
			if _, ok := n.p.Await(from, iso, w); !ok {
				t.Fatalf("nothing to wait for at %d", from)
			}
			return w.n
		}
		if _, ok := n.p.Await(1, mq.IsolationCommitted, wakeCount{}); ok {
			t.Fatal("offset 1 is visible already")
		}
		next, beyond, object := await(2, mq.IsolationCommitted), await(4, mq.IsolationCommitted), await(1, mq.IsolationObject)
		cancelled := wakeCount{new(int)}
		token, _ := n.p.Await(2, mq.IsolationCommitted, cancelled)
		n.p.Cancel(token)
		n.p.Cancel(token)
		n.p.Cancel(nil)
		ch := n.p.Wait(2, mq.IsolationCommitted)

		open := n.gate()
		n.send(plain(2), mq.DurabilityNone, &results{})
		synctest.Wait()
		if *next+*beyond+*object != 0 {
			t.Fatal("woken although nothing became visible")
		}
		select {
		case <-ch:
			t.Fatal("the channel was closed although nothing became visible")
		default:
		}
		open()
		synctest.Wait()
		<-ch
		if *next != 1 || *beyond != 0 || *object != 0 || *cancelled.n != 0 {
			t.Fatalf("woken %d %d %d %d times, want 1 0 0 0", *next, *beyond, *object, *cancelled.n)
		}
		n.must(plain(1))
		if *next != 1 || *beyond != 1 || *object != 0 {
			t.Fatalf("woken %d %d %d times, want 1 1 0", *next, *beyond, *object)
		}
		store.upload(t, n.p, 2)
		if *object != 1 {
			t.Fatalf("the reader of the object store was woken %d times", *object)
		}
		<-n.p.Wait(1, mq.IsolationObject)
	})
}

func TestWaitersAreWokenWhenThereIsNothingToWaitForAnyMore(t *testing.T) {
	for name, end := range map[string]func(*Partition){
		"another leads": func(p *Partition) { _ = p.Follow(9, 2) },
		"a new epoch":   func(p *Partition) { _ = p.Lead(9, 0, []Replica{{1, 1}}) },
		"offline":       func(p *Partition) { p.Offline(mq.Errorf(mq.LeaderNotAvailable, "drained")) },
		"quarantine":    func(p *Partition) { p.Quarantine(mq.Errorf(mq.Corrupt, "rot")) },
		"close":         func(p *Partition) { p.Close() },
		"delete":        func(p *Partition) { p.Delete() },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, 1, nil)
			n.lead()
			w := wakeCount{new(int)}
			token, ok := n.p.Await(0, mq.IsolationCommitted, w)
			ch := n.p.Wait(0, mq.IsolationCommitted)
			end(n.p)
			if !ok || *w.n != 1 {
				t.Fatalf("woken %d times", *w.n)
			}
			<-ch
			n.p.Cancel(token)
		})
	}
}

func BenchmarkAwaitCancel(b *testing.B) {
	n := newNode(b, 1, nil)
	n.lead()
	w := wakeCount{new(int)}
	b.ReportAllocs()
	for b.Loop() {
		token, _ := n.p.Await(0, mq.IsolationCommitted, w)
		n.p.Cancel(token)
	}
}
