package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/rustmq/rustmq/mq"
)

const (
	// readBuffer is the size of reads; longer lines are gathered.
	readBuffer = 1 << 20
	// maxLine bounds a line: no record can be larger, whatever the topic allows.
	maxLine = mq.MaxBatchBytes
)

// lineReader cuts an input into lines without a newline. Everything else in them
// stays as it is.
type lineReader struct {
	in     *bufio.Reader
	long   []byte // gathers a line that is longer than the buffer
	number int64  // of the line that was asked for last, from 1
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{in: bufio.NewReaderSize(r, readBuffer)}
}

// next is the next line, valid until the next call. The last one need not end with a
// newline; io.EOF comes after it.
func (l *lineReader) next() ([]byte, error) {
	l.number++
	line, err := l.in.ReadSlice('\n')
	if err == nil {
		return line[:len(line)-1], nil
	}
	l.long = l.long[:0]
	for errors.Is(err, bufio.ErrBufferFull) {
		l.long = append(l.long, line...)
		if len(l.long) > maxLine {
			return nil, fmt.Errorf("longer than %d bytes: no record can be", maxLine)
		}
		line, err = l.in.ReadSlice('\n')
	}
	if len(l.long) > 0 {
		l.long = append(l.long, line...)
		line = l.long
	}
	switch {
	case err == nil:
		return line[:len(line)-1], nil
	case err == io.EOF && len(line) > 0:
		return line, nil
	default:
		return nil, err
	}
}

// pace spaces records evenly in time.
type pace struct {
	interval time.Duration // 0: no limit
	next     time.Time
}

// paceSlack is how far behind its schedule a pace may fall before it forgets the
// past rather than make up for it in a burst; and what is too short to sleep.
const (
	paceSlack = time.Second
	paceGrain = time.Millisecond
)

func newPace(perSecond float64) *pace {
	if perSecond <= 0 {
		return &pace{}
	}
	return &pace{interval: time.Duration(float64(time.Second) / perSecond)}
}

// wait returns when the next record is due.
func (p *pace) wait(ctx context.Context) error {
	if p.interval == 0 {
		return nil
	}
	now := time.Now()
	if p.next.IsZero() || now.Sub(p.next) > paceSlack {
		p.next = now
	}
	ahead := p.next.Sub(now)
	p.next = p.next.Add(p.interval)
	if ahead < paceGrain {
		return nil
	}
	timer := time.NewTimer(ahead)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
