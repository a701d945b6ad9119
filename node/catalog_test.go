package node

import (
	"math"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier"
)

// The uploader ends an object by what it thinks its commit takes: thinking too little would give commands that are refused for ever.
func TestCommandThatCommitsARangeIsNotLargerThanItsSize(t *testing.T) {
	largest := tier.RangeCommit{
		Partition:   mq.PartitionID{Topic: mq.TopicID(slices.Repeat([]byte{0xff}, 16)), Index: math.MaxInt32},
		LeaderEpoch: math.MaxInt32, First: math.MaxInt64, End: math.MaxInt64, MinTime: -1, MaxTime: -1,
		Position: math.MaxInt64, Bytes: math.MaxInt64, CRC: math.MaxUint32,
	}
	for _, state := range []int{0, 1, 64 << 10} {
		for _, epochs := range []int{0, 1, 1000} {
			r := largest
			r.State = make([]byte, state)
			r.Epochs = slices.Repeat([]mq.EpochStart{{Epoch: math.MaxInt32, Start: math.MaxInt64}}, epochs)
			command := &metadatapb.CommitObject{Ranges: []*metadatapb.RangeCommit{rangeCommand(r)}}
			if got := int64(proto.Size(command)); got > r.Size() {
				t.Errorf("%d bytes of state and %d epochs take %d bytes, and are counted as %d", state, epochs, got, r.Size())
			}
		}
	}
}
