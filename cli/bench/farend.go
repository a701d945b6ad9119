package bench

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/rustmq/rustmq/wal/walbench"
)

// A stream to the far end, over QUIC or TLS, begins with one byte that says what
// the far end is to do with it, and a number:
//
//	'S' 0      take all that comes, then answer how many bytes that were
//	'R' ms     send for so long
//	'F' size   answer each record of this size when it is committed
//	'C' 0      answer the CPU time of the far end's process, nanoseconds
const (
	sink   = 'S'
	source = 'R'
	floor  = 'F'
	cpu    = 'C'
)

const (
	orderBytes  = 1 + 4
	answerBytes = 8
	// bulkWrite is how much the bulk bounds hand to the transport at once, bytes.
	bulkWrite = 64 << 10
	// floorAckBytes is what the composed floor answers with, bytes: request number and offset.
	floorAckBytes = 16

	boundALPN = "rustmq-bound"
)

// greeting is the line that the far end prints when it can be dialled.
type greeting struct {
	QUIC        string `json:"quic"` // host:port
	TLS         string `json:"tls"`
	TCP         string `json:"tcp"`
	Certificate []byte `json:"certificate"` // DER, to be trusted
}

// boundConfig is quic-go's for both ends. The windows are wide enough that
// they never are what stops a stream.
func boundConfig() *quic.Config {
	return &quic.Config{
		MaxIncomingStreams:             4096,
		KeepAlivePeriod:                5 * time.Second,
		InitialStreamReceiveWindow:     4 << 20,
		MaxStreamReceiveWindow:         16 << 20,
		InitialConnectionReceiveWindow: 8 << 20,
		MaxConnectionReceiveWindow:     32 << 20,
	}
}

// ServeFarEnd is the other end of the bounds: it serves on loopback until in
// ends, having told where on out. What is committed goes into a file in dir.
func ServeFarEnd(dir string, in io.Reader, out io.Writer) error {
	cert, err := selfSigned()
	if err != nil {
		return fmt.Errorf("make the certificate of the bounds: %w", err)
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{boundALPN}, Certificates: []tls.Certificate{cert}}
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return fmt.Errorf("open the socket of the QUIC bounds: %w", err)
	}
	defer socket.Close()
	transport := &quic.Transport{Conn: socket}
	defer transport.Close()
	streams, err := transport.Listen(cfg, boundConfig())
	if err != nil {
		return fmt.Errorf("listen for the QUIC bounds: %w", err)
	}
	defer streams.Close()
	conns, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		return fmt.Errorf("listen for the TLS bound: %w", err)
	}
	defer conns.Close()
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for the TCP bound: %w", err)
	}
	defer plain.Close()
	f := &farEnd{raw: sync.OnceValues(func() (*walbench.Raw, error) { return walbench.OpenRaw(dir) })}
	go f.acceptQUIC(streams)
	go f.acceptTCP(conns)
	go f.acceptTCP(plain)
	hello, err := json.Marshal(greeting{QUIC: socket.LocalAddr().String(), TLS: conns.Addr().String(), TCP: plain.Addr().String(), Certificate: cert.Certificate[0]})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "%s\n", hello); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, in)
	return errors.Join(err, transport.Close(), f.close()) // whoever started us may have gone without a word: his streams end here
}

// selfSigned is a certificate for 127.0.0.1 that lives a day.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

type farEnd struct {
	raw func() (*walbench.Raw, error) // made by the first who commits

	mu     sync.Mutex
	used   bool // raw
	closed bool
	floors sync.WaitGroup // streams that use raw
}

func (f *farEnd) acceptQUIC(l *quic.Listener) {
	for {
		conn, err := l.Accept(context.Background())
		if err != nil {
			return
		}
		go func() {
			for {
				s, err := conn.AcceptStream(context.Background())
				if err != nil {
					return
				}
				go f.serve(s)
			}
		}()
	}
}

func (f *farEnd) acceptTCP(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go f.serve(conn)
	}
}

// serve does what the stream's order says. Its errors are for the other side, which sees the stream end.
func (f *farEnd) serve(s io.ReadWriteCloser) {
	defer s.Close()
	var order [orderBytes]byte
	if _, err := io.ReadFull(s, order[:]); err != nil {
		return
	}
	n := binary.BigEndian.Uint32(order[1:])
	switch order[0] {
	case sink:
		total, _ := drain(s)
		_ = answer(s, total)
	case source:
		_ = writeFor(s, time.Duration(n)*time.Millisecond)
	case floor:
		f.serveFloor(s, int(n))
	case cpu:
		_ = answer(s, int64(cpuTime()))
	}
}

// serveFloor answers each record of size bytes on s once it is committed.
func (f *farEnd) serveFloor(s io.ReadWriter, size int) {
	raw, ok := f.useRaw()
	if !ok {
		return
	}
	defer f.floors.Done()
	record := make([]byte, size)
	var ack [floorAckBytes]byte
	done := make(signal, 1)
	for n := uint64(0); ; n++ {
		if _, err := io.ReadFull(s, record); err != nil {
			return
		}
		raw.Append(record, done)
		if err := <-done; err != nil {
			return
		}
		binary.BigEndian.PutUint64(ack[:], n)
		if _, err := s.Write(ack[:]); err != nil {
			return
		}
	}
}

// signal is a [wal.Done] to wait for.
type signal chan error

func (s signal) Appended(err error) { s <- err }

// useRaw is the raw group commit until floors.Done.
func (f *farEnd) useRaw() (*walbench.Raw, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, false
	}
	f.used = true
	raw, err := f.raw()
	if err != nil {
		return nil, false
	}
	f.floors.Add(1)
	return raw, true
}

// close ends the group commit. The streams have ended with their connections, or do now.
func (f *farEnd) close() error {
	f.mu.Lock()
	f.closed = true
	used := f.used
	f.mu.Unlock()
	if !used {
		return nil
	}
	raw, err := f.raw()
	if err != nil {
		return fmt.Errorf("make the file of the composed floor: %w", err)
	}
	f.floors.Wait()
	return raw.Close()
}

// Spawn starts another process that runs [ServeFarEnd] with its file in dir, and
// gives its input and output. wait ends when it has ended, after its input was closed.
type Spawn func(ctx context.Context, dir string) (in io.WriteCloser, out io.Reader, wait func() error, err error)

// farLink is this process's end.
type farLink struct {
	greeting
	in    io.Closer
	wait  func() error
	tls   *tls.Config
	conns []boundConn
}

// boundConn is a QUIC connection on a socket of its own.
type boundConn struct {
	*quic.Conn
	transport *quic.Transport
	socket    *net.UDPConn
}

// startFarEnd starts a far end and opens n connections to it.
func startFarEnd(ctx context.Context, spawn Spawn, dir string, n int) (*farLink, error) {
	in, out, wait, err := spawn(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("start the far end of the bounds: %w", err)
	}
	l := &farLink{in: in, wait: wait}
	if err := l.open(ctx, out, n); err != nil {
		return nil, errors.Join(fmt.Errorf("reach the far end of the bounds: %w", err), l.Close())
	}
	return l, nil
}

func (l *farLink) open(ctx context.Context, out io.Reader, n int) error {
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		return err
	}
	if err := json.Unmarshal(line, &l.greeting); err != nil {
		return err
	}
	cert, err := x509.ParseCertificate(l.Certificate)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	l.tls = &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{boundALPN}, RootCAs: roots, ServerName: "127.0.0.1"}
	addr, err := net.ResolveUDPAddr("udp", l.QUIC)
	if err != nil {
		return err
	}
	for range n {
		socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return err
		}
		c := boundConn{transport: &quic.Transport{Conn: socket}, socket: socket}
		if c.Conn, err = c.transport.Dial(ctx, addr, l.tls, boundConfig()); err != nil {
			return errors.Join(err, c.transport.Close(), socket.Close())
		}
		l.conns = append(l.conns, c)
	}
	return nil
}

// order opens a stream on one of the connections.
func (l *farLink) order(ctx context.Context, conn int, kind byte, n uint32) (*quic.Stream, error) {
	s, err := l.conns[conn].OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	return s, writeOrder(s, kind, n)
}

func writeOrder(w io.Writer, kind byte, n uint32) error {
	var order [orderBytes]byte
	order[0] = kind
	binary.BigEndian.PutUint32(order[1:], n)
	_, err := w.Write(order[:])
	return err
}

// cpuTime is what the far end's process has used so far.
func (l *farLink) cpuTime(ctx context.Context) (time.Duration, error) {
	s, err := l.order(ctx, 0, cpu, 0)
	if err != nil {
		return 0, err
	}
	ns, err := readAnswer(s)
	return time.Duration(ns), errors.Join(err, s.Close())
}

// Close ends the connections and the far end.
func (l *farLink) Close() error {
	var errs []error
	for _, c := range l.conns {
		errs = append(errs, c.CloseWithError(0, ""), c.transport.Close(), c.socket.Close())
	}
	return errors.Join(append(errs, l.in.Close(), l.wait())...)
}

func answer(w io.Writer, n int64) error {
	var b [answerBytes]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	_, err := w.Write(b[:])
	return err
}

func readAnswer(r io.Reader) (int64, error) {
	var b [answerBytes]byte
	_, err := io.ReadFull(r, b[:])
	return int64(binary.BigEndian.Uint64(b[:])), err
}

func drain(r io.Reader) (total int64, err error) {
	buf := make([]byte, bulkWrite)
	for {
		n, err := r.Read(buf)
		total += int64(n)
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
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
