package walbench

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/rustmq/rustmq/directio"
	"github.com/rustmq/rustmq/wal"
)

// Raw is the bound of group commit: one file, zeroed in advance; one goroutine
// that takes all that waits, copies it together, writes it with one call, syncs
// it with one call, and tells the producers. No checksums, no index, no
// recovery.
type Raw struct {
	path   string
	file   wal.File
	joined sync.WaitGroup
	syncs  atomic.Int64

	mu     sync.Mutex
	queue  []rawItem
	asleep bool
	closed bool
	wake   chan struct{}
}

type rawItem struct {
	record []byte
	done   wal.Done
}

// rawBytes is the length of the file, which is written round and round.
const rawBytes = 128 << 20

// blank fills up the last block of a group.
var blank [directio.Align]byte

// OpenRaw makes the file in a directory and starts the goroutine.
func OpenRaw(dir string) (*Raw, error) {
	path := filepath.Join(dir, "raw.bench")
	f, err := wal.OS().Create(path)
	if err != nil {
		return nil, err
	}
	if err := zero(f); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(path))
	}
	c := &Raw{path: path, file: f, wake: make(chan struct{}, 1)}
	c.joined.Go(c.run)
	return c, nil
}

func zero(f wal.File) error {
	if err := f.Allocate(rawBytes); err != nil {
		return err
	}
	zeros := make([]byte, 1<<20)
	for pos := int64(0); pos < rawBytes; pos += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros, pos); err != nil {
			return err
		}
	}
	return f.Sync()
}

// Append queues a record, which belongs to the loop until done is told.
func (c *Raw) Append(record []byte, done wal.Done) {
	c.mu.Lock()
	c.queue = append(c.queue, rawItem{record, done})
	wake := c.asleep
	c.asleep = false
	c.mu.Unlock()
	if wake {
		c.wake <- struct{}{}
	}
}

// Close commits what is queued, ends the goroutine and removes the file.
func (c *Raw) Close() error {
	c.mu.Lock()
	c.closed = true
	wake := c.asleep
	c.asleep = false
	c.mu.Unlock()
	if wake {
		c.wake <- struct{}{}
	}
	c.joined.Wait()
	return errors.Join(c.file.Close(), os.Remove(c.path))
}

func (c *Raw) run() {
	var (
		items []rawItem
		buf   = make([]byte, 0, 1<<20)
		pos   int64
	)
	for {
		c.mu.Lock()
		items, c.queue = c.queue, items[:0]
		closed := c.closed
		c.asleep = len(items) == 0 && !closed
		c.mu.Unlock()
		if len(items) == 0 {
			if closed {
				return
			}
			<-c.wake
			continue
		}
		buf = buf[:0]
		for _, it := range items {
			buf = append(buf, it.record...)
		}
		// Whole blocks, as the log writes them: they go past the page cache.
		buf = append(buf, blank[:-len(buf)&(len(blank)-1)]...)
		if pos+int64(len(buf)) > rawBytes {
			pos = 0
		}
		_, err := c.file.WriteAt(buf, pos)
		if err == nil {
			err = c.file.Sync()
		}
		pos += int64(len(buf))
		c.syncs.Add(1)
		for _, it := range items {
			it.done.Appended(err)
		}
	}
}

// rawLoop is Raw as a committer.
type rawLoop struct{ *Raw }

func (c rawLoop) begin(int) uint64    { return 0 }
func (c rawLoop) settled(int, uint64) {}
func (c rawLoop) end(int)             {}

func (c rawLoop) append(_ int, _ uint64, record []byte, done wal.Done) error {
	c.Append(record, done)
	return nil
}
