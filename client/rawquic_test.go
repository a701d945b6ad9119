package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/quic-go/quic-go"
)

// rawStream is one bare QUIC stream to a server that runs serve on its end: the bound that the client is measured against.
func rawStream(b *testing.B, serve func(*quic.Stream)) *quic.Stream {
	b.Helper()
	cert, roots := selfSigned(b)
	listener, err := quic.ListenAddr("127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"raw"}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	go func() { // ends with the listener
		conn, err := listener.Accept(context.Background())
		if err != nil {
			return
		}
		stream, err := conn.AcceptStream(context.Background())
		if err != nil {
			return
		}
		serve(stream)
	}()
	pc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4zero})
	if err != nil {
		b.Fatal(err)
	}
	tr := &quic.Transport{Conn: pc}
	conn, err := tr.Dial(context.Background(), listener.Addr(), &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", NextProtos: []string{"raw"}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		conn.CloseWithError(0, "")
		listener.Close()
		tr.Close()
		pc.Close()
	})
	stream, err := conn.OpenStreamSync(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	return stream
}

func BenchmarkRawPingPong(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			stream := rawStream(b, func(s *quic.Stream) {
				in, out := make([]byte, size), make([]byte, 50)
				for {
					if _, err := io.ReadFull(s, in); err != nil {
						return
					}
					if _, err := s.Write(out); err != nil {
						return
					}
				}
			})
			out, in := noise(size), make([]byte, 50)
			b.SetBytes(int64(size))
			for b.Loop() {
				if _, err := stream.Write(out); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(stream, in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRawBulk(b *testing.B) {
	done := make(chan int64, 1)
	const piece = 64 << 10
	want := int64(b.N) * piece
	stream := rawStream(b, func(s *quic.Stream) {
		n, _ := io.CopyN(io.Discard, s, want)
		done <- n
	})
	out := noise(piece)
	b.SetBytes(piece)
	b.ResetTimer()
	for range b.N {
		if _, err := stream.Write(out); err != nil {
			b.Fatal(err)
		}
	}
	if n := <-done; n != want {
		b.Fatal(n)
	}
}
