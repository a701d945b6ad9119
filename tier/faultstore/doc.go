// Package faultstore is an object store in memory that fails as told, for tests
// of what stands on an object store: it fails before or after the effect, takes
// its time, cuts transfers short, flips bits on the way and in place, lets a
// write take effect long after its caller was told that it failed, or twice.
//
// # What it does not do
//
// It forgets everything with the process, and knows nothing of what objects hold.
//
// # Invariants
//
// It is strongly consistent, like the stores that we use, and IfNotExist has one
// winner. What a caller was told is the only thing that a fault makes unsure.
package faultstore
