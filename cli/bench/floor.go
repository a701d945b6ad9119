package bench

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"time"

	"github.com/quic-go/quic-go"
)

// composedFloor is producers with one record in flight each, every one on a
// long-lived stream of its own, spread over the link's connections, into the
// far end's group commit and back.
type composedFloor struct {
	link    *farLink
	streams []*quic.Stream
	acks    [][floorAckBytes]byte
	record  []byte
}

func newFloor(ctx context.Context, l *farLink, producers, size int) (*composedFloor, error) {
	f := &composedFloor{link: l, acks: make([][floorAckBytes]byte, producers), record: make([]byte, size)}
	_, _ = rand.Read(f.record)
	for i := range producers {
		s, err := l.order(ctx, i%len(l.conns), floor, uint32(size))
		if err != nil {
			return nil, fmt.Errorf("composed floor: %w", err)
		}
		f.streams = append(f.streams, s)
	}
	return f, nil
}

func (f *composedFloor) measure(ctx context.Context, d time.Duration) (Result, error) {
	before, err := f.link.cpuTime(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("composed floor: %w", err)
	}
	loop, err := closedLoop(ctx, len(f.streams), d, func(_ context.Context, i int) error {
		if _, err := f.streams[i].Write(f.record); err != nil {
			return err
		}
		_, err := io.ReadFull(f.streams[i], f.acks[i][:])
		return err
	})
	if err != nil {
		return Result{}, fmt.Errorf("composed floor: %w", err)
	}
	after, err := f.link.cpuTime(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("composed floor: %w", err)
	}
	r := loop.result(fmt.Sprintf("quic_floor_%d", len(f.streams)), len(f.record))
	r.ServerCPUPerRecord = perRecord(after-before, r.Records)
	return r, nil
}
