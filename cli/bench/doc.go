// Package bench measures RustMQ from outside, through the public client, and
// beside it the machine's own bounds, so that every figure can be given as a
// ratio to what the hardware, the kernel and quic-go alone would do in the same
// minute on the same machine.
//
// # Bounds
//
// A bound is the same work with everything of RustMQ left out:
//
//	group_commit_N   N producers wait for one committer that gathers, writes once
//	                 into a pre-zeroed file and calls fdatasync
//	quic_bulk_N      N connections, each on its own socket, one stream each, 64 KiB writes
//	tls_bulk         one TLS 1.3 connection over TCP, 64 KiB writes
//	quic_floor_N     the composed floor: N producers, one record in flight each,
//	                 over long-lived QUIC streams into the group commit and an
//	                 acknowledgement back
//
// # What it does not do
//
// It judges nothing: it prints figures and ratios. It never deletes a topic that
// it did not create.
//
// # Invariants
//
// A bound and the figure that is divided by it are measured in the same run, at
// the same concurrency and record size, and records are incompressible.
package bench
