package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// direction is which way the bytes of a bulk bound go.
type direction byte

const (
	toServer   direction = sink   // as a producer's do
	fromServer direction = source // as a consumer's do
)

// quicBulk measures one-way bytes per second over all connections of the link,
// one stream each: in records of size what RustMQ could move if it cost nothing.
func quicBulk(ctx context.Context, l *farLink, way direction, size int, d time.Duration) (Result, error) {
	before, err := l.cpuTime(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("QUIC bulk bound: %w", err)
	}
	watch := startWatch()
	var total atomic.Int64
	var group errgroup.Group
	for i := range l.conns {
		group.Go(func() error {
			s, err := l.order(ctx, i, byte(way), uint32(d.Milliseconds()))
			if err != nil {
				return err
			}
			n, err := bulk(s, way, d, s.Close)
			total.Add(n)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return Result{}, fmt.Errorf("QUIC bulk bound: %w", err)
	}
	wall, cpu := watch.elapsed()
	after, err := l.cpuTime(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("QUIC bulk bound: %w", err)
	}
	return bulkResult(fmt.Sprintf("quic_bulk_%d", len(l.conns)), total.Load(), size, wall, cpu, after-before), nil
}

// tlsBulk is the same over one TLS 1.3 connection on TCP.
func tlsBulk(ctx context.Context, l *farLink, way direction, size int, d time.Duration) (Result, error) {
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: l.tls}
	return streamBulk(ctx, l, "tls_bulk", way, size, d, func() (net.Conn, error) { return dialer.DialContext(ctx, "tcp", l.TLS) })
}

// tcpBulk is the same over one TCP connection without TLS.
func tcpBulk(ctx context.Context, l *farLink, way direction, size int, d time.Duration) (Result, error) {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	return streamBulk(ctx, l, "tcp_bulk", way, size, d, func() (net.Conn, error) { return dialer.DialContext(ctx, "tcp", l.TCP) })
}

// streamBulk measures a bound over one connection.
func streamBulk(ctx context.Context, l *farLink, name string, way direction, size int, d time.Duration, dial func() (net.Conn, error)) (Result, error) {
	conn, err := dial()
	if err != nil {
		return Result{}, fmt.Errorf("dial bound %s: %w", name, err)
	}
	defer conn.Close()
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return Result{}, fmt.Errorf("bound %s: a %T cannot be closed for writing", name, conn)
	}
	before, err := l.cpuTime(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("bound %s: %w", name, err)
	}
	watch := startWatch()
	if err := writeOrder(conn, byte(way), uint32(d.Milliseconds())); err != nil {
		return Result{}, fmt.Errorf("bound %s: %w", name, err)
	}
	total, err := bulk(conn, way, d, half.CloseWrite)
	if err != nil {
		return Result{}, fmt.Errorf("bound %s: %w", name, err)
	}
	wall, cpu := watch.elapsed()
	after, err := l.cpuTime(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("bound %s: %w", name, err)
	}
	return bulkResult(name, total, size, wall, cpu, after-before), nil
}

// bulk moves bytes for d and says how many arrived.
func bulk(s interface {
	Read(p []byte) (int, error)
	Write(p []byte) (int, error)
}, way direction, d time.Duration, closeWrite func() error,
) (int64, error) {
	if way == fromServer {
		n, err := drain(s)
		return n, errors.Join(err, closeWrite())
	}
	if err := errors.Join(writeFor(s, d), closeWrite()); err != nil {
		return 0, err
	}
	return readAnswer(s)
}

func bulkResult(name string, total int64, size int, wall, cpu, far time.Duration) Result {
	records := total / int64(size)
	return Result{
		Name: name, Value: rate(total, wall) / float64(size), Unit: unitRecords,
		CPUPerRecord: perRecord(cpu, records), ServerCPUPerRecord: perRecord(far, records),
		Records: records, RecordSizeBytes: size,
	}
}
