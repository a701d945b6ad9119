// Package wal is a segmented, multi-stream write-ahead log with group commit.
package wal
