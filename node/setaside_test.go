package node

import (
	"testing"

	"github.com/rustmq/rustmq/mq"
)

// The names of the files are what operators give `rustmq ctl partition salvage`.
func TestFileThatIsSetAsideNamesItsPartition(t *testing.T) {
	id := mq.PartitionID{Topic: mq.TopicID{1, 2, 3}, Index: 7}
	if got, ok := SetAsidePartition(fileOfPartition(id)); !ok || got != id {
		t.Errorf("%s is %v, %v", fileOfPartition(id), got, ok)
	}
	topic := id.Topic.String()
	for _, name := range []string{"", generationFile, topic, topic + ".", topic + ".-1", topic + ".x", topic + ".2147483648", topic[1:] + ".0", topic + ".0.0"} {
		if id, ok := SetAsidePartition(name); ok {
			t.Errorf("%q is %v", name, id)
		}
	}
}
