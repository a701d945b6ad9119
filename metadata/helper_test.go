package metadata

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"testing"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
)

// bench is a store that takes commands without a raft log.
type bench struct {
	t     testing.TB
	store *Store
	index uint64
}

func openStore(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(Options{Path: path, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func newBench(t testing.TB) *bench {
	t.Helper()
	return &bench{t: t, store: openStore(t, filepath.Join(t.TempDir(), "metadata.db"))}
}

// apply applies commands in one batch, one index each.
func (b *bench) apply(commands ...[]byte) [][]byte {
	b.t.Helper()
	entries := make([]raft.Entry, len(commands))
	for i, c := range commands {
		b.index++
		entries[i] = raft.Entry{Index: b.index, Term: 1, Data: c}
	}
	results, err := b.store.Apply(entries, raft.Position{Index: b.index, Term: 1, Conf: []byte("conf")})
	if err != nil {
		b.t.Fatal(err)
	}
	return results
}

// do applies one command.
func (b *bench) do(kind *metadatapb.Command) (*metadatapb.Result, error) {
	b.t.Helper()
	return DecodeResult(b.apply(encode(b.t, kind))[0])
}

// must applies one command that is to succeed.
func (b *bench) must(kind *metadatapb.Command) *metadatapb.Result {
	b.t.Helper()
	r, err := b.do(kind)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// refuse applies one command that is to fail with a code.
func (b *bench) refuse(code mq.Code, kind *metadatapb.Command) *metadatapb.Result {
	b.t.Helper()
	before := b.digest()
	r, err := b.do(kind)
	if mq.CodeOf(err) != code {
		b.t.Errorf("%v: got %v, want %v", kind, err, code)
	}
	if b.digest() != before {
		b.t.Errorf("%v: refused, and changed something", kind)
	}
	return r
}

// digest is over everything but the position.
func (b *bench) digest() string {
	return fmt.Sprint(dump(b.t, b.store))
}

func encode(t testing.TB, command *metadatapb.Command) []byte {
	t.Helper()
	data, err := EncodeCommand(command)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// dump is every key and value of the database but the position.
func dump(t testing.TB, s *Store) []string {
	t.Helper()
	var lines []string
	err := s.view(func(d *db) {
		for _, name := range allBuckets() {
			for key, value := d.seekRaw(name, nil); key != nil; key, value = d.seekRaw(name, after(key)) {
				if string(key) != keyPosition {
					lines = append(lines, fmt.Sprintf("%s %x %x", name, key, value))
				}
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// Commands.

func formCommand() *metadatapb.Command {
	return &metadatapb.Command{Kind: &metadatapb.Command_FormCluster{FormCluster: &metadatapb.FormCluster{
		ClusterId: clusterID[:], FeatureLevel: FeatureLevel,
	}}}
}

var clusterID = mq.ClusterID{0xc1, 15: 1}

func registerCommand(node int32, incarnation uint64) *metadatapb.Command {
	return &metadatapb.Command{Kind: &metadatapb.Command_RegisterBroker{RegisterBroker: &metadatapb.RegisterBroker{
		ClusterId: clusterID[:], NodeId: node, Incarnation: incarnation, DirId: dirOf(node), MaxFeatureLevel: FeatureLevel, Rack: fmt.Sprint("r", node%2),
		Endpoints: []*metadatapb.Endpoint{{Listener: "quic", Host: "127.0.0.1", Port: uint32(9000 + node)}},
	}}}
}

func dirOf(node int32) []byte {
	dir := mq.DirID{0xd1, byte(node)}
	return dir[:]
}

func topicOf(n byte) mq.TopicID { return mq.TopicID{0x70, n, 15: 0x7f} }

func partitionOf(topic byte, index int32) mq.PartitionID {
	return mq.PartitionID{Topic: topicOf(topic), Index: index}
}

func createCommand(topic byte, name string, replicas ...[]int32) *metadatapb.Command {
	id := topicOf(topic)
	c := &metadatapb.CreateTopic{Id: id[:], Name: name}
	for _, r := range replicas {
		c.Assignments = append(c.Assignments, &metadatapb.ReplicaAssignment{Replicas: r})
	}
	return &metadatapb.Command{Kind: &metadatapb.Command_CreateTopic{CreateTopic: c}}
}

// forkCommand has topic fork be a copy of topic source, up to points, with the same replicas for all partitions.
func forkCommand(fork, source byte, name string, replicas []int32, points ...int64) *metadatapb.Command {
	id, from := topicOf(fork), topicOf(source)
	c := &metadatapb.ForkTopic{Id: id[:], Name: name, Source: from[:], Points: points}
	for range points {
		c.Assignments = append(c.Assignments, &metadatapb.ReplicaAssignment{Replicas: replicas})
	}
	return &metadatapb.Command{Kind: &metadatapb.Command_ForkTopic{ForkTopic: c}}
}

func deleteCommand(topic byte) *metadatapb.Command {
	id := topicOf(topic)
	return &metadatapb.Command{Kind: &metadatapb.Command_DeleteTopic{DeleteTopic: &metadatapb.DeleteTopic{Id: id[:]}}}
}

func objectIDsCommand(count int32) *metadatapb.Command {
	return &metadatapb.Command{Kind: &metadatapb.Command_AllocateObjectIds{AllocateObjectIds: &metadatapb.AllocateObjectIDs{Count: count}}}
}

func commitCommand(node int32, object uint64, ranges ...*metadatapb.RangeCommit) *metadatapb.Command {
	return &metadatapb.Command{Kind: &metadatapb.Command_CommitObject{CommitObject: &metadatapb.CommitObject{
		ObjectId: object, Key: fmt.Sprintf("objects/%d", object), Size: 1 << 20, NodeId: node, Ranges: ranges,
	}}}
}

func rangeOf(id mq.PartitionID, epoch mq.Epoch, first, end int64) *metadatapb.RangeCommit {
	return &metadatapb.RangeCommit{
		Partition: PartitionRecord(id), LeaderEpoch: int32(epoch), First: first, End: end, MinTime: first, MaxTime: end, Position: 10, Bytes: 100,
		Crc: 7, ProducerState: fmt.Appendf(nil, "producers at %d", end), Epochs: []*metadatapb.EpochStart{{Epoch: 0, Start: 0}},
	}
}

func logStartCommand(id mq.PartitionID, offset int64) *metadatapb.Command {
	return &metadatapb.Command{Kind: &metadatapb.Command_SetLogStarts{SetLogStarts: &metadatapb.SetLogStarts{
		Starts: []*metadatapb.LogStart{{Partition: PartitionRecord(id), Offset: offset, LeaderEpoch: -1}},
	}}}
}

func reclaimCommand(limit int32) *metadatapb.Command {
	return &metadatapb.Command{Kind: &metadatapb.Command_ReclaimRanges{ReclaimRanges: &metadatapb.ReclaimRanges{Limit: limit}}}
}

// replaceCommand puts an object of 1 MiB into the place of others.
func replaceCommand(object uint64, replacements ...*metadatapb.Replacement) *metadatapb.Command {
	return &metadatapb.Command{Kind: &metadatapb.Command_ReplaceRanges{ReplaceRanges: &metadatapb.ReplaceRanges{
		ObjectId: object, Key: fmt.Sprintf("objects/%d", object), Size: 1 << 20, Replacements: replacements,
	}}}
}

// replacementOf is one range for all of some.
func replacementOf(id mq.PartitionID, old ...*metadatapb.RangeRef) *metadatapb.Replacement {
	first, end := old[0].GetFirst(), old[len(old)-1].GetEnd()
	return &metadatapb.Replacement{
		Partition: PartitionRecord(id), Old: old, First: first, End: end, MinTime: first, MaxTime: end, Position: 20, Bytes: 200, Crc: 9,
	}
}

func refOf(first, end int64, object uint64) *metadatapb.RangeRef {
	return &metadatapb.RangeRef{First: first, End: end, ObjectId: object}
}

func fenceCommand(node int32, epoch uint64) *metadatapb.Command {
	return &metadatapb.Command{Kind: &metadatapb.Command_FenceBroker{FenceBroker: &metadatapb.FenceBroker{NodeId: node, BrokerEpoch: epoch}}}
}

func shutdownCommand(node int32, epoch uint64) *metadatapb.Command {
	return &metadatapb.Command{Kind: &metadatapb.Command_RequestShutdown{RequestShutdown: &metadatapb.RequestShutdown{NodeId: node, BrokerEpoch: epoch}}}
}

func drainCommand(node int32, drain bool) *metadatapb.Command {
	return &metadatapb.Command{Kind: &metadatapb.Command_DrainBroker{DrainBroker: &metadatapb.DrainBroker{NodeId: node, Drain: drain}}}
}

func removeBrokerCommand(node int32) *metadatapb.Command {
	return &metadatapb.Command{Kind: &metadatapb.Command_RemoveBroker{RemoveBroker: &metadatapb.RemoveBroker{NodeId: node}}}
}

// controllerRecordOf is a controller with its endpoint; dir 0: the one that the node has always had.
func controllerRecordOf(raftID uint64, node, dir int32) *metadatapb.Controller {
	if dir == 0 {
		dir = node
	}
	return &metadatapb.Controller{
		RaftId: raftID, NodeId: node, DirId: dirOf(dir), MaxFeatureLevel: FeatureLevel,
		Endpoint: &metadatapb.Endpoint{Listener: "rpc", Host: "127.0.0.1", Port: uint32(9100 + node)},
	}
}

func addControllerCommand(node, dir int32) *metadatapb.Command {
	c := controllerRecordOf(0, node, dir)
	return &metadatapb.Command{Kind: &metadatapb.Command_AddController{AddController: &metadatapb.AddController{
		NodeId: c.GetNodeId(), DirId: c.GetDirId(), Endpoint: c.GetEndpoint(), MaxFeatureLevel: c.GetMaxFeatureLevel(),
	}}}
}

func registerControllerCommand(c *metadatapb.Controller) *metadatapb.Command {
	return &metadatapb.Command{Kind: &metadatapb.Command_RegisterController{RegisterController: &metadatapb.RegisterController{Controller: c}}}
}

func removeControllerCommand(raftID uint64) *metadatapb.Command {
	return &metadatapb.Command{Kind: &metadatapb.Command_RemoveController{RemoveController: &metadatapb.RemoveController{RaftId: raftID}}}
}

// elsewhere has a broker register with another directory.
func elsewhere(c *metadatapb.Command, dir int32) *metadatapb.Command {
	c.GetRegisterBroker().DirId = dirOf(dir)
	return c
}

// uncleanCommand names nobody, or who is to lead.
func uncleanCommand(id mq.PartitionID, epoch int32, leader ...int32) *metadatapb.Command {
	c := &metadatapb.ElectUnclean{Partition: PartitionRecord(id), PartitionEpoch: epoch}
	if len(leader) > 0 {
		c.Leader = new(leader[0])
	}
	return &metadatapb.Command{Kind: &metadatapb.Command_ElectUnclean{ElectUnclean: c}}
}

func tokenIDOf(n byte) []byte { return append(make([]byte, 15), n) }

func secretOf(n byte) []byte {
	hash := sha256.Sum256([]byte{n})
	return hash[:]
}

// putTokenCommand makes token n for a node, useTokenCommand uses it with its secret.
func putTokenCommand(n byte, node int32, now, expires int64) *metadatapb.Command {
	return &metadatapb.Command{Kind: &metadatapb.Command_PutJoinToken{PutJoinToken: &metadatapb.PutJoinToken{
		TokenId: tokenIDOf(n), NowMs: now, Token: &metadatapb.JoinToken{SecretSha256: secretOf(n), NodeId: node, ExpiresMs: expires},
	}}}
}

func useTokenCommand(n byte, node int32, now int64) *metadatapb.Command {
	return &metadatapb.Command{Kind: &metadatapb.Command_UseJoinToken{UseJoinToken: &metadatapb.UseJoinToken{
		TokenId: tokenIDOf(n), SecretSha256: secretOf(n), NodeId: node, NowMs: now,
	}}}
}

// reassignCommand without targets cancels.
func reassignCommand(id mq.PartitionID, targets ...int32) *metadatapb.Command {
	return &metadatapb.Command{Kind: &metadatapb.Command_ReassignPartitions{ReassignPartitions: &metadatapb.ReassignPartitions{
		Reassignments: []*metadatapb.Reassignment{{Partition: PartitionRecord(id), Targets: targets}},
	}}}
}

func changeCommand(change *metadatapb.PartitionChange) *metadatapb.Command {
	return &metadatapb.Command{Kind: &metadatapb.Command_ChangePartitions{ChangePartitions: &metadatapb.ChangePartitions{
		Changes: []*metadatapb.PartitionChange{change},
	}}}
}

// newCluster is a formed cluster with brokers 1..n.
func newCluster(t testing.TB, brokers int32) *bench {
	t.Helper()
	b := newBench(t)
	b.must(formCommand())
	for id := int32(1); id <= brokers; id++ {
		b.must(registerCommand(id, 100))
	}
	return b
}

// verdicts of a CommitObject.
func codes(verdicts []*metadatapb.Verdict) []mq.Code {
	list := make([]mq.Code, len(verdicts))
	for i, v := range verdicts {
		list[i] = mq.Code(v.GetCode())
	}
	return list
}

// checkReload compares the image in memory with what the database gives.
func checkReload(t testing.TB, s *Store) {
	t.Helper()
	loaded, err := load(s.bolt.Load(), s.known)
	if err != nil {
		t.Fatal(err)
	}
	if d := Diff(s.Image(), loaded.image); !d.Empty() || loaded.image.Index != s.Image().Index {
		t.Fatalf("the image differs from the database: %+v", d)
	}
	if loaded.image.partitions != s.Image().partitions || loaded.image.TopicCount() != s.Image().TopicCount() {
		t.Fatalf("the image counts %d topics and %d partitions, the database %d and %d", s.Image().TopicCount(), s.Image().partitions,
			loaded.image.TopicCount(), loaded.image.partitions)
	}
	for topic := range s.Image().Topics() {
		if s.Image().TopicByName(topic.Name) != topic {
			t.Fatalf("topic %q is not found by its name", topic.Name)
		}
	}
}

func entriesOf(from uint64, commands ...[]byte) []raft.Entry {
	entries := make([]raft.Entry, len(commands))
	for i, c := range commands {
		entries[i] = raft.Entry{Index: from + uint64(i), Term: 1, Data: c}
	}
	return entries
}

func positionAt(index uint64) raft.Position {
	return raft.Position{Index: index, Term: 1, Conf: []byte("conf")}
}
