// Package directio is the little that is common to those who write and read past
// the page cache: the log, which is read again from memory or much later, and
// the object store in a directory, whose objects are written once and mostly not
// read for long.
//
// A direct transfer goes between the caller's memory and the device: no copy, no
// pages to find and free. It takes memory, position and length that are
// multiples of [Align]; what is otherwise goes through the page cache, by another
// open file.
//
// A [Queue] transfers several pieces of a file by one request. Who reads one partition of a log that has many wants a piece here and a piece there: one by one
// each costs a call, a notice to the device, an interrupt, a thread that sleeps and, what costs most where processors are few, its way back to one.
//
// # What it does not do
//
// It makes nothing durable: a device keeps what it was given in memory of its
// own until the file is synced. It opens no files.
//
// # Invariants
//
// Where [Flag] is 0 the system knows no direct I/O, and nothing is [Aligned].
// A file system may know none all the same: opening then fails, or the first transfer, with an error that [Refused] tells from others.
// Memory that a Queue was given is nobody's but the device's until its Read returns.
package directio
