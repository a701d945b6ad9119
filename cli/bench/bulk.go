package bench

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/sync/errgroup"
)

// bulkWrite is how much the bulk bounds hand to the transport at once, bytes.
const bulkWrite = 64 << 10

// quicBulk measures one-way bytes per second over n loopback QUIC connections
// with one stream each. Records of size bytes per second are what RustMQ could
// move if it cost nothing.
func quicBulk(ctx context.Context, n int, d time.Duration) (Result, error) {
	received := make(chan int64, n)
	pair, err := newQUICPair(ctx, n, func(conn *quic.Conn) {
		s, err := conn.AcceptStream(context.Background())
		if err != nil {
			received <- 0
			return
		}
		buf := make([]byte, bulkWrite)
		var total int64
		for {
			m, err := s.Read(buf)
			total += int64(m)
			if err != nil {
				break
			}
		}
		received <- total
		_, _ = s.Write([]byte{1})
		_ = s.Close()
	})
	if err != nil {
		return Result{}, err
	}
	watch := startWatch()
	var group errgroup.Group
	for _, conn := range pair.conns {
		group.Go(func() error {
			s, err := conn.OpenStreamSync(ctx)
			if err != nil {
				return err
			}
			if err := writeFor(s, d); err != nil {
				return err
			}
			if err := s.Close(); err != nil {
				return err
			}
			_, err = io.ReadFull(s, make([]byte, 1))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return Result{}, firstError(fmt.Errorf("QUIC bulk bound: %w", err), pair.Close())
	}
	wall, cpu := watch.elapsed()
	var total int64
	for range n {
		total += <-received
	}
	return bulkResult(fmt.Sprintf("quic_bulk_%d", n), total, wall, cpu), pair.Close()
}

// tlsBulk is the same over one TLS 1.3 connection on TCP.
func tlsBulk(d time.Duration) (Result, error) {
	serverTLS, clientTLS, err := loopbackTLS()
	if err != nil {
		return Result{}, err
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", serverTLS)
	if err != nil {
		return Result{}, fmt.Errorf("listen for the TLS bound: %w", err)
	}
	defer ln.Close()
	received := make(chan int64, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			received <- 0
			return
		}
		defer conn.Close()
		buf := make([]byte, bulkWrite)
		var total int64
		for {
			m, err := conn.Read(buf)
			total += int64(m)
			if err != nil {
				received <- total
				return
			}
		}
	}()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", ln.Addr().String(), clientTLS)
	if err != nil {
		return Result{}, fmt.Errorf("dial the TLS bound: %w", err)
	}
	watch := startWatch()
	if err := firstError(writeFor(conn, d), conn.Close()); err != nil {
		return Result{}, fmt.Errorf("TLS bulk bound: %w", err)
	}
	total := <-received
	wall, cpu := watch.elapsed()
	return bulkResult("tls_bulk", total, wall, cpu), nil
}

func writeFor(w io.Writer, d time.Duration) error {
	chunk := make([]byte, bulkWrite)
	if _, err := rand.Read(chunk); err != nil {
		return err
	}
	for end := time.Now().Add(d); time.Now().Before(end); {
		if _, err := w.Write(chunk); err != nil {
			return err
		}
	}
	return nil
}

func bulkResult(name string, total int64, wall, cpu time.Duration) Result {
	return Result{
		Name: name, Value: rate(total, wall), Unit: "bytes/s",
		CPUPerRecord: perRecord(cpu, total/defaultRecordSize), Records: total / defaultRecordSize, RecordSizeBytes: defaultRecordSize,
	}
}

// defaultRecordSize is the record size that figures are given for, bytes.
const defaultRecordSize = 1 << 10
