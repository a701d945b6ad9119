// Package storetest starts servers that speak as the clouds' object stores do, on
// loopback, for tests that want to talk to more than a bucket in memory. The
// commands have to be installed: .ci/outside does that.
//
// # What it does not do
//
// It knows nothing of what is in a bucket, and talks to nobody but the servers
// that it started.
//
// # Invariants
//
// A server and all that it keeps are gone when its test has ended.
package storetest
