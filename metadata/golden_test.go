package metadata

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
)

var update = flag.Bool("update", false, "write golden files anew")

// golden compares text with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: what is persisted has changed:\n%s", path, got)
	}
}

// TestNumbersOfCommandsAndRecordsAreStable pins the catalogue: every message that is persisted, with the numbers of its fields.
func TestNumbersOfCommandsAndRecordsAreStable(t *testing.T) {
	var lines []string
	for _, file := range []protoreflect.FileDescriptor{metadatapb.File_metadata_v1_command_proto, metadatapb.File_metadata_v1_record_proto} {
		for i := range file.Messages().Len() {
			m := file.Messages().Get(i)
			for j := range m.Fields().Len() {
				f := m.Fields().Get(j)
				kind := f.Kind().String()
				if f.Message() != nil {
					kind = string(f.Message().Name())
				}
				lines = append(lines, fmt.Sprintf("%s.%s = %d %s %s", m.Name(), f.Name(), f.Number(), f.Cardinality(), kind))
			}
		}
	}
	slices.Sort(lines)
	golden(t, "catalogue.golden", strings.Join(lines, "\n")+"\n")
}

// TestBytesOfCommandsAndDatabaseAreStable pins the encoding of each kind of command, and the database that they make.
func TestBytesOfCommandsAndDatabaseAreStable(t *testing.T) {
	b := newBench(t)
	id := topicOf(1)
	epochs := rangeOf(partitionOf(1, 0), 0, 0, 10)
	commands := []*metadatapb.Command{
		formCommand(),
		registerCommand(1, 100),
		registerCommand(2, 200),
		{Kind: &metadatapb.Command_SetFeatureLevel{SetFeatureLevel: &metadatapb.SetFeatureLevel{FeatureLevel: FeatureLevel}}},
		{Kind: &metadatapb.Command_SetClusterConfigs{SetClusterConfigs: &metadatapb.SetClusterConfigs{
			Changes: []*metadatapb.ConfigChange{{Key: "num.partitions", Value: "3"}},
		}}},
		createCommand(1, "orders", []int32{1, 2}),
		createCommand(2, "gone", []int32{1}),
		{Kind: &metadatapb.Command_AlterTopicConfigs{AlterTopicConfigs: &metadatapb.AlterTopicConfigs{
			Id: id[:], Changes: []*metadatapb.ConfigChange{{Key: "retention.ms", Value: "1000"}, {Key: "retention.bytes", Delete: true}},
		}}},
		{Kind: &metadatapb.Command_CreatePartitions{CreatePartitions: &metadatapb.CreatePartitions{
			Id: id[:], Current: 1, Assignments: []*metadatapb.ReplicaAssignment{{Replicas: []int32{2, 1}}},
		}}},
		{Kind: &metadatapb.Command_AllocateProducerIds{AllocateProducerIds: &metadatapb.AllocateProducerIDs{Count: 1000}}},
		objectIDsCommand(10),
		commitCommand(1, 1, epochs, rangeOf(partitionOf(1, 0), 0, 10, 20)),
		commitCommand(1, 2, rangeOf(partitionOf(2, 0), 0, 0, 10)),
		commitCommand(1, 3),
		commitCommand(1, 4),
		logStartCommand(partitionOf(1, 0), 10),
		reclaimCommand(1),
		{Kind: &metadatapb.Command_RemoveObjects{RemoveObjects: &metadatapb.RemoveObjects{ObjectIds: []uint64{4}}}},
		deleteCommand(2),
		fenceCommand(2, 3),
		changeCommand(&metadatapb.PartitionChange{
			Partition: PartitionRecord(partitionOf(1, 0)), PartitionEpoch: 1, LeaderEpoch: -1, Leader: new(int32(1)),
			Isr: []*metadatapb.ISRMember{{NodeId: 1, BrokerEpoch: 2}}, Replicas: []int32{1},
		}),
		reassignCommand(partitionOf(1, 1), 1, 2),
		registerControllerCommand(controllerRecordOf(1, 1, 0)),
		addControllerCommand(2, 0),
		addControllerCommand(3, 0),
		removeControllerCommand(1 << 31),
		registerCommand(3, 300),
		shutdownCommand(1, 2),
		fenceCommand(3, 27),
		removeBrokerCommand(3),
		drainCommand(2, true),
		{Kind: &metadatapb.Command_RecoverCluster{RecoverCluster: &metadatapb.RecoverCluster{}}},
		putTokenCommand(1, 4, 1000, 5000),
		putTokenCommand(2, 5, 1000, 6000),
		useTokenCommand(1, 4, 4999),
		groupCommand("billing", sessionKey, "9000", heartbeatKey, "3000"),
		quotaCommand(ofBoth("alice", ""), produceOnly(1<<20)),
		createCommand(3, "lost", []int32{1}),
		elsewhere(registerCommand(1, 101), 9),
		uncleanCommand(partitionOf(3, 0), 1),
		createCommand(4, "merged", []int32{1}),
		commitCommand(1, 5, rangeOf(partitionOf(4, 0), 0, 0, 10), rangeOf(partitionOf(4, 0), 0, 10, 20)),
		replaceCommand(6, replacementOf(partitionOf(4, 0), refOf(0, 10, 5), refOf(10, 20, 5))),
		forkCommand(5, 4, "forked", []int32{1}, 15),
	}
	var text strings.Builder
	kinds := map[protoreflect.Name]bool{}
	for _, c := range commands {
		data := encode(t, c)
		result := b.apply(data)[0]
		if _, err := DecodeResult(result); err != nil {
			t.Errorf("%v: %v", c, err)
		}
		kind := c.ProtoReflect().WhichOneof(c.ProtoReflect().Descriptor().Oneofs().ByName("kind"))
		kinds[kind.Name()] = true
		fmt.Fprintf(&text, "%s\n  command %x\n  result  %x\n", kind.Name(), data, result)
	}
	all := (&metadatapb.Command{}).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range all.Len() {
		if !kinds[all.Get(i).Name()] {
			t.Errorf("no golden bytes of %s", all.Get(i).Name())
		}
	}
	golden(t, "commands.golden", text.String())
	golden(t, "database.golden", strings.Join(dump(t, b.store), "\n")+"\n")
}

// TestDatabaseOfBeforeThereWereSeveralNodesOpens fills a database with what one was pinned to hold before the buckets and fields that several
// nodes need. It opens as it is, and goes on.
func TestDatabaseOfBeforeThereWereSeveralNodesOpens(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "database_one_node.golden"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "metadata.db")
	raw, err := openBolt(path, true)
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Update(func(tx *bbolt.Tx) error {
		kv := &boltKV{tx: tx}
		d := &db{r: kv, w: kv}
		for line := range strings.Lines(string(text)) {
			var name bucket
			var key, value []byte
			if _, err := fmt.Sscanf(line, "%s %x %x", &name, &key, &value); err != nil {
				return err
			}
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
			d.putRaw(name, key, value)
		}
		d.putPosition(positionAt(1)) // which the golden text leaves out
		return kv.err
	})
	if err := errors.Join(err, raw.Close()); err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, store: openStore(t, path), index: 1}
	if got := strings.Join(dump(t, b.store), "\n") + "\n"; got != string(text) {
		t.Errorf("it changes when it is opened:\n%s", got)
	}
	if p := b.partition(1, 0); p == nil || p.Leader != 1 || p.Eligible != nil || p.lost() || p.UncleanEpoch != 0 || len(b.store.Image().Controllers()) != 0 {
		t.Errorf("partition %+v, controllers %v", p, b.store.Image().Controllers())
	}
	b.must(registerControllerCommand(controllerRecordOf(1, 1, 0)))
	b.restart(1, 0)
	if p := b.partition(1, 0); p.Leader != 1 || p.LeaderEpoch != 2 {
		t.Errorf("after a restart %+v", p)
	}
	checkReload(t, b.store)
}

// FuzzApply gives the machine arbitrary bytes on top of a small cluster. Nothing must panic, and what is refused must change nothing.
func FuzzApply(f *testing.F) {
	for _, c := range story(f, 1, 60) {
		f.Add(c)
	}
	b := newCluster(f, 2)
	b.must(createCommand(1, "t", []int32{1, 2}))
	b.must(objectIDsCommand(10))
	b.must(commitCommand(1, 1, rangeOf(partitionOf(1, 0), 0, 0, 10)))
	f.Fuzz(func(t *testing.T, data []byte) {
		b.t = t
		before := b.digest()
		b.index++
		results, err := b.store.Apply(entriesOf(b.index, data), positionAt(b.index))
		if err != nil {
			b.index--
			if c := (&metadatapb.Command{}); proto.Unmarshal(data, c) != nil || c.GetSetFeatureLevel() == nil {
				t.Fatalf("%s stops the replica: %v", DescribeCommand(data), err)
			}
			return
		}
		if _, err := DecodeResult(results[0]); err != nil && b.digest() != before {
			t.Fatalf("%s is refused with %v and changes something", DescribeCommand(data), err)
		}
	})
}
