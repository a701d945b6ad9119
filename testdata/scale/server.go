package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rustmq/rustmq/client"
)

// server is one `rustmq serve` with a data directory and a home of its own.
type server struct {
	bin, dir string
	addr     string
	cmd      *exec.Cmd
}

// start returns when the server is ready.
func (s *server) start(ctx context.Context) error {
	s.cmd = exec.CommandContext(ctx, s.bin, "serve", "--data-dir", filepath.Join(s.dir, "data"),
		"--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-level", "warn")
	s.cmd.Env = append(os.Environ(), "HOME="+s.dir)
	s.cmd.Stderr = os.Stderr
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) >= 2 && fields[0] == "clients":
			s.addr = fields[1]
		case len(fields) == 1 && fields[0] == "ready":
			return nil
		}
	}
	return errors.Join(fmt.Errorf("the server ended before it was ready: %w", lines.Err()), s.cmd.Wait())
}

// stop ends the server, which has to exit 0.
func (s *server) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := s.cmd.Wait(); err != nil {
		return fmt.Errorf("the server's end: %w", err)
	}
	return nil
}

// restart stops the server and starts it again, and says how long the start took.
func (s *server) restart(ctx context.Context) (time.Duration, error) {
	if err := s.stop(); err != nil {
		return 0, err
	}
	began := time.Now()
	err := s.start(ctx)
	return time.Since(began), err
}

func (s *server) caFile() string { return filepath.Join(s.dir, "data", "pki", "ca.crt") }

func (s *server) client() (*client.Client, error) {
	return client.New(client.Servers(s.addr), client.CAFile(s.caFile()), client.RequestTimeout(5*time.Minute))
}

func (s *server) proc(name string) (string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", s.cmd.Process.Pid, name))
	return string(data), err
}

// rss is the server's resident memory in MiB.
func (s *server) rss() (float64, error) {
	text, err := s.proc("status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			return kib / 1024, err
		}
	}
	return 0, errors.New("no VmRSS in /proc/PID/status")
}

// clockTick is the unit of /proc/PID/stat: USER_HZ, 100 per second on all that Go runs on.
const clockTick = 10 * time.Millisecond

// cpu is the processor time that the server has used.
func (s *server) cpu() (time.Duration, error) {
	text, err := s.proc("stat")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * clockTick, err
}
