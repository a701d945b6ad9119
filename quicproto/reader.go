package quicproto

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"github.com/rustmq/rustmq/mq"
)

const (
	// readAhead is what a FrameReader takes from its stream at once while it looks for a header: enough for the header and
	// prefix of a Produce or Records frame, so that a big body is then read straight into its own memory, and little
	// enough to be kept by 10,000 idle streams.
	readAhead = 64
	// keepScratch is the largest payload buffer in bytes that a FrameReader keeps between frames.
	keepScratch = 4 << 10
	// firstPiece is what is allocated at first for a payload larger than that, bytes.
	firstPiece = 64 << 10

	_ uint = readAhead - HeaderSize - ProducePrefixSize // Prefix can give the prefix of a Produce frame
	_ uint = readAhead - HeaderSize - RecordsPrefixSize // and of a Records frame
)

// FrameReader reads frames from one stream. It is for one goroutine. It never allocates for a frame whose length was not
// checked against its limits.
type FrameReader struct {
	r       io.Reader
	body    int // largest batch or batches of a Produce or Records frame
	left    int // bytes of the present payload not read yet
	typ     Type
	buf     [readAhead]byte
	pos, n  int // buf[pos:n] was read from r and is not consumed
	scratch []byte
}

// NewFrameReader reads from r. maxBody is the largest batch that a Produce, or batches that a Records frame may carry, in
// bytes; at most MaxBatchBytes.
func NewFrameReader(r io.Reader, maxBody int) *FrameReader {
	return &FrameReader{r: r, body: min(maxBody, MaxBatchBytes)}
}

// SetMaxBody changes the limit given to NewFrameReader for the frames to come.
func (r *FrameReader) SetMaxBody(n int) { r.body = min(n, MaxBatchBytes) }

// Next reads the header of the next frame and returns its type and the length of its payload in bytes, which is checked
// against the type's limit. What was not read of the payload before is skipped. The error is io.EOF if the stream ended
// between two frames, io.ErrUnexpectedEOF inside one, a *mq.Error for what no peer should send (UNSUPPORTED_VERSION,
// MESSAGE_TOO_LARGE), else the stream's.
func (r *FrameReader) Next() (Type, int, error) {
	if err := r.skip(); err != nil {
		return 0, 0, err
	}
	if err := r.fill(HeaderSize); err != nil {
		if errors.Is(err, io.EOF) && r.n > r.pos {
			err = io.ErrUnexpectedEOF
		}
		return 0, 0, err
	}
	size := binary.BigEndian.Uint32(r.buf[r.pos:])
	r.typ = Type(r.buf[r.pos+4])
	r.pos += HeaderSize
	limit := r.limit()
	if limit == 0 {
		return 0, 0, mq.Errorf(mq.UnsupportedVersion, "unknown %v", r.typ)
	}
	if int64(size) > int64(limit) {
		return 0, 0, mq.Errorf(mq.MessageTooLarge, "%v frame of %d bytes, at most %d", r.typ, size, limit)
	}
	r.left = int(size)
	return r.typ, r.left, nil
}

// fill reads until at least n bytes are in buf, n being at most its size.
func (r *FrameReader) fill(n int) error {
	for r.n-r.pos < n {
		if r.pos > 0 {
			r.n = copy(r.buf[:], r.buf[r.pos:r.n])
			r.pos = 0
		}
		m, err := r.r.Read(r.buf[r.n:])
		r.n += m
		if err != nil && r.n < n {
			return err
		}
	}
	return nil
}

func (r *FrameReader) limit() int {
	switch r.typ {
	case TypeProduce:
		return ProducePrefixSize + r.body
	case TypeRecords:
		return RecordsPrefixSize + r.body
	default:
		return r.typ.MaxPayload()
	}
}

// Left is how many bytes of the present payload have not been read.
func (r *FrameReader) Left() int { return r.left }

// Prefix reads the next n bytes of the present payload, n being at most that of a Produce or Records frame. The slice is valid until the
// next call on r. Errors are those of ReadFull.
func (r *FrameReader) Prefix(n int) ([]byte, error) {
	if n > r.left {
		return nil, mq.Errorf(mq.ProtocolViolation, "%v: payload is too short", r.typ)
	}
	if err := r.fill(n); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	p := r.buf[r.pos : r.pos+n : r.pos+n]
	r.pos += n
	r.left -= n
	return p, nil
}

// ReadFull reads the next len(p) bytes of the present payload into p. Asking for more than is left is a
// PROTOCOL_VIOLATION (the frame is shorter than its type needs) and reads nothing.
func (r *FrameReader) ReadFull(p []byte) error {
	if len(p) > r.left {
		return mq.Errorf(mq.ProtocolViolation, "%v: payload is too short", r.typ)
	}
	n := copy(p, r.buf[r.pos:r.n])
	r.pos += n
	r.left -= n
	if n == len(p) {
		return nil
	}
	m, err := io.ReadFull(r.r, p[n:])
	r.left -= m
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// Payload reads what is left of the present payload. The slice is valid until the next call on r.
func (r *FrameReader) Payload() ([]byte, error) {
	if r.left <= r.n-r.pos { // all there: no copy
		p := r.buf[r.pos : r.pos+r.left : r.pos+r.left]
		r.pos += r.left
		r.left = 0
		return p, nil
	}
	if r.left > keepScratch {
		return r.large()
	}
	if cap(r.scratch) < r.left {
		r.scratch = make([]byte, r.left)
	}
	p := r.scratch[:r.left]
	return p, r.ReadFull(p)
}

// large reads what is left of a large payload into memory that grows with what has come, at most twice that: a peer
// that only announces much gets little.
func (r *FrameReader) large() ([]byte, error) {
	var p []byte
	for r.left > 0 {
		n := min(r.left, max(len(p), firstPiece))
		p = slices.Grow(p, n)
		if err := r.ReadFull(p[len(p) : len(p)+n]); err != nil {
			return nil, err
		}
		p = p[:len(p)+n]
	}
	return p, nil
}

// Read reads and decodes the next frame. Byte slices in it (batches, bodies) are valid until the next call on r; on paths
// that carry many batches use Next and ReadFull instead.
func (r *FrameReader) Read() (Frame, error) {
	t, _, err := r.Next()
	if err != nil {
		return nil, err
	}
	p, err := r.Payload()
	if err != nil {
		return nil, err
	}
	return Parse(t, p)
}

// skip reads what is left of the present payload.
func (r *FrameReader) skip() error {
	if r.left == 0 {
		return nil
	}
	sink := make([]byte, min(r.left, keepScratch))
	for r.left > 0 {
		if err := r.ReadFull(sink[:min(r.left, len(sink))]); err != nil {
			return err
		}
	}
	return nil
}
