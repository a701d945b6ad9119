// Package walbench measures group commit: the log's, and that of the plainest
// loop that could do it ([Raw]), which is the bound on this disk. `rustmq bench
// latency --limits` prints one as a ratio to the other, and the wal package's
// benchmarks do the same.
//
// # What it does not do
//
// It judges nothing, and keeps nothing of the log's own work out of the figure.
//
// # Invariants
//
// Both write the same bytes, and an operation is over only when it is on the disk.
package walbench
