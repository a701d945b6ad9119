package mq

import (
	"encoding/base64"
	"fmt"
	"io"
)

// NodeID names a node (broker, controller or both) of one cluster. It is never
// negative for a real node; [NoNode] says "none".
type NodeID int32

// NoNode is the NodeID of no node, for example the leader of a partition that
// has none.
const NoNode NodeID = -1

// Offset is the position of a record in its partition. The first is 0.
type Offset int64

// Epoch is the number of a leader's term over one partition. [NoEpoch] stands
// for "none".
type Epoch int32

// NoEpoch is the epoch of a batch that no leader has stamped yet.
const NoEpoch Epoch = -1

// ProducerID identifies one idempotent producer. [NoProducerID] marks a batch
// that takes no part in deduplication.
type ProducerID int64

// ProducerEpoch fences older incarnations of the same producer id; -1 is none.
type ProducerEpoch = int16

// What a batch of a producer that is not idempotent carries.
const (
	NoProducerID    ProducerID    = -1
	NoProducerEpoch ProducerEpoch = -1
	NoSequence      int32         = -1
)

// idSize is the number of bytes of the random identifiers.
const idSize = 16

// idTextSize is the number of characters that they print as.
const idTextSize = 22

// TopicID identifies one incarnation of a topic: a topic that was deleted and
// created again under the same name has another one. The zero value is no topic.
type TopicID [idSize]byte

// ClusterID identifies a cluster, from the one act of forming it on.
type ClusterID [idSize]byte

// DirID identifies a data directory (a disk), so that a replica that lost its
// disk is not taken for the one that had promised.
type DirID [idSize]byte

// NewTopicID draws a topic id from random, as [crypto/rand.Reader] gives it.
func NewTopicID(random io.Reader) (TopicID, error) {
	id, err := newID(random)
	return TopicID(id), err
}

// NewClusterID draws a cluster id from random.
func NewClusterID(random io.Reader) (ClusterID, error) {
	id, err := newID(random)
	return ClusterID(id), err
}

// NewDirID draws a data directory's id from random.
func NewDirID(random io.Reader) (DirID, error) {
	id, err := newID(random)
	return DirID(id), err
}

// ParseTopicID reads what [TopicID.String] wrote.
func ParseTopicID(s string) (TopicID, error) {
	id, err := parseID("topic id", s)
	return TopicID(id), err
}

// ParseClusterID reads what [ClusterID.String] wrote.
func ParseClusterID(s string) (ClusterID, error) {
	id, err := parseID("cluster id", s)
	return ClusterID(id), err
}

// ParseDirID reads what [DirID.String] wrote.
func ParseDirID(s string) (DirID, error) {
	id, err := parseID("directory id", s)
	return DirID(id), err
}

// String is the id in base64url without padding, 22 characters, as Kafka's
// tools print it.
func (id TopicID) String() string { return formatID(id) }

// String is the id in base64url without padding, 22 characters.
func (id ClusterID) String() string { return formatID(id) }

// String is the id in base64url without padding, 22 characters.
func (id DirID) String() string { return formatID(id) }

// IsZero says whether id names no topic.
func (id TopicID) IsZero() bool { return id == TopicID{} }

// IsZero says whether id names no cluster.
func (id ClusterID) IsZero() bool { return id == ClusterID{} }

// IsZero says whether id names no directory.
func (id DirID) IsZero() bool { return id == DirID{} }

// MarshalText writes the form of [TopicID.String].
func (id TopicID) MarshalText() ([]byte, error) { return []byte(formatID(id)), nil }

// MarshalText writes the form of [ClusterID.String].
func (id ClusterID) MarshalText() ([]byte, error) { return []byte(formatID(id)), nil }

// MarshalText writes the form of [DirID.String].
func (id DirID) MarshalText() ([]byte, error) { return []byte(formatID(id)), nil }

// UnmarshalText reads the form of [TopicID.String].
func (id *TopicID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseTopicID(string(text))
	return err
}

// UnmarshalText reads the form of [ClusterID.String].
func (id *ClusterID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseClusterID(string(text))
	return err
}

// UnmarshalText reads the form of [DirID.String].
func (id *DirID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseDirID(string(text))
	return err
}

// newID draws a version 4 UUID. It draws again when the printed form would
// start with '-', which command lines take for a flag (Kafka does the same).
// An all-zero or otherwise reserved id cannot come out: the version bits are set.
func newID(random io.Reader) (id [idSize]byte, err error) {
	for {
		if _, err := io.ReadFull(random, id[:]); err != nil {
			return [idSize]byte{}, fmt.Errorf("draw an id: %w", err)
		}
		id[6] = id[6]&0x0f | 0x40
		id[8] = id[8]&0x3f | 0x80
		if formatID(id)[0] != '-' {
			return id, nil
		}
	}
}

func formatID(id [idSize]byte) string {
	return base64.RawURLEncoding.EncodeToString(id[:])
}

func parseID(what, s string) (id [idSize]byte, err error) {
	// Strict: the 4 bits left over must be zero, so one id has one spelling.
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(raw) != idSize || len(s) != idTextSize { // line ends are skipped by the decoder
		return id, Errorf(InvalidRequest, "%s %.40q: want 22 characters of base64url", what, s)
	}
	return [idSize]byte(raw), nil
}
