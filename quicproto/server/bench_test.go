package server_test

import (
	"context"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

// The benchmarks compare with a bare QUIC stream on the same machine in the same run: throughput as "ratio", round trips as
// "x_raw". Client and server are in one process. Sizes are those of the project's figures: incompressible batches of 64 KiB.

const benchBatch = 64 << 10

// cost is what something took. On a machine that does other things too only the processor time says much.
type cost struct{ wall, cpu time.Duration }

// measure tells what do takes, of all goroutines of this process.
func measure(do func()) cost {
	began, cpu := time.Now(), cpuTime()
	do()
	return cost{time.Since(began), cpuTime() - cpu}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// rawQUIC is a QUIC connection between two plain sockets with nothing on it.
func rawQUIC(t testing.TB, ca *authority) (client, srv *quic.Conn) {
	t.Helper()
	listen := func() *quic.Transport {
		sock, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		must(t, err)
		tr := &quic.Transport{Conn: sock}
		t.Cleanup(func() {
			tr.Close()
			sock.Close()
		})
		return tr
	}
	a, b := listen(), listen()
	conf := ca.clientTLS()
	conf.Certificates = append(conf.Certificates, ca.issue(t, "server"))
	qc := &quic.Config{
		InitialStreamReceiveWindow: 1 << 20, InitialConnectionReceiveWindow: 2 << 20,
		MaxStreamReceiveWindow: 8 << 20, MaxConnectionReceiveWindow: 16 << 20,
	}
	l, err := a.Listen(conf, qc)
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	if client, err = b.Dial(ctx, a.Conn.LocalAddr(), conf, qc); err != nil {
		t.Fatal(err)
	}
	if srv, err = l.Accept(ctx); err != nil {
		t.Fatal(err)
	}
	return client, srv
}

// rawBulk sends n bytes over a bare stream in pieces of benchBatch.
func rawBulk(t testing.TB, ca *authority, n int) cost {
	t.Helper()
	from, to := rawQUIC(t, ca)
	defer from.CloseWithError(0, "")
	out, err := from.OpenUniStream()
	must(t, err)
	return measure(func() {
		go func() {
			piece := make([]byte, benchBatch)
			for sent := 0; sent < n; sent += len(piece) {
				if _, err := out.Write(piece); err != nil {
					t.Error(err)
					return
				}
			}
			out.Close()
		}()
		in, err := to.AcceptUniStream(context.Background())
		must(t, err)
		got, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{in}, make([]byte, benchBatch))
		must(t, err)
		if got != int64(n) {
			t.Errorf("%d bytes arrived, sent %d", got, n)
		}
	})
}

// rawPings does n round trips of size bytes there and 64 back over a bare stream, and tells their median.
func rawPings(t testing.TB, ca *authority, n, size int) time.Duration {
	t.Helper()
	from, to := rawQUIC(t, ca)
	defer from.CloseWithError(0, "")
	st, err := from.OpenStream()
	must(t, err)
	go func() {
		peer, err := to.AcceptStream(context.Background())
		if err != nil {
			t.Error(err)
			return
		}
		buf := make([]byte, size)
		for {
			if _, err := io.ReadFull(peer, buf); err != nil {
				return
			}
			if _, err := peer.Write(buf[:64]); err != nil {
				return
			}
		}
	}()
	buf, times := make([]byte, size), make([]time.Duration, n)
	for i := range times {
		began := time.Now()
		_, err := st.Write(buf)
		must(t, err)
		_, err = io.ReadFull(st, buf[:64])
		must(t, err)
		times[i] = time.Since(began)
	}
	return median(times)
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

// rounds alternates the thing measured and the bound, so that both see the same machine.
const rounds = 5

func BenchmarkProduceThroughput(b *testing.B) {
	for _, size := range []int{benchBatch, 4 << 10} {
		b.Run(byteName(size), func(b *testing.B) {
			f := start(b, server.Limits{})
			f.broker.add("t", 6)
			for _, p := range f.broker.topics["t"].partitions {
				p.discard = true
			}
			s := f.dial(b).open(&quicproto.OpenProduce{})
			s.bind(1, "t")
			bulk := 128 << 20
			var request uint64
			var r results
			for b.Loop() {
				for range rounds {
					raw := rawBulk(b, f.ca, bulk)
					r.add(bulk, raw, measure(func() { produceBulk(b, s, &request, bulk, size) }))
				}
			}
			r.report(b)
		})
	}
}

// produceBulk sends bytes in batches of size with a window of 1,024 batches and 16 MiB, and waits for all acks.
func produceBulk(b *testing.B, s *channel, request *uint64, bytes, size int) {
	must(b, s.st.SetReadDeadline(time.Time{}))
	one := batch(size)
	n := bytes / size
	window := make(chan struct{}, min(1024, 16<<20/size))
	var wg sync.WaitGroup
	wg.Go(func() {
		for got := 0; got < n; {
			f, err := s.in.Read()
			if err != nil {
				panic(err)
			}
			for _, a := range f.(*quicproto.ProduceAcks).Acks {
				if a.Err() != nil {
					b.Error(a.Err())
				}
				<-window
				got++
			}
		}
	})
	for range n {
		select {
		case window <- struct{}{}:
		default:
			must(b, s.out.Flush())
			window <- struct{}{}
		}
		*request++
		must(b, s.out.WriteProduce(produce(*request, 1, int32(*request%6), one)))
	}
	must(b, s.out.Flush())
	wg.Wait()
}

func BenchmarkConsumeThroughput(b *testing.B) {
	for _, size := range []int{benchBatch, 4 << 10} {
		b.Run(byteName(size), func(b *testing.B) {
			f := start(b, server.Limits{})
			for _, p := range f.broker.add("t", 2).partitions {
				fill(p, (128<<20)/size/2, size)
			}
			c := f.dial(b)
			bulk := 128 << 20
			var r results
			body := make([]byte, 2<<20)
			for b.Loop() {
				for range rounds {
					raw := rawBulk(b, f.ca, bulk)
					r.add(bulk, raw, measure(func() {
						s := c.open(&quicproto.OpenFetch{}, assign(0, 1, "t", 0, 0), assign(1, 1, "t", 1, 0))
						consumeBulk(b, s, bulk, body)
						must(b, s.st.Close())
					}))
				}
			}
			r.report(b)
		})
	}
}

func consumeBulk(b *testing.B, s *channel, bytes int, body []byte) {
	for got := 0; got < bytes; {
		typ, n, err := s.in.Next()
		must(b, err)
		if typ != quicproto.TypeRecords {
			continue
		}
		_, err = s.in.Prefix(quicproto.RecordsPrefixSize)
		must(b, err)
		n -= quicproto.RecordsPrefixSize
		must(b, s.in.ReadFull(body[:n]))
		got += n
	}
}

func BenchmarkProduceRoundTrip(b *testing.B) {
	f := start(b, server.Limits{})
	f.broker.add("t", 1).partitions[0].discard = true
	s := f.dial(b).open(&quicproto.OpenProduce{})
	s.bind(1, "t")
	must(b, s.st.SetReadDeadline(time.Time{}))
	one := batch(1100)
	var request uint64
	var ratios, micros []float64
	for b.Loop() {
		for range rounds {
			raw := rawPings(b, f.ca, 2000, 1100)
			times := make([]time.Duration, 2000)
			for i := range times {
				began := time.Now()
				request++
				must(b, s.out.WriteProduce(produce(request, 1, 0, one)))
				must(b, s.out.Flush())
				_, err := s.in.Read()
				must(b, err)
				times[i] = time.Since(began)
			}
			p50 := median(times)
			ratios, micros = append(ratios, float64(p50)/float64(raw)), append(micros, float64(p50.Nanoseconds())/1e3)
		}
	}
	slices.Sort(ratios)
	slices.Sort(micros)
	b.ReportMetric(ratios[len(ratios)/2], "x_raw")
	b.ReportMetric(micros[len(micros)/2], "p50_us")
	b.ReportMetric(0, "ns/op")
}

// results are those of several rounds.
type results struct{ ratios, cpuRatios, speeds []float64 }

func (r *results) add(bytes int, raw, ours cost) {
	r.ratios = append(r.ratios, raw.wall.Seconds()/ours.wall.Seconds())
	r.cpuRatios = append(r.cpuRatios, raw.cpu.Seconds()/ours.cpu.Seconds())
	r.speeds = append(r.speeds, float64(bytes)/1e6/ours.wall.Seconds())
}

// report tells the medians.
func (r *results) report(b *testing.B) {
	for unit, v := range map[string][]float64{"ratio": r.ratios, "cpu_ratio": r.cpuRatios, "MB/s": r.speeds} {
		slices.Sort(v)
		b.ReportMetric(v[len(v)/2], unit)
	}
	b.ReportMetric(0, "ns/op")
}

func byteName(n int) string {
	return map[int]string{benchBatch: "64KiB", 4 << 10: "4KiB"}[n]
}
