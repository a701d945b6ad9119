// Package bench measures RustMQ from outside, through the public client, and
// beside it the machine's own bounds, so that every figure can be given as a
// ratio to what the hardware, the kernel and quic-go alone would do in the same
// minute on the same machine.
//
// # Bounds
//
// A bound is the same work with everything of RustMQ left out:
//
//	group_commit_N   N producers wait for one goroutine that gathers, writes once
//	                 into a pre-zeroed file and calls fdatasync ([walbench.Raw])
//	quic_bulk_N      N connections, each on a socket of its own, one stream each,
//	                 64 KiB writes, in the direction of the figure
//	tls_bulk         one TLS 1.3 connection over TCP, likewise
//	tcp_bulk         one TCP connection without TLS, likewise: for servers that are driven by Kafka's protocol
//	store_get_N      N ranged reads of the object store at a time, of the size that
//	                 the server asked for, through the same driver
//	quic_floor_N     the composed floor: N producers, one record in flight each,
//	                 over long-lived QUIC streams into the group commit and an
//	                 acknowledgement back
//
// RustMQ is measured as two processes, its server and this one. So the QUIC and
// TLS bounds have two as well: this one and the far end, which it starts
// ([ServeFarEnd]) and which does nothing but send, receive and commit.
//
// # Rounds
//
// Bounds and figures take turns, several short rounds each, and what is printed
// is the median of the rounds: a machine that drifts or is disturbed treats all
// alike. Connections stay open from round to round and each has a round that
// does not count before the first, so that nothing measures a handshake, a slow
// start or a cold file.
//
// The command collects the garbage of this process less often than Go does by default, so that what clients allocate does not bound what a server is seen to do. GOGC says otherwise.
//
// # Where a consumer reads from
//
// A consumer is measured apart for each place that holds records: the hot tail,
// the log, and the object store with a cold block cache. The package produces
// what is to be read and then as much more as it takes to push that where it is
// wanted, looks there by reading single batches, and after each round asks the
// server's metrics where the bytes came from. A round whose bytes came from
// elsewhere is an error and no figure.
//
// # What it does not do
//
// It judges nothing: it prints figures and ratios. It never deletes a topic.
//
// # Invariants
//
// A bound and the figure that is divided by it are measured in the same run, at
// the same concurrency and record size, and records are incompressible.
package bench
