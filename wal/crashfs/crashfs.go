// Package crashfs is a crashable in-memory wal.FS for tests.
package crashfs
