package quicproto

import "github.com/rustmq/rustmq/mq"

// The protocol versions that this package speaks.
const (
	MinVersion uint16 = 1
	MaxVersion uint16 = 1
)

// Features is a set of optional behaviours. A bit that one side does not know is ignored by it: what is in force is the
// intersection that Welcome carries.
type Features uint64

// FeatureTieredReads lets what is in the object store be read from any broker: Assign may name an Origin, and a Status may bear no error.
const FeatureTieredReads Features = 1 << 0

// AllFeatures is every feature that this package knows.
const AllFeatures = FeatureTieredReads

const helloMagic = 0x524d5131 // "RMQ1"

// Hello is the first frame of a session, on the first bidirectional stream that the client opens: the control stream.
type Hello struct {
	MinVersion, MaxVersion uint16   // the versions the client can speak, both inclusive
	Features               Features // those the client would use
	ClientID               string   // the user's name for this client, at most MaxText bytes, may be empty
	Software               string   // name and version of the program, for logs
}

// Type implements Frame.
func (*Hello) Type() Type { return TypeHello }

// AppendTo implements Frame.
func (f *Hello) AppendTo(dst []byte) []byte {
	dst = appendUint32(dst, helloMagic)
	dst = appendUint16(dst, f.MinVersion)
	dst = appendUint16(dst, f.MaxVersion)
	dst = appendUint64(dst, uint64(f.Features))
	dst = appendText(dst, f.ClientID, MaxText)
	return appendText(dst, f.Software, MaxText)
}

// Decode implements Frame.
func (f *Hello) Decode(payload []byte) error {
	d := decoder{frame: "Hello", rest: payload}
	if d.uint32() != helloMagic {
		d.fail(mq.ProtocolViolation, "no magic")
	}
	*f = Hello{
		MinVersion: d.uint16(), MaxVersion: d.uint16(), Features: Features(d.uint64()),
		ClientID: d.text(MaxText), Software: d.text(MaxText),
	}
	if f.MinVersion > f.MaxVersion {
		d.fail(mq.ProtocolViolation, "lowest version is above the highest")
	}
	return d.end()
}

// Negotiate picks the highest version that both sides speak and the features that both want. The error is
// UNSUPPORTED_VERSION if there is no such version.
func Negotiate(h *Hello, features Features) (version uint16, both Features, err error) {
	version = min(h.MaxVersion, MaxVersion)
	if version < max(h.MinVersion, MinVersion) {
		return 0, 0, mq.Errorf(mq.UnsupportedVersion, "client speaks protocol versions %d to %d, server %d to %d",
			h.MinVersion, h.MaxVersion, MinVersion, MaxVersion)
	}
	return version, h.Features & features, nil
}

// Limits are what a server allows one session. All are at most the constants of this package.
type Limits struct {
	BatchBytes   uint32 // largest batch in a Produce frame; a topic may allow less (Bound says so)
	WindowBytes  uint32 // batches in flight on all produce streams of the session, bytes: beyond it the server stops reading
	WindowCount  uint32 // batches in flight on one produce stream, at most MaxAcks
	RecordsBytes uint32 // usual size of a Records frame; one batch that is larger still comes whole
	Streams      uint32 // open at a time, the control stream included
	Handles      uint32 // on one stream, at most MaxHandles
}

// Welcome is the server's answer to Hello.
type Welcome struct {
	Version     uint16   // in force from here on
	Features    Features // in force from here on
	ClusterID   mq.ClusterID
	NodeID      mq.NodeID
	IdleTimeout uint32 // milliseconds without a packet after which the session is given up
	Limits      Limits
}

// Type implements Frame.
func (*Welcome) Type() Type { return TypeWelcome }

// AppendTo implements Frame.
func (f *Welcome) AppendTo(dst []byte) []byte {
	dst = appendUint16(dst, f.Version)
	dst = appendUint64(dst, uint64(f.Features))
	dst = append(dst, f.ClusterID[:]...)
	dst = appendInt32(dst, f.NodeID)
	dst = appendUint32(dst, f.IdleTimeout)
	dst = appendUint32(dst, f.Limits.BatchBytes)
	dst = appendUint32(dst, f.Limits.WindowBytes)
	dst = appendUint32(dst, f.Limits.WindowCount)
	dst = appendUint32(dst, f.Limits.RecordsBytes)
	dst = appendUint32(dst, f.Limits.Streams)
	return appendUint32(dst, f.Limits.Handles)
}

// Decode implements Frame.
func (f *Welcome) Decode(payload []byte) error {
	d := decoder{frame: "Welcome", rest: payload}
	*f = Welcome{
		Version: d.uint16(), Features: Features(d.uint64()), ClusterID: d.clusterID(), NodeID: d.node(), IdleTimeout: d.uint32(),
		Limits: Limits{
			BatchBytes: d.uint32(), WindowBytes: d.uint32(), WindowCount: d.uint32(),
			RecordsBytes: d.uint32(), Streams: d.uint32(), Handles: d.uint32(),
		},
	}
	l := &f.Limits
	if l.BatchBytes > MaxBatchBytes || l.WindowCount > MaxAcks || l.RecordsBytes > MaxRecordsBytes || l.Handles > MaxHandles {
		d.fail(mq.ProtocolViolation, "a limit is above the protocol's own")
	}
	return d.end()
}
