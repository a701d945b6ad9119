package directio

import (
	"errors"
	"runtime"
	"structs"
	"unsafe"

	"golang.org/x/sys/unix"
)

// queueDepth is how many pieces are read at a time.
const queueDepth = 32

// Queue reads many pieces of a file by one request to the system: the device is told of all of them at once, and one thread waits once. The zero value is
// ready. It is for one goroutine at a time.
type Queue struct {
	kernel uintptr // the system's side: its name there, 0 before the first Read. It ends with the Queue's memory
	none   bool    // the system has none for us
	calls  [queueDepth]iocb
	list   [queueDepth]*iocb
	events [queueDepth]ioEvent
}

// iocb is the kernel's struct iocb.
type iocb struct {
	_        structs.HostLayout
	data     uint64
	key      uint32 // and rwFlags: both are zero, whatever their order is
	rwFlags  uint32
	opcode   uint16
	priority int16
	fd       uint32
	buf      uint64
	bytes    uint64
	at       int64
	reserved uint64
	flags    uint32
	resFD    uint32
}

// ioEvent is the kernel's struct io_event.
type ioEvent struct {
	_          structs.HostLayout
	data, call uint64
	res, res2  int64
}

// Read reads pieces of a file that was opened with [Flag], each as far as that succeeds, and returns when nothing is read any more. It is
// false when the system does not do that here, and nothing was read.
func (q *Queue) Read(fd uintptr, pieces []Piece) bool {
	if q.kernel == 0 && !q.open() {
		return false
	}
	for len(pieces) > 0 {
		n := min(len(pieces), queueDepth)
		q.read(fd, pieces[:n])
		pieces = pieces[n:]
	}
	return true
}

// Refused says whether the system does not do it for this process: it has no such call, does not allow it, or others have all that there are.
func (q *Queue) Refused() bool { return q.none }

func (q *Queue) open() bool {
	if q.none {
		return false
	}
	if _, _, e := unix.Syscall(unix.SYS_IO_SETUP, queueDepth, uintptr(unsafe.Pointer(&q.kernel)), 0); e != 0 {
		q.none = true
		return false
	}
	runtime.AddCleanup(q, func(id uintptr) { _, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, id, 0, 0) }, q.kernel)
	return true
}

func (q *Queue) read(fd uintptr, pieces []Piece) {
	for i := range pieces {
		p := &pieces[i]
		p.N = 0
		q.calls[i] = iocb{
			data: uint64(i), fd: uint32(fd), at: p.At, // opcode 0 is IOCB_CMD_PREAD
			buf: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(p.Bytes)))), bytes: uint64(len(p.Bytes)),
		}
		q.list[i] = &q.calls[i]
	}
	var flying int
	for sent := 0; sent < len(pieces); {
		n, _, e := unix.Syscall(unix.SYS_IO_SUBMIT, q.kernel, uintptr(len(pieces)-sent), uintptr(unsafe.Pointer(&q.list[sent])))
		if e != 0 || n == 0 {
			break // those were not begun
		}
		sent += int(n)
		flying = sent
	}
	for flying > 0 { // nobody may use the memory before
		n, _, e := unix.Syscall6(unix.SYS_IO_GETEVENTS, q.kernel, uintptr(flying), uintptr(flying), uintptr(unsafe.Pointer(&q.events[0])), 0, 0)
		if errors.Is(e, unix.EINTR) {
			continue
		}
		if e != 0 {
			panic("directio: the system does not say what became of reads: " + e.Error()) // no argument can be wrong
		}
		for _, ev := range q.events[:n] {
			pieces[ev.data].N = int(max(ev.res, 0))
		}
		flying -= int(n)
	}
	runtime.KeepAlive(pieces)
}
