// Package crashfs is a file system in memory that can lose its power: a
// [wal.FS] for tests of everything that must survive that.
//
// It keeps two images. The live one is what a process sees. The durable one is what
// a disk would have after a power cut: bytes come into it by File.Sync, names by
// SyncDir. [FS.Crash] throws the live image away and lets a random source decide
// what became of each write that was not synced: kept, lost, or torn at any
// byte; of the names of each directory, a prefix of the changes is kept.
// [FS.Kill] ends the process only: the live image stays, as a kernel's cache would.
//
// Calls that change something are numbered from 1, so that a test can run
// a workload once to count them and then once for each with a fault there:
//
//	fs := crashfs.New(seed)
//	fs.CutAt(k)                  // the k-th call and all later ones fail
//	run(fs)                      // whatever it had acknowledged must survive
//	fs.Crash()                   // now the disk is as the power cut left it
//	check(fs)
//
// or, without running it again, look at every moment from within a hook:
//
//	fs.Hook(func(c crashfs.Call) error {
//		after := fs.Clone(seed) // as the disk is just before call c
//		after.Crash()
//		...
//		return nil
//	})
//
// [FS.FailAt] makes one call fail, [FS.FailReadAt] one read; [FS.SetSpace] bounds
// the disk; [FS.Flip] rots a bit and [FS.Unreadable] a sector; [FS.Trace] is what was called, for golden
// scripts. A Sync that fails has lost what it was to write for good, although
// it is still seen in the live image, which is what Linux does.
//
// # What it does not do
//
// It does no I/O, starts no goroutine and reads no clock, so it can be used in a testing/synctest bubble.
//
// # Invariants
//
//  1. What was synced, and whose name was, is there after any crash.
//  2. The same seed and the same calls give the same disk.
//  3. All methods may be called by any goroutine.
package crashfs
