package node

import (
	"testing"

	"github.com/rustmq/rustmq/metadata"
)

// What became garbage before the cluster said since when is taken to have become so when that began: a copy of the metadata of before it may still name the object.
func TestGarbageOfBeforeItsLevelWaitsForACheckpointOfAfterIt(t *testing.T) {
	k := keeper{leveled: 100}
	for _, test := range []struct {
		garbage, safe uint64
		want          bool
	}{{0, 99, false}, {0, 100, true}, {150, 149, false}, {150, 150, true}} {
		if got := k.discardable(metadata.Object{Garbage: test.garbage}, test.safe); got != test.want {
			t.Errorf("garbage since %d at %d: %v", test.garbage, test.safe, got)
		}
	}
}
