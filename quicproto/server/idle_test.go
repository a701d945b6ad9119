package server_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

// With idleClientsEnv set the test binary is a client process that opens sessions and keeps them: "host:port sessions what".
const idleClientsEnv = "RUSTMQ_TEST_IDLE_CLIENTS"

// idleClients opens sessions, says "open" and keeps them until its standard input ends.
func idleClients(arg string) {
	var addr, what string
	var n int
	if _, err := fmt.Sscan(arg, &addr, &n, &what); err != nil {
		panic(err)
	}
	udp, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		panic(err)
	}
	sock, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		panic(err)
	}
	tr := &quic.Transport{Conn: sock}
	conf := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{quicproto.ALPN}}
	for i := range n {
		if err := idleSession(tr, udp, conf, what); err != nil {
			panic(fmt.Sprintf("session %d: %v", i, err))
		}
	}
	fmt.Println("open")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func idleSession(tr *quic.Transport, addr net.Addr, conf *tls.Config, what string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := tr.Dial(ctx, addr, conf, &quic.Config{KeepAlivePeriod: 20 * time.Second, MaxIdleTimeout: time.Minute})
	if err != nil {
		return err
	}
	open := func(frames ...quicproto.Frame) error {
		st, err := conn.OpenStream()
		if err != nil {
			return err
		}
		var buf []byte
		for _, f := range frames {
			buf = quicproto.AppendFrame(buf, f)
		}
		if _, err := st.Write(buf); err != nil {
			return err
		}
		_, err = quicproto.NewFrameReader(st, 0).Read()
		return err
	}
	if err := open(&quicproto.Hello{MinVersion: 1, MaxVersion: 1}); err != nil {
		return err
	}
	if what == "streams" {
		if err := open(&quicproto.OpenProduce{}, &quicproto.Bind{Topic: "t"}); err != nil {
			return err
		}
		return open(&quicproto.OpenFetch{}, &quicproto.Assign{Topic: "t", LeaderEpoch: -1})
	}
	return nil
}

// TestIdleSessionsAreSmall has another process open idle sessions and looks at what they cost this one.
// RUSTMQ_TEST_IDLE_SESSIONS=10000 measures the figure that the project promises.
func TestIdleSessionsAreSmall(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's own memory is not what is measured")
	}
	n := 300
	if s := os.Getenv("RUSTMQ_TEST_IDLE_SESSIONS"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		must(t, err)
	}
	for what, limit := range map[string]int{"nothing": 120 << 10, "streams": 160 << 10} {
		t.Run(what, func(t *testing.T) {
			f := start(t, server.Limits{})
			f.broker.add("t", 1)
			before, goroutines := residentBytes(t), runtime.NumGoroutine()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s", idleClientsEnv, f.Addr(), n, what))
			cmd.Stderr = os.Stderr
			stdin, err := cmd.StdinPipe()
			must(t, err)
			stdout, err := cmd.StdoutPipe()
			must(t, err)
			must(t, cmd.Start())
			t.Cleanup(func() {
				stdin.Close()
				_ = cmd.Wait()
			})
			if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "open\n" {
				t.Fatalf("the client process said %q, %v", line, err)
			}
			uncollected := (rss(t) - before) / n
			per := (residentBytes(t) - before) / n
			g := float64(runtime.NumGoroutine()-goroutines) / float64(n)
			t.Logf("%d idle sessions: %d KiB of resident memory each (%d before garbage is collected) and %.1f goroutines", n, per>>10, uncollected>>10, g)
			if per > limit {
				t.Errorf("an idle session takes %d bytes, at most %d", per, limit)
			}
		})
	}
}

// residentBytes is this process's resident memory after garbage was collected.
func residentBytes(t *testing.T) int {
	t.Helper()
	debug.FreeOSMemory()
	return rss(t)
}

func rss(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	must(t, err)
	return pages * os.Getpagesize()
}
