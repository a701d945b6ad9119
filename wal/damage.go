package wal

import (
	"fmt"
	"time"
)

// Damage is one stretch of a log that was promised and cannot be read any
// more, or what a stream lost by it.
type Damage struct {
	Segment    uint64
	Path       string // of the segment's file
	Position   int64  // in the file, of the frame or stretch
	Bytes      int64  // of the stretch; 0: the place where something is missing
	Stream     StreamID
	Known      bool   // Stream is whose entry it was
	First, End uint64 // offsets lost; equal when not known or none
	Reason     string
}

func (d Damage) String() string {
	s := fmt.Sprintf("%s at %d, %d bytes: %s", d.Path, d.Position, d.Bytes, d.Reason)
	if d.Known {
		s += fmt.Sprintf("; stream %x", d.Stream)
	}
	if d.First != d.End {
		s += fmt.Sprintf(" lost [%d, %d)", d.First, d.End)
	}
	return s
}

// Recovery is what Open or Check found.
type Recovery struct {
	Segments  int        // in use
	Bytes     int64      // of whole frames
	Entries   int64      // of the log's users, whole; copies count too
	TornBytes int64      // cut from the end: written, never promised
	Damage    []Damage   // in the order of the log, what streams lost by it behind that
	Suspect   []StreamID // quarantined: damaged, or not proven whole
	Doubt     bool       // damage may have taken all that there was of a stream, so that the log does not know it
	Elapsed   time.Duration
}
