// Package raft drives etcd's raft (go.etcd.io/raft) over a [wal.Log]: one loop
// goroutine that persists, sends, applies and answers.
//
// # What it does not do
//
// It knows nothing of what is replicated: a [StateMachine] applies it. It opens
// no connection: a [Transport] carries messages. It does not own the log or
// the state machine.
//
// # The loop
//
//	proposals --+
//	messages  --+--> step --> Ready --> log: snapshot, entries, hard state (one group, one sync)
//	ticks     --+                         |
//	                                      +--> after the sync: messages out, commits applied, proposers answered
//
// # Invariants
//
//  1. Entries, hard state and snapshots are on the disk before any message that follows from them leaves, and before anything is
//     applied: what the state machine stands at is never ahead of the log's durable commit.
//  2. A proposal is answered once it was applied here, exactly once, with the result of applying it.
//  3. A proposal whose fate is unknown is said to be so; it is never proposed again by itself.
//  4. After the log's first failure the node answers nothing more, and [Node.Failed] says so.
//
// What the log's entries contain is drawn in record.go. [ReadDump] looks into a
// log, also of a running node, and changes nothing.
package raft
