// Package replication carries what a broker leads to the brokers that follow, and watches over the in-sync sets.
//
// # What is here
//
//   - [Peers], the leader's side: a stream to each broker that follows something led here, and the proposals of in-sync sets
//   - [Follower], the follower's side: writes to this node's log and acknowledges what is synced
//
// # What is not here
//
// It does not decide who leads, follows or is in sync: the controllers do, and the node tells partitions (Lead, Follow) and [Peers.Set]. It opens no
// socket: the node dials connections that nothing else uses, and gives [Follower.Serve] those that come in where only nodes may speak. What a
// partition's log may take stands in package partition, where every call names the leader epoch.
//
// # For the node
//
//	f := replication.NewFollower(FollowerConfig{Self, Lookup, Logger})         once registered; f.Serve(connection, whose it is)
//	p := replication.Open(Config{Self, Propose, Logger})                       once registered: Self is node id and broker epoch
//	with each image:    first Lead, Follow, Refetch or Offline for each partition that changed, then
//	                    p.Set(Peer{...}, all that is led here and replicated there) for each broker whose list or incarnation changed
//	at the end:         p.Close(), f.Close(), then the partitions
//
// Propose is one ChangePartitions command: a refusal by its verdict is OutcomeRefused, an answer that did not come is OutcomeUnknown.
// The node leads with what is in the image only (partition.Lead with its partition epoch): never with what Propose answered. A replica that
// is quarantined since the start, and is neither in sync nor eligible, gets Refetch in place of Follow. A node whose log has
// wal.Log.OldestPending older than its lease gives its leaderships up, and until then says so by partition.Config.Lease.
//
// # A stream
//
// The leader dials. One stream carries all partitions of a pair of brokers in one direction; the next one is welcome when the one before is over. Per partition it goes in rounds, so that what belongs to
// an earlier one is told apart:
//
//	leader                                   follower
//	Hello{version, nodes}           ->
//	                                <-       Welcome{its incarnation}
//	Open{handle, round, epoch}      ->
//	                                <-       State{asks where the last epoch of its log ended}
//	Truncate{epoch, end}            ->       cuts its log there, and asks again if it must
//	                                <-       State{log end}
//	Part{batches, marks}            ->       writes to its log
//	                                <-       Acked{end}, when that is synced
//
// A State with an error ends the round. The leader opens another one after a while, but for FENCED_LEADER_EPOCH. If the leader has let go of
// what comes next, it says Reset, and the follower goes on at the tiered end that the metadata names.
//
// # Flow
//
// A partition with news is put on the list of each peer that it is assigned to, once. One goroutine per peer takes them in turn and reads from
// the hot tail or the log what comes next, up to a window of bytes not acknowledged yet. It keeps no bytes of its own: who is slow reads on later.
// A follower without room in its log does not read its stream, which is TCP's back-pressure. A watermark that moves travels with
// the next batches, or alone after [DefaultMarksDelay].
//
// # Invariants
//
//   - A follower acknowledges an end only when all below is synced and its log was found to be the beginning of that leader's log in
//     that leader epoch; and for the incarnation that said Welcome only.
//   - Logs are cut by epoch histories only, never by a watermark.
//   - The partition knows of a proposed in-sync set before the controllers do, and until what became of it is certain.
//   - A follower in sync that falls behind is proposed out; one that has all below the watermark and the beginning of the epoch, in. Nothing else
//     moves an in-sync set from here. The watermark waits for one that is near, so that it can have all below it while records never stop.
//   - Goroutines belong to peers, streams and one ticker: none to partitions.
package replication
