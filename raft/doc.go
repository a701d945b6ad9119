// Package raft drives etcd's raft (go.etcd.io/raft) over a [wal.Log]: one loop
// goroutine that persists, sends, applies and answers.
//
// # What it does not do
//
// It knows nothing of what is replicated: a [StateMachine] applies it. It opens
// no connection: a [Transport] carries messages (raft/transport does). It does not decide who founds a group: raft/form does. It does not own the log or
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
//  5. A change of membership takes effect, or is refused, where it is applied, by the membership alone: the same on every member. No id is taken that is not above
//     all that ever were members'.
//  6. A leader whose log's oldest write is older than an election timeout gives up its leadership, and a node does not stand for election meanwhile.
//  7. A report that the leader's process has ended ([Node.ReportGone]) speeds an election and decides nothing: terms and votes do.
//  8. Voters that are enough by the last change of membership that was decided elect a leader if a single member that can be reached knows that it was, also one that the change removed.
//  9. An answer to an attempt to read belongs to that attempt alone: each has a context that is never used again.
//
// [RecoverAlone] is the way out when a majority is lost for good.
//
// What the log's entries contain is drawn in record.go. [ReadDump] looks into a
// log, also of a running node, and changes nothing.
package raft
