package quicproto

import "io"

const (
	// writeBuffer is the size in bytes at which a FrameWriter writes what it has gathered.
	writeBuffer = 64 << 10
	// writeThrough is the length in bytes from which a body is written from its own memory and not copied.
	writeThrough = 16 << 10
	// keepBuffer is the largest buffer in bytes that a FrameWriter keeps when it is told to Release.
	keepBuffer = 4 << 10
)

// FrameWriter gathers frames and writes them to one stream in large pieces. It is for one goroutine.
type FrameWriter struct {
	w   io.Writer
	buf []byte
}

// NewFrameWriter writes to w.
func NewFrameWriter(w io.Writer) *FrameWriter { return &FrameWriter{w: w} }

// Write adds a frame. It may or may not reach the stream before Flush.
func (w *FrameWriter) Write(f Frame) error {
	w.buf = AppendFrame(w.buf, f)
	return w.flushOver(writeBuffer)
}

// WriteProduce adds a Produce frame. The batch is not kept after return: it is copied if small, else written.
func (w *FrameWriter) WriteProduce(f *Produce) error {
	w.buf = f.AppendPrefix(w.buf)
	return w.body(f.Batch)
}

// WriteRecords adds a Records frame whose body is bodies one after the other; f.Batches is not looked at. The bodies are not
// kept after return.
func (w *FrameWriter) WriteRecords(f *Records, bodies [][]byte) error {
	n := 0
	for _, b := range bodies {
		n += len(b)
	}
	w.buf = f.AppendPrefix(w.buf, n)
	for _, b := range bodies {
		if err := w.body(b); err != nil {
			return err
		}
	}
	return nil
}

func (w *FrameWriter) body(b []byte) error {
	if len(b) < writeThrough {
		w.buf = append(w.buf, b...)
		return w.flushOver(writeBuffer)
	}
	if err := w.flushOver(0); err != nil {
		return err
	}
	_, err := w.w.Write(b)
	return err
}

// Buffered is how many bytes wait for Flush.
func (w *FrameWriter) Buffered() int { return len(w.buf) }

// Flush writes what is gathered. When it returns nil everything added has been handed to the stream.
func (w *FrameWriter) Flush() error {
	return w.flushOver(0)
}

// Release gives up a large buffer. It is called after Flush when nothing more is to be written for a while, so that an idle stream
// costs little.
func (w *FrameWriter) Release() {
	if len(w.buf) == 0 && cap(w.buf) > keepBuffer {
		w.buf = nil
	}
}

func (w *FrameWriter) flushOver(n int) error {
	if len(w.buf) <= n {
		return nil
	}
	_, err := w.w.Write(w.buf)
	w.buf = w.buf[:0]
	return err
}
