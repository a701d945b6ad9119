package kafkaproto

import (
	"math/bits"
	"sync"
)

// Frames of Produce requests are read into memory that is used again: each of their batches is copied out of it, and neither is to be cleared first. Classes have twice the bytes of the one before.
const (
	smallestFrame = 16 << 10 // of a smaller request nothing is kept
	largestFrame  = 8 << 20
	frameClasses  = 10
)

const _ = uint(largestFrame - smallestFrame<<(frameClasses-1)) // the last class is the largest frame's
const _ = uint(smallestFrame<<(frameClasses-1) - largestFrame)

// frameMemory is memory for frames, by class. Any goroutine may use it.
type frameMemory struct{ classes [frameClasses]sync.Pool }

// frameBuffer is memory that a frame is read into, and of which class it is; -1 for none.
type frameBuffer struct {
	bytes []byte
	class int
}

// take is memory of at least n bytes, and less than twice that. What is in it is of another request.
func (m *frameMemory) take(n int) *frameBuffer {
	if n < smallestFrame || n > largestFrame {
		return &frameBuffer{make([]byte, n), -1}
	}
	class := bits.Len(uint((n - 1) / smallestFrame))
	if b, ok := m.classes[class].Get().(*frameBuffer); ok {
		return b
	}
	return &frameBuffer{make([]byte, smallestFrame<<class), class}
}

// give gives memory back, which nothing may refer to any more.
func (m *frameMemory) give(b *frameBuffer) {
	if b != nil && b.class >= 0 {
		m.classes[b.class].Put(b)
	}
}
