package kafkaproto

import (
	"encoding/binary"
	"net"
)

// copyBelow is the size in bytes below which a piece is copied into the buffer of a response: a system call, or a record of TLS, costs more.
const copyBelow = 8 << 10

// output gathers a response: what is small in one buffer, and large pieces as they are.
type output struct {
	buf    []byte
	pieces []piece
	extra  int // bytes of pieces
}

// piece stands in a response before the bytes of the buffer from at on.
type piece struct {
	at    int
	bytes []byte
}

// reset makes room for the next response, in the same memory unless that has become large.
func (o *output) reset() {
	if cap(o.buf) > 256<<10 {
		o.buf = nil
	}
	o.buf = o.buf[:0]
	clear(o.pieces)
	o.pieces, o.extra = o.pieces[:0], 0
}

// add adds a piece, which must not change until the response is written.
func (o *output) add(b []byte) {
	if len(b) < copyBelow {
		o.buf = append(o.buf, b...)
		return
	}
	o.pieces = append(o.pieces, piece{len(o.buf), b})
	o.extra += len(b)
}

// frame encodes a response: length, correlation id, tags where it has them, body.
//
// ApiVersions never has tags in its header: a client that does not know yet what the server speaks has to be able to read it.
func (o *output) frame(correlation int32, tagged bool, b body) {
	o.reset()
	o.buf = append(o.buf, 0, 0, 0, 0)
	o.buf = binary.BigEndian.AppendUint32(o.buf, uint32(correlation))
	if tagged {
		o.buf = append(o.buf, 0)
	}
	b.appendTo(o)
	binary.BigEndian.PutUint32(o.buf, uint32(len(o.buf)-4+o.extra))
}

// buffers is the response as it is written.
func (o *output) buffers() net.Buffers {
	out := make(net.Buffers, 0, 2*len(o.pieces)+1)
	at := 0
	for _, p := range o.pieces {
		if p.at > at {
			out = append(out, o.buf[at:p.at])
		}
		out = append(out, p.bytes)
		at = p.at
	}
	if at < len(o.buf) {
		out = append(out, o.buf[at:])
	}
	return out
}
