package raft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// counterSM is a state machine that only keeps its position.
type counterSM struct {
	mu sync.Mutex
	at Position
}

func (c *counterSM) Position() Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *counterSM) Apply(entries []Entry, at Position) ([][]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = Position{at.Index, at.Term, bytes.Clone(at.Conf)}
	return make([][]byte, len(entries)), nil
}

func (c *counterSM) Snapshot() (io.ReadCloser, Position, error) {
	return nil, Position{}, errors.New("none is needed")
}

func (c *counterSM) Stage(io.Reader) (Staged, error) { return nil, errors.New("none is needed") }

// direct hands messages over in the same process.
type direct struct {
	nodes map[uint64]*Node
	mu    *sync.RWMutex
}

func (d direct) Start(Receiver) {}

func (d direct) SendSnapshot(context.Context, *raftpb.Message, io.Reader) error {
	return errors.New("none is needed")
}

func (d direct) Send(messages []*raftpb.Message) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, m := range messages {
		if n := d.nodes[m.GetTo()]; n != nil {
			n.Step(m)
		}
	}
}

// BenchmarkPropose has 1,024 proposals of 1 KiB in flight, on disks in memory: what one voter costs, and three in one process.
func BenchmarkPropose(b *testing.B) {
	for _, voters := range []uint64{1, 3} {
		b.Run(fmt.Sprint("voters=", voters), func(b *testing.B) {
			d := direct{map[uint64]*Node{}, &sync.RWMutex{}}
			var peers []uint64
			for id := range voters {
				peers = append(peers, id+1)
			}
			for _, id := range peers {
				log, _, err := wal.Open(wal.Options{FS: crashfs.New(id), Dir: "raft", SegmentBytes: 8 << 20}, func(wal.Entry) error { return nil })
				if err != nil {
					b.Fatal(err)
				}
				n, err := Open(Config{ID: id, Peers: peers, Log: log, SM: &counterSM{}, Transport: d, MaxProposal: 1 << 20})
				if err != nil {
					b.Fatal(err)
				}
				d.mu.Lock()
				d.nodes[id] = n
				d.mu.Unlock()
				b.Cleanup(func() {
					_ = n.Close()
					_ = log.Close()
				})
			}
			leader := awaitAny(d)
			data := make([]byte, 1024)
			b.SetBytes(1024)
			b.ResetTimer()
			var wait sync.WaitGroup
			todo := make(chan struct{}, b.N)
			for range b.N {
				todo <- struct{}{}
			}
			close(todo)
			for range 1024 {
				wait.Go(func() {
					for range todo {
						if _, err := leader.Propose(context.Background(), data); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wait.Wait()
		})
	}
}

func awaitAny(d direct) *Node {
	for {
		for _, n := range d.nodes {
			if n.Status().Leading {
				return n
			}
		}
		time.Sleep(time.Millisecond)
	}
}
