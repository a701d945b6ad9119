package tier

import "fmt"

// Class is what a request to the object store is for: who goes first where
// requests or bandwidth are short. The order is that of urgency.
type Class int

// The classes, the most urgent first.
const (
	// ClassUpload frees the log, and completes what waits for the object store.
	ClassUpload Class = iota
	// ClassRead is what a consumer, or a replica, waits for.
	ClassRead
	// ClassCompaction makes large objects out of small ones.
	ClassCompaction
	// ClassBackground is what nobody waits for: scrubs, deletions, checks.
	ClassBackground

	classes = iota
)

// share is the part of all requests, in quarters, that a class and those behind
// it may take together: so that for the ones before it there is always room.
var share = [classes]int{ClassUpload: 4, ClassRead: 3, ClassCompaction: 2, ClassBackground: 1}

// String is the class as metrics name it.
func (c Class) String() string {
	switch c {
	case ClassUpload:
		return "upload"
	case ClassRead:
		return "read"
	case ClassCompaction:
		return "compaction"
	case ClassBackground:
		return "background"
	}
	return fmt.Sprintf("class %d", int(c))
}
