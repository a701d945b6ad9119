package kafkaproto

import (
	"math/bits"
	"sync"
)

// Frames of Produce requests are read into memory that is used again: each of their batches is copied out of it, and neither is to be cleared first. Classes have twice the bytes of the one before. What a request takes is counted as its class has it.
const (
	smallestFrame = 16 << 10 // of a smaller request nothing is kept
	largestFrame  = 1 << 20  // nor of a larger one
	frameClasses  = 7
)

// frameBytes is how many bytes frameMemory takes for n.
func frameBytes(n int) int {
	if n < smallestFrame || n > largestFrame {
		return n
	}
	return smallestFrame << frameClass(n)
}

func frameClass(n int) int { return bits.Len(uint((n - 1) / smallestFrame)) }

const (
	_ = uint(largestFrame - smallestFrame<<(frameClasses-1)) // the last class is the largest frame's
	_ = uint(smallestFrame<<(frameClasses-1) - largestFrame)
)

// frameMemory is memory for frames, by class. Any goroutine may use it.
type frameMemory struct{ classes [frameClasses]sync.Pool }

// frameBuffer is memory that a frame is read into, and of which class it is; -1 for none.
type frameBuffer struct {
	bytes []byte
	class int
}

// again says whether the memory is used again once it is given back.
func (b *frameBuffer) again() bool { return b != nil && b.class >= 0 }

// take is memory of at least n bytes, and less than twice that. What is in it is of another request.
func (m *frameMemory) take(n int) *frameBuffer {
	if n < smallestFrame || n > largestFrame {
		return &frameBuffer{make([]byte, n), -1}
	}
	class := frameClass(n)
	if b, ok := m.classes[class].Get().(*frameBuffer); ok {
		return b
	}
	return &frameBuffer{make([]byte, smallestFrame<<class), class}
}

// give gives memory back, which nothing may refer to any more.
func (m *frameMemory) give(b *frameBuffer) {
	if b.again() {
		m.classes[b.class].Put(b)
	}
}
