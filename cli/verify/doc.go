// Package verify runs a workload through the public client while others break the cluster, and checks its history: what `rustmq verify` does.
//
// # What it does not do
//
// It breaks nothing by itself, and it looks at nothing but what clients see.
//
// # The run
//
//	producers (a client each) --+                          +--> last reading by a new client
//	readers of the tail --------+--> until the time is up --+        |
//	a reader that jumps about --+        flush              |    package history: anomalies
//
// Producers send at a fixed pace, so that the times between acknowledgements say how long a partition took nothing.
//
// # Invariants
//
//   - A record is in the history before the client has it, and an answer after the client gave it.
//   - Only errors after which a record can not have been appended count as refusals; all others leave its fate open.
package verify
