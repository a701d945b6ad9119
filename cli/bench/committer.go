package bench

import (
	"fmt"
	"os"
	"sync"
)

// committer is the bound of a write-ahead log: one goroutine that gathers all
// that waits, writes it at once into a pre-zeroed file, calls fdatasync and lets
// the waiters go. It has no frames, no checksums, no segments and no recovery.
type committer struct {
	file *os.File
	size int64
	pos  int64

	mu     sync.Mutex
	wake   sync.Cond
	queue  []pendingWrite
	closed bool
	done   chan struct{}
	err    error
}

type pendingWrite struct {
	data []byte
	done func(error)
}

// committerFileBytes is the size of the pre-zeroed file, bytes; the committer
// wraps around in it, as a log with recycled segments does.
const committerFileBytes = 256 << 20

func newCommitter(dir string) (*committer, error) {
	f, err := os.CreateTemp(dir, "bound-*.log")
	if err != nil {
		return nil, fmt.Errorf("create the file of the group-commit bound: %w", err)
	}
	zero := make([]byte, 4<<20)
	for off := int64(0); off < committerFileBytes; off += int64(len(zero)) {
		if _, err := f.WriteAt(zero, off); err != nil {
			return nil, fmt.Errorf("zero %s: %w", f.Name(), err)
		}
	}
	if err := f.Sync(); err != nil {
		return nil, fmt.Errorf("sync %s: %w", f.Name(), err)
	}
	c := &committer{file: f, size: committerFileBytes, done: make(chan struct{})}
	c.wake.L = &c.mu
	go c.run()
	return c, nil
}

// submit queues data, which belongs to the committer until done is called.
func (c *committer) submit(data []byte, done func(error)) {
	c.mu.Lock()
	c.queue = append(c.queue, pendingWrite{data, done})
	c.mu.Unlock()
	c.wake.Signal()
}

func (c *committer) run() {
	defer close(c.done)
	var group []pendingWrite
	var buf []byte
	for {
		c.mu.Lock()
		for len(c.queue) == 0 && !c.closed {
			c.wake.Wait()
		}
		if len(c.queue) == 0 {
			c.mu.Unlock()
			return
		}
		group, c.queue = c.queue, group[:0]
		c.mu.Unlock()
		buf = buf[:0]
		for _, p := range group {
			buf = append(buf, p.data...)
		}
		err := c.commit(buf)
		for _, p := range group {
			p.done(err)
		}
	}
}

func (c *committer) commit(buf []byte) error {
	if c.pos+int64(len(buf)) > c.size {
		c.pos = 0
	}
	if _, err := c.file.WriteAt(buf, c.pos); err != nil {
		return err
	}
	c.pos += int64(len(buf))
	return datasync(c.file)
}

// Close lets the queue run dry and removes the file.
func (c *committer) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.wake.Signal()
	<-c.done
	name := c.file.Name()
	return firstError(c.file.Close(), os.Remove(name))
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
