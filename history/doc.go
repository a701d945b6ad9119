// Package history records what clients of a cluster did and were told, and finds the promises that were broken.
//
// # What it does not do
//
// It talks to nobody: a workload tells a [History] of every send, every answer and every record read. It is not for topics whose records are
// compacted or deleted meanwhile, but for a log start that moved.
//
// # What is looked for
//
// In the manner of Jepsen's Kafka workload (https://github.com/jepsen-io/redpanda), but for records sent one by one, each with a value that nothing
// else has:
//
//	lost            acknowledged as replicated, and not there at the end
//	moved           there at the end, but not where its acknowledgement said
//	inconsistent    two values were seen at one offset, by readers or in acknowledgements
//	vanished        read by a committed reader, and not there at the end
//	above           read by a committed reader before any leader of the partition had it below its high watermark
//	duplicate       one value at two offsets
//	phantom         a value that nobody sent, or whose sending was refused for certain
//	misplaced       in another partition than it was sent to
//	corrupt         not the bytes that were sent
//	reordered       sent after another one was acknowledged, and at a lower offset; or sent by one producer in another order
//	skip            a reader passed over records that are there
//	nonmonotonic    a reader went back without being told to
//	hole            an offset without a record
//	two leaders     two nodes acknowledged records of one partition in one leader epoch
//	divergent       two replicas have different records below the high watermark
//
// # Time
//
// The order of events is that in which they were told, under one mutex: a send is told before its request can leave, and an answer after it came.
// So what is ordered here was ordered in truth, and nothing needs a clock.
//
// # A value
//
//	offset  size
//	     0     4  magic "RMQv"
//	     4     8  run: which history it belongs to
//	    12     8  number of the send
//	    20     4  partition, as the history numbers them
//	    24     n  filling, which follows from the number
//	    24+n   4  CRC32C of all before
//
// # Invariants
//
//   - A history in which every promise was kept has no anomaly, whatever failed meanwhile.
//   - What is unknown is held against nobody: a send without a definite answer may be there, once, or not.
package history
