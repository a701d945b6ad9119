package kafkaproto

import "testing"

// TestFrameMemoryIsLargeEnoughAndLessThanTwice what is asked for, from the smallest class to beyond the last.
func TestFrameMemoryIsLargeEnoughAndLessThanTwice(t *testing.T) {
	var m frameMemory
	for _, n := range []int{1, smallestFrame - 1, smallestFrame, smallestFrame + 1, 64 << 10, 64<<10 + 1, largestFrame - 1, largestFrame, largestFrame + 1} {
		for range 2 { // new, and perhaps used before
			b := m.take(n)
			if got := len(b.bytes); got < n || got >= 2*n && n > 1 {
				t.Errorf("%d bytes for %d", got, n)
			}
			if kept := b.class >= 0; kept != (n >= smallestFrame && n <= largestFrame) {
				t.Errorf("%d bytes are kept: %v", n, kept)
			}
			m.give(b)
		}
	}
	m.give(nil)
}
