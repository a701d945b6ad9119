package bench

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// floorAckBytes is what the composed floor answers with, bytes: request number and offset.
const floorAckBytes = 16

// groupCommit measures producers that each wait for the raw committer, records of size bytes.
func groupCommit(ctx context.Context, dir string, producers, size int, d time.Duration) (Result, error) {
	c, err := newCommitter(dir)
	if err != nil {
		return Result{}, err
	}
	record := make([]byte, size)
	_, _ = rand.Read(record)
	waiters := newWaiters(producers)
	loop, err := closedLoop(ctx, producers, d, func(_ context.Context, i int) error {
		c.submit(record, waiters[i].done)
		return <-waiters[i].c
	})
	if err := firstError(err, c.Close()); err != nil {
		return Result{}, fmt.Errorf("group-commit bound: %w", err)
	}
	return loop.result(fmt.Sprintf("group_commit_%d", producers), size), nil
}

// waiter is one producer's completion; done does not allocate per record.
type waiter struct {
	c    chan error
	done func(error)
}

func newWaiters(n int) []waiter {
	ws := make([]waiter, n)
	for i := range ws {
		c := make(chan error, 1)
		ws[i] = waiter{c: c, done: func(err error) { c <- err }}
	}
	return ws
}

// quicFloor measures the composed floor: producers with one record in flight
// each, every one on a long-lived stream of its own, spread over conns
// connections, into the group commit and back.
func quicFloor(ctx context.Context, dir string, producers, conns, size int, d time.Duration) (Result, error) {
	c, err := newCommitter(dir)
	if err != nil {
		return Result{}, err
	}
	var streams sync.WaitGroup
	pair, err := newQUICPair(ctx, conns, func(conn *quic.Conn) {
		for {
			s, err := conn.AcceptStream(context.Background())
			if err != nil {
				return
			}
			streams.Go(func() { serveFloor(s, c, size) })
		}
	})
	if err != nil {
		return Result{}, firstError(err, c.Close())
	}
	record := make([]byte, size)
	_, _ = rand.Read(record)
	open := make([]*quic.Stream, producers)
	for i := range open {
		if open[i], err = pair.conns[i%conns].OpenStreamSync(ctx); err != nil {
			return Result{}, firstError(err, pair.Close(), c.Close())
		}
	}
	acks := make([][floorAckBytes]byte, producers)
	loop, err := closedLoop(ctx, producers, d, func(_ context.Context, i int) error {
		if _, err := open[i].Write(record); err != nil {
			return err
		}
		_, err := io.ReadFull(open[i], acks[i][:])
		return err
	})
	err = firstError(err, pair.Close())
	streams.Wait()
	if err := firstError(err, c.Close()); err != nil {
		return Result{}, fmt.Errorf("composed floor: %w", err)
	}
	return loop.result(fmt.Sprintf("quic_floor_%d", producers), size), nil
}

// serveFloor answers each record of size bytes on s once it is committed.
func serveFloor(s *quic.Stream, c *committer, size int) {
	w := newWaiters(1)[0]
	record := make([]byte, size)
	var ack [floorAckBytes]byte
	for n := uint64(0); ; n++ {
		if _, err := io.ReadFull(s, record); err != nil {
			return
		}
		c.submit(record, w.done)
		if err := <-w.c; err != nil {
			s.CancelWrite(1)
			return
		}
		binary.BigEndian.PutUint64(ack[:], n)
		if _, err := s.Write(ack[:]); err != nil {
			return
		}
	}
}
