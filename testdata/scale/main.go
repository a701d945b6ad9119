package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

var (
	binary      = flag.String("bin", "", "rustmq to measure; built from this tree when empty")
	connections = flag.Int("connections", 10_000, "idle connections")
	partitions  = flag.Int("partitions", 10_000, "partitions, in one topic and in a topic each")
	settle      = flag.Duration("settle", 5*time.Second, "quiet time before a figure is taken")
	watch       = flag.Duration("watch", 10*time.Second, "time over which processor use is measured")
)

// figure is one line of the result. An aim of 0 is none.
type figure struct {
	name  string
	value float64
	unit  string
	aim   float64
}

func (f figure) missed() bool { return f.aim > 0 && f.value > f.aim }

func main() {
	flag.Parse()
	ctx := context.Background()
	if err := run(ctx, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, names []string) error {
	if err := raiseFileLimit(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "rustmq-scale-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bin := *binary
	if bin == "" {
		bin = filepath.Join(dir, "rustmq")
		build := exec.CommandContext(ctx, "go", "build", "-o", bin, ".")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("build rustmq: %w", err)
		}
	}
	scenes := []struct {
		name string
		play func(context.Context, *server) ([]figure, error)
	}{
		{"idle", idle},
		{"connections", manyConnections},
		{"partitions", onePartitionedTopic},
		{"topics", manyTopics},
		{"members", manyMembers},
	}
	missed := 0
	for _, s := range scenes {
		if len(names) > 0 && !slices.Contains(names, s.name) {
			continue
		}
		figures, err := scene(ctx, bin, filepath.Join(dir, s.name), s.play)
		for _, f := range figures {
			note := ""
			if f.aim > 0 {
				note = fmt.Sprintf("aim %s %s", number(f.aim), f.unit)
			}
			if f.missed() {
				note += ": MISSED"
				missed++
			}
			fmt.Printf("%-52s %10s %-4s %s\n", f.name, number(f.value), f.unit, note)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if missed > 0 {
		return fmt.Errorf("%d figures missed their aim", missed)
	}
	return nil
}

func number(v float64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", v), "0"), ".")
}

// scene plays on a fresh server, which it stops.
func scene(ctx context.Context, bin, dir string, play func(context.Context, *server) ([]figure, error)) ([]figure, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &server{bin: bin, dir: dir}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	figures, err := play(ctx, s)
	if stopped := s.stop(); err == nil {
		err = stopped
	}
	return figures, err
}

// raiseFileLimit takes as many files as the system lets this process and its children have.
func raiseFileLimit() error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return err
	}
	l.Cur = l.Max
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
}

// idle is a node that nobody talks to.
func idle(_ context.Context, s *server) ([]figure, error) {
	time.Sleep(*settle)
	return s.rest("serve, idle", 64)
}

// rest is what the server takes while nobody asks anything of it.
func (s *server) rest(name string, aimMiB float64) ([]figure, error) {
	before, err := s.cpu()
	if err != nil {
		return nil, err
	}
	time.Sleep(*watch)
	after, err := s.cpu()
	if err != nil {
		return nil, err
	}
	rss, err := s.rss()
	if err != nil {
		return nil, err
	}
	return []figure{
		{name: name + ": resident memory", value: rss, unit: "MiB", aim: aimMiB},
		{name: name + ": processor use, of one core", value: 100 * (after - before).Seconds() / watch.Seconds(), unit: "%"},
	}, nil
}
