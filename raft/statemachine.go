package raft

import "io"

// Entry is one proposal as the state machine sees it. Proposals that were combined share an Index and come in the order
// in which they were proposed. Data is valid during Apply only.
type Entry struct {
	Index uint64
	Term  uint64
	Data  []byte
}

// Position is how far a state machine has come. Conf is opaque to the state machine, which keeps it with the index.
type Position struct {
	Index uint64 // of the last entry that was applied; 0: none ever
	Term  uint64 // of that entry
	Conf  []byte // membership as of that entry
}

// StateMachine is what the log is for. Of Apply and Install one at a time is called; Position, Snapshot
// and Stage may be called at the same time as these.
type StateMachine interface {
	// Position is the durable position. It is exactly as recent as the state that a crash would leave.
	Position() Position

	// Apply applies entries in order and then stands at position at: one durable transaction, both or nothing. There
	// may be no entries at all (elections and changes of membership move the position too). Results are in the order
	// of entries; a refused proposal is a result, not an error. After StorageFull, with which nothing was applied, it is called
	// again until there is room; after any other error the node stops for good.
	Apply(entries []Entry, at Position) (results [][]byte, err error)

	// Snapshot is a copy of the state and the position at which it stands. The caller closes the reader.
	Snapshot() (io.ReadCloser, Position, error)

	// Stage reads a whole Snapshot of another replica and checks it, without touching the present state. An error, of which StorageFull
	// is one, ends this try of the sender only.
	Stage(body io.Reader) (Staged, error)
}

// Staged is a snapshot that was received and waits to be installed.
type Staged interface {
	// Position is where the snapshot stands.
	Position() Position
	// Install puts the snapshot in the place of the state: durable on return, and old or new after a crash. After StorageFull,
	// with which nothing was changed, it is called again until there is room; after any other error the node stops for good.
	Install() error
	// Discard forgets the snapshot. It does nothing after Install.
	Discard()
}
