package nodetest

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// gate lets a test lead the data log's writer from call to call.
type gate struct {
	fs   *crashfs.FS
	at   chan crashfs.Call // the writer stands before this call
	pass chan struct{}
	open chan struct{} // closed: it goes where it wants
}

func newGate(disk *crashfs.FS) *gate {
	g := &gate{fs: disk, at: make(chan crashfs.Call), pass: make(chan struct{}), open: make(chan struct{})}
	disk.Hook(func(c crashfs.Call) error {
		if !in(walName, c.Path) || filepath.Ext(c.Path) != ".wal" || c.Op != crashfs.OpWrite && c.Op != crashfs.OpSync {
			return nil
		}
		select {
		case g.at <- c:
		case <-g.open:
			return nil
		}
		select {
		case <-g.pass:
		case <-g.open:
		}
		return nil
	})
	return g
}

// untilSync leads the writer to a sync that makes so many more entries durable, and says where the log ends then. It stands before it.
func (g *gate) untilSync(ctx context.Context, more int) (end int64, err error) {
	before, _, err := g.log()
	for err == nil {
		select {
		case c := <-g.at:
			var entries int
			if c.Op == crashfs.OpSync {
				if entries, end, err = g.log(); err != nil || entries >= before+more {
					return end, err
				}
			}
			g.pass <- struct{}{}
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return 0, err
}

// log counts the entries of the log's last segment as they were written, and says where it ends.
func (g *gate) log() (entries int, end int64, err error) {
	written := g.fs.Clone(1)
	written.CrashWith(crashfs.Keep())
	err = wal.Frames(written, "/data/"+walName, func(f wal.Frame) error {
		switch {
		case f.Damaged:
			return errors.New(f.String())
		case f.Entry:
			entries++
		case f.Kind == "end":
			end = f.Position
		}
		return nil
	})
	return entries, end, err
}
