package quicproto

import (
	"fmt"

	"github.com/rustmq/rustmq/mq"
)

// ALPN is the TLS application protocol of every version of this protocol.
const ALPN = "rustmq/1"

// HeaderSize is the length in bytes of the header before each frame's payload.
const HeaderSize = 5

// Type tells what a frame is. The numbers are part of the wire format and never change their meaning.
type Type uint8

// The frame types. Those not listed are reserved and answered with UNSUPPORTED_VERSION.
const (
	TypeHello   Type = 0x01 // control, client to server
	TypeWelcome Type = 0x02 // control, server to client
	TypeGoAway  Type = 0x03 // control, server to client
	TypeClose   Type = 0x04 // any stream, server to client: the last frame

	TypeOpenProduce Type = 0x10 // produce, client to server: the first frame
	TypeBind        Type = 0x11 // produce, client to server
	TypeBound       Type = 0x12 // produce, server to client
	TypeProduce     Type = 0x13 // produce, client to server
	TypeProduceAcks Type = 0x14 // produce, server to client

	TypeOpenFetch Type = 0x20 // fetch, client to server: the first frame
	TypeAssign    Type = 0x21 // fetch, client to server
	TypeAssigned  Type = 0x22 // fetch, server to client
	TypeUnassign  Type = 0x23 // fetch, client to server
	TypePause     Type = 0x24 // fetch, client to server
	TypeResume    Type = 0x25 // fetch, client to server
	TypeSeek      Type = 0x26 // fetch, client to server
	TypeRecords   Type = 0x27 // fetch, server to client
	TypeStatus    Type = 0x28 // fetch, server to client

	TypeRequest  Type = 0x30 // request, client to server: the first frame
	TypeResponse Type = 0x31 // request, server to client

	TypeOpenGroup  Type = 0x40 // group, client to server: the first frame
	TypeHeartbeat  Type = 0x41 // group, client to server
	TypeAssignment Type = 0x42 // group, server to client
)

// Frame is one protocol frame: a type and a payload.
type Frame interface {
	// Type is the frame's number on the wire.
	Type() Type
	// AppendTo appends the encoded payload (without the header) to dst and returns the extended slice.
	AppendTo(dst []byte) []byte
	// Decode sets the frame from a whole payload. Byte slices in the frame (batches, request bodies) alias
	// payload; strings and all else are copied. The error is a *mq.Error: UNSUPPORTED_VERSION for a reserved bit or
	// value that a later version may give a meaning to, PROTOCOL_VIOLATION for bytes no version can mean.
	Decode(payload []byte) error
}

// frameKind is what the codec knows of a frame type.
type frameKind struct {
	name string
	max  int // largest payload in bytes, 0 for a type that does not exist
	make func() Frame
}

// kindOf is a switch and not a table so that it needs no package state.
func kindOf(t Type) frameKind {
	switch t {
	case TypeHello:
		return frameKind{"Hello", maxSmallPayload, func() Frame { return new(Hello) }}
	case TypeWelcome:
		return frameKind{"Welcome", maxSmallPayload, func() Frame { return new(Welcome) }}
	case TypeGoAway:
		return frameKind{"GoAway", maxSmallPayload, func() Frame { return new(GoAway) }}
	case TypeClose:
		return frameKind{"Close", maxSmallPayload, func() Frame { return new(Close) }}
	case TypeOpenProduce:
		return frameKind{"OpenProduce", maxSmallPayload, func() Frame { return new(OpenProduce) }}
	case TypeBind:
		return frameKind{"Bind", maxSmallPayload, func() Frame { return new(Bind) }}
	case TypeBound:
		return frameKind{"Bound", maxSmallPayload, func() Frame { return new(Bound) }}
	case TypeProduce:
		return frameKind{"Produce", ProducePrefixSize + MaxBatchBytes, func() Frame { return new(Produce) }}
	case TypeProduceAcks:
		return frameKind{"ProduceAcks", MaxAcksBytes, func() Frame { return new(ProduceAcks) }}
	default:
		return kindOfRest(t)
	}
}

func kindOfRest(t Type) frameKind {
	switch t {
	case TypeOpenFetch:
		return frameKind{"OpenFetch", maxSmallPayload, func() Frame { return new(OpenFetch) }}
	case TypeAssign:
		return frameKind{"Assign", maxSmallPayload, func() Frame { return new(Assign) }}
	case TypeAssigned:
		return frameKind{"Assigned", maxSmallPayload, func() Frame { return new(Assigned) }}
	case TypeUnassign:
		return frameKind{"Unassign", maxSmallPayload, func() Frame { return new(Unassign) }}
	case TypePause:
		return frameKind{"Pause", maxHandlesPayload, func() Frame { return new(Pause) }}
	case TypeResume:
		return frameKind{"Resume", maxHandlesPayload, func() Frame { return new(Resume) }}
	case TypeSeek:
		return frameKind{"Seek", maxSmallPayload, func() Frame { return new(Seek) }}
	case TypeRecords:
		return frameKind{"Records", RecordsPrefixSize + MaxRecordsBytes, func() Frame { return new(Records) }}
	case TypeStatus:
		return frameKind{"Status", maxSmallPayload, func() Frame { return new(Status) }}
	case TypeRequest:
		return frameKind{"Request", requestPrefixSize + MaxRequestBytes, func() Frame { return new(Request) }}
	case TypeResponse:
		return frameKind{"Response", MaxResponseBytes, func() Frame { return new(Response) }}
	case TypeOpenGroup:
		return frameKind{"OpenGroup", MaxRequestBytes, func() Frame { return new(OpenGroup) }}
	case TypeHeartbeat:
		return frameKind{"Heartbeat", MaxRequestBytes, func() Frame { return new(Heartbeat) }}
	case TypeAssignment:
		return frameKind{"Assignment", MaxRequestBytes, func() Frame { return new(Assignment) }}
	default:
		return frameKind{}
	}
}

// String is the frame's name as doc.go gives it, or its number if it has none.
func (t Type) String() string {
	if k := kindOf(t); k.max != 0 {
		return k.name
	}
	return fmt.Sprintf("frame type 0x%02x", uint8(t))
}

// MaxPayload is the largest payload in bytes that a frame of this type may have, 0 if there is no such type.
func (t Type) MaxPayload() int { return kindOf(t).max }

// Parse decodes a whole payload as a frame of type t. See Frame.Decode for what the frame aliases and which errors
// there are; a type that does not exist is UNSUPPORTED_VERSION.
func Parse(t Type, payload []byte) (Frame, error) {
	k := kindOf(t)
	if k.max == 0 {
		return nil, mq.Errorf(mq.UnsupportedVersion, "unknown %v", t)
	}
	if len(payload) > k.max {
		return nil, mq.Errorf(mq.MessageTooLarge, "%s frame of %d bytes, at most %d", k.name, len(payload), k.max)
	}
	f := k.make()
	if err := f.Decode(payload); err != nil {
		return nil, err
	}
	return f, nil
}

// AppendFrame appends f with its header to dst.
func AppendFrame(dst []byte, f Frame) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, byte(f.Type()))
	dst = f.AppendTo(dst)
	putUint32(dst[start:], uint32(len(dst)-start-HeaderSize))
	return dst
}

// AppendHeader appends the header of a frame of type t whose payload has n bytes. It is for frames whose body is
// written from memory of its own (Produce, Records): header and prefix first, then the batches as they are.
func AppendHeader(dst []byte, t Type, n int) []byte {
	return append(appendUint32(dst, uint32(n)), byte(t))
}
