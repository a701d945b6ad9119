// Package walbench measures group commit: the log's, and that of the plainest
// loop that could do it ([Raw]), which is the bound on this disk. `rustmq bench
// latency --limits` prints one as a ratio to the other, and the wal package's
// benchmarks do the same.
package walbench
