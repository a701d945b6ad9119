// Package nodetest runs whole nodes inside a test process: on a disk that can
// lose power, over a bucket in memory, and without listeners.
//
// # What it does not do
//
// It is for tests only, and asserts nothing by itself: a [Rig] starts, cuts and
// restarts a node, a [Workload] knows what was acknowledged and compares it
// with what is there. So does a history for clients that do everything at once.
//
// # Invariants
//
// A workload holds the node to what it acknowledged, and to nothing else.
package nodetest
