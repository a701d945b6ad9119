package wal

import (
	"bytes"
	"hash/crc32"
	"testing"
)

// What the writer combines from a checksum that it was given is what a reader computes from the bytes.
func TestKnownChecksumMakesTheSameFrame(t *testing.T) {
	for _, size := range []int{0, 1, 100, 16 << 10, 200 << 10} {
		payload := bytes.Repeat([]byte{0xA5, 1, 2}, size/3+1)[:size]
		want := payloadCRC(77, 4096, payload)
		for _, known := range []uint32{0, crc32.Checksum(payload, castagnoli)} {
			if got := seededCRC(77, 4096, payload, known); got != want {
				t.Errorf("%d bytes, known %08x: %08x, want %08x", size, known, got, want)
			}
		}
	}
}
