// Package broker gives requests their meaning: authorise, find the partition,
// append or read, answer. It is where every front door ends, and the same
// *Broker satisfies the small Broker interface that each of them declares.
//
// # What it does not do
//
// It owns no partition, no log and no metadata: node opens and closes those and
// tells the broker where they are. It decides nothing about the cluster: what
// changes the cluster is proposed to the controller and comes back as an Image.
// It has no goroutine.
//
// # A request's path
//
//	produce  Producer.Append -> policy epoch -> partition table (one atomic load)
//	         -> room in the log (back-pressure waits here) -> partition.Append
//	fetch    Reader.Read -> policy epoch -> partition.Read
//	         of tiered records of a partition that another node leads: -> image -> partition.ReadTiered
//	admin    authorise -> command to the controller -> wait until this node
//	         runs what the command decided -> answer
//
// # Invariants
//
//  1. Every operation passes Broker.authorise before it looks whether its topic exists, and a
//     decision that a handle holds is taken again when the policy's epoch has moved.
//  2. Room in the log is held before a partition's mutex is taken: an append
//     never waits under a lock.
//  3. A batch is handed to exactly one Append and answered exactly once.
package broker
