// Package sim runs a whole cluster in one test process and in virtual time, does harm to it by a seed, and has the history of its clients checked.
//
// Everything runs in a testing/synctest bubble: the nodes as they are, on disks in memory (wal/crashfs), with connections in memory between them, a
// bucket in memory (tier/faultstore), and public clients that reach them over quic-go's simulated network.
//
//	result := sim.Run(t, sim.Config{Seed: 17, Scratch: t.TempDir()})   // inside synctest.Test
//
// With every third seed all stand in one rack, and logs are let go of early: clients then read what only the object store has from brokers that do not lead.
//
// # Determinism
//
// Time is virtual: ten seconds of a cluster's life take a fifth of one, and no timeout fires for want of CPU. The seed decides on the faults, when they
// come, what power cuts leave, how long packets take, and how much clients send and the object store gets. It does not decide in which order goroutines run at one moment, what Go's maps and TLS draw, or
// how a client jitters: the same seed is the same plan, and mostly but not always the same run. A seed that failed is worth running several times.
//
// # What is approximate
//
//   - A pause stops a node's network, its disk, its use of the bucket and the clock of its lease, not its goroutines: what they do with what they have goes on in
//     memory, and timers of theirs fire that would fire at the end of a true pause. What they decide meanwhile, by a lease that they take for valid, is sent when the
//     pause is over, as that of a process which was stopped just before it sent. A true one is not to be had: a bubble has one time, which does not stop for some of
//     its goroutines, and nothing stops goroutines from outside. Real processes are stopped by testdata/e2e/three-nodes.sh.
//   - A wall clock that is set is that of records, producers and uploads. Certificates are judged by the bubble's, and measured times do not notice, as they do not
//     on a machine.
//   - The metadata's database is a file of the machine, of which a power cut leaves the last commit: what follows the cut cannot commit.
//   - A connection between nodes loses no bytes while it is cut, as TCP does not: they come late. Packets of clients are lost.
//
// # What is checked
//
// What clients were told is checked by package history, to which leaders tell their watermarks: of each producer by the durability that it asks for, and a topic and its
// partitions, once acknowledged, must be there. Besides, brokers tell what they acknowledge and in which epoch (node.Seams): two that do so in one epoch are found, one
// that still does for longer than a lease when the next has begun, and
//
//   - what is said to be in the object store must be in its objects, which must be whole;
//   - what a leader alone acknowledged must be there if it has its disk and leads the next epoch, too. It may go with a failover.
//
// At the end all replicas must be in sync and the same, and every node must run.
//
// RunGroup has a consumer group under the same harm, while partitions are added. Its members join, leave, die, and stand still for longer than their session: their network does, while they go on with what they have,
// so that what they commit comes when others have their partitions. groupLedger says what must not be: a commit that counts of who had lost the partition, a committed offset that
// goes back, a record that nobody consumed; and where nobody comes to harm, one that was consumed twice.
//
// # Invariants
//
//   - What is done to a cluster breaks no promise of it: at most one disk is lost in a run, and everything else is healed in the end. So whatever is found
//     wrong is the cluster's fault.
//   - From the moment at which a life of a node ends, nothing that it does reaches a disk, the bucket or the network.
//   - A cluster that is healed serves again, and answers for everything, within two minutes.
//
// # What it does not do
//
// It measures nothing. It does not move partitions or delete topics, and makes no use of transactions, pipelines or the Kafka protocol.
package sim
