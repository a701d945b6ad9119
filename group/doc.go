// Package group coordinates consumer groups: who consumes which partitions, and how far it has come.
//
// # Purpose
//
// A [Shard] holds all groups of one partition of the internal topic __consumer_offsets, and is where that partition's leader is. It is a state machine: requests,
// topics and time go in; out come, as [Effects], records for the partition's log, replies, and members that should speak up. The log is the
// truth: [Shard.Replay] of it makes the shard again.
//
// Members speak one of two protocols. With the consumer protocol (KIP-848, [HeartbeatRequest]) the coordinator assigns ([Assign]) and members get there one by one;
// with the classic protocol ([JoinRequest], [SyncRequest], [ClassicHeartbeatRequest], [LeaveRequest]) a member assigns, for all at once.
//
// # What it does not do
//
// It starts no goroutine, reads no clock, draws no random numbers (ids come with requests) and talks to nobody. It does not look who may do what, nor
// whether partitions exist that somebody commits for. It does not append: what a call decides counts from that call on, and the host keeps its promises:
//
//   - Records of a call are appended as one batch, in order of the calls. No reply is heard before all records up to it are replicated, those without
//     records included.
//   - When an append fails or the partition has another leader, the shard is thrown away, unheard replies are NOT_COORDINATOR, and the next leader
//     replays. What is not written down begins anew there: sessions and rebalance timeouts get their whole time, rounds of joins are joined again.
//   - Requests of one member come in the order in which it made them. One of a session that is over does not come after one of its next session.
//   - [Shard.Tick] is called when it is due, and [Shard.SetTopics] when topics change.
//
// # Epochs
//
// The group epoch grows when who wants what changes: members, subscriptions, topics. The target epoch is the group epoch that the target
// was made for; by the end of each call it is the group epoch. A member epoch is the target epoch that the member has got to: it stays behind while
// the member has partitions that it must give up first. Commits carry it, and another one than the member's is refused. reconcile.go says how a
// partition goes from one member to the next. When a group without members changes its protocol, generation and group epoch go on from each other.
//
// # Where it differs from Kafka
//
//   - A member that has given up partitions gets another epoch with that, also when it has to give up more before it gets to the target. In one epoch it would
//     own less and less, and a commit that was under way for a while would count for what another one consumes by then.
//   - A member that joins again under its id is a new one in all but the id: it owns nothing, and its epoch is new. Kafka refuses it until its session ends.
//   - The number of a classic generation is written down before anybody hears of it. Kafka writes the generation when it is complete; after a failover in between
//     the next one has the same number, and who missed it may commit.
//   - The target is made in the call that needs it, and who would get on by a heartbeat is told ([Wake]), so nobody waits for an interval.
//   - A member of a mixed group that says that it owns what it does not must forget where it was (UNKNOWN_MEMBER_ID), be it known or not.
//   - The host's view of topics may be behind when a classic group becomes a mixed one. What its members have of topics that are not known is not
//     waited for; nobody can be assigned them before they are known.
//
// # Records
//
// Each is a Record of api/group/v1 with a version, and one of these kinds; numbers never change:
//
//	2  Change         parts of a group, each as it is now: head, members, targets, classic, offsets, and those removed
//	3  Removed        nothing is left of a group
//	4  SnapshotBegin  the whole state follows
//	5  SnapshotEnd    up to here
//
// A part takes the place of what was known of it. So a snapshot needs no pause, and no kind of its own: between its marks every group is written as one or more Changes, and
// what changes meanwhile is written as ever. Whoever begins at the begin mark knows at the end mark, and from there on, exactly what
// he knows who has read everything; before it he may know a group in part. A snapshot without an end is what it says, and does no harm.
//
// # Invariants
//
//  1. A partition is owned by at most one member at a time: it is assigned only when nobody owns it, and owned until its member has said that it gave it up, or is
//     no member any more.
//  2. A commit counts only in the member's epoch or generation as it is now.
//  3. A committed offset changes by a commit, a reset or its removal, and by nothing else. It is removed only when an operator wants so, when the topic is gone,
//     or when nobody consumes it and a retention has passed.
//  4. What a replay of the log makes is what the log was written by, but for what is not written down; from every begin mark whose snapshot has its end, too.
//  5. The same calls give the same effects.
//  6. With no more changes every member has its target after a bounded number of heartbeats of each.
package group
