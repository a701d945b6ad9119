// Package sim runs a whole cluster in one test process and in virtual time, does harm to it by a seed, and has the history of its clients checked.
//
// Everything runs in a testing/synctest bubble: the nodes as they are, on disks in memory (wal/crashfs), with connections in memory between them, a
// bucket in memory (tier/faultstore), and public clients that reach them over quic-go's simulated network.
//
//	result := sim.Run(t, sim.Config{Seed: 17, Scratch: t.TempDir()})   // inside synctest.Test
//
// # Determinism
//
// Time is virtual: half a minute of a cluster's life takes a second, and no timeout fires for want of CPU. The seed decides on the faults, when they
// come, what power cuts leave, how long packets take, and how much clients send and the object store gets. It does not decide in which order goroutines run at one moment, what Go's maps and TLS draw, or
// how a client jitters: the same seed is the same plan, and mostly but not always the same run. A seed that failed is worth running several times.
//
// # What is approximate
//
//   - A pause stops a node's network and its disk, not its goroutines.
//   - The metadata's database is a file of the machine, of which a power cut leaves the last commit: what follows the cut cannot commit.
//   - A connection between nodes loses no bytes while it is cut, as TCP does not: they come late. Packets of clients are lost.
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
// It looks at what clients see, and not into the nodes. It measures nothing.
package sim
