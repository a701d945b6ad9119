package group

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	grouppb "github.com/rustmq/rustmq/api/group/v1"
	"github.com/rustmq/rustmq/mq"
)

var update = flag.Bool("update", false, "write golden files anew")

// golden compares text with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s has changed:\n%s", path, got)
	}
}

// TestNumbersOfRecordsAreStable pins the catalogue: every message that is written down, with the numbers of its fields.
func TestNumbersOfRecordsAreStable(t *testing.T) {
	var lines []string
	file := grouppb.File_group_v1_group_proto
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
	for i := range file.Enums().Len() {
		e := file.Enums().Get(i)
		for j := range e.Values().Len() {
			lines = append(lines, fmt.Sprintf("%s = %d", e.Values().Get(j).Name(), e.Values().Get(j).Number()))
		}
	}
	slices.Sort(lines)
	golden(t, "catalogue.golden", strings.Join(lines, "\n")+"\n")
}

// everyRecord has each kind, with each field set.
func everyRecord(t *testing.T) []*grouppb.Record {
	t.Helper()
	partitions := []*grouppb.TopicPartitions{{TopicId: []byte("0123456789abcdef"), Partitions: []int32{0, 3}}}
	classic := []*grouppb.ClassicProtocol{{Name: "range", Metadata: []byte{1, 2}}}
	all := []*grouppb.Record{
		{Kind: &grouppb.Record_Change{Change: &grouppb.Change{
			Group:          "g",
			Head:           &grouppb.Head{Protocol: grouppb.Protocol_PROTOCOL_CONSUMER, GroupEpoch: 7, TargetEpoch: 6, TopicsHash: 99, EmptySinceMs: 1_800_000_000_000},
			RemovedMembers: []string{"a"},
			Members: []*grouppb.Member{{
				Id: "m", Instance: "i", Rack: "r", ClientId: "c", ClientHost: "h", RebalanceTimeoutMs: 60_000, Topics: []string{"t"}, Pattern: "t.*",
				Assignor: "uniform", Epoch: 6, PreviousEpoch: 5, Assigned: partitions, Revoking: partitions, RevokingEpoch: 7,
				Classic: &grouppb.ClassicPart{SessionTimeoutMs: 45_000, Protocols: classic},
			}},
			Targets:        []*grouppb.Target{{Member: "m", Partitions: partitions}},
			RemovedOffsets: []*grouppb.RemovedOffsets{{Topic: "t", Partitions: []int32{4}}},
			Offsets: []*grouppb.Offsets{{Topic: "t", TopicId: []byte("0123456789abcdef"), Offsets: []*grouppb.Offset{{
				Partition: 3, Offset: 1000, LeaderEpochPlusOne: 4, Metadata: "note", CommitMs: 1_800_000_000_000,
			}}}},
		}}},
		{Kind: &grouppb.Record_Change{Change: &grouppb.Change{Group: "g", Classic: &grouppb.Classic{
			Generation: 3, ProtocolType: "consumer", Protocol: "range", Leader: "m", Members: []*grouppb.ClassicMember{{
				Id: "m", Instance: "i", ClientId: "c", ClientHost: "h", SessionTimeoutMs: 45_000, RebalanceTimeoutMs: 60_000, Protocols: classic,
				Assignment: []byte{9},
			}}, Rebalance: true,
		}}}},
		{Kind: &grouppb.Record_Removed{Removed: &grouppb.Removed{Group: "g"}}},
		{Kind: &grouppb.Record_SnapshotBegin{SnapshotBegin: &grouppb.SnapshotBegin{Id: 5}}},
		{Kind: &grouppb.Record_SnapshotEnd{SnapshotEnd: &grouppb.SnapshotEnd{Id: 5}}},
	}
	for _, r := range all {
		r.Version = formatVersion
		checkAllSet(t, r.ProtoReflect())
	}
	return all
}

// checkAllSet wants no field of a message below a record to be left out, but for those of a oneof and the parts of a change.
func checkAllSet(t *testing.T, m protoreflect.Message) {
	t.Helper()
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if name := m.Descriptor().Name(); !m.Has(f) && name != "Record" && name != "Change" {
			t.Errorf("%s is not set", f.FullName())
		}
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				checkAllSet(t, v.List().Get(i).Message())
			}
		default:
			checkAllSet(t, v.Message())
		}
		return true
	})
}

func TestBytesOfRecordsAreStable(t *testing.T) {
	var b strings.Builder
	for _, r := range everyRecord(t) {
		value, err := marshal.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%T\n%s\n", r.GetKind(), hex.EncodeToString(value))
		back, err := decodeRecord(value)
		if err != nil || !proto.Equal(back, r) {
			t.Errorf("%v came back as %v, %v", r, back, err)
		}
	}
	golden(t, "records.golden", b.String())
}

func TestRecordsOfANewerVersionAreUnsupportedAndOthersCorrupt(t *testing.T) {
	value := func(r *grouppb.Record) []byte {
		b, err := marshal.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	change := &grouppb.Record_Change{Change: &grouppb.Change{Group: "g"}}
	for _, c := range []struct {
		what  string
		value []byte
		want  mq.Code
	}{
		{"newer", value(&grouppb.Record{Version: formatVersion + 1}), mq.UnsupportedVersion},
		{"no version", value(&grouppb.Record{Kind: change}), mq.Corrupt},
		{"no kind", value(&grouppb.Record{Version: formatVersion}), mq.Corrupt},
		{"no message", []byte{0xff}, mq.Corrupt},
		{"too long", make([]byte, mq.MaxGroupRecordBytes+1), mq.Corrupt},
		{"no group", value(&grouppb.Record{Version: 1, Kind: &grouppb.Record_Change{Change: &grouppb.Change{}}}), mq.Corrupt},
		{"no protocol", value(&grouppb.Record{Version: 1, Kind: &grouppb.Record_Change{Change: &grouppb.Change{Group: "g", Head: &grouppb.Head{}}}}), mq.Corrupt},
		{"a classic member without protocols", value(&grouppb.Record{Version: 1, Kind: &grouppb.Record_Change{Change: &grouppb.Change{
			Group: "g", Classic: &grouppb.Classic{Members: []*grouppb.ClassicMember{{Id: "m"}}},
		}}}), mq.Corrupt},
		{"a mixed group's member without protocols", value(&grouppb.Record{Version: 1, Kind: &grouppb.Record_Change{Change: &grouppb.Change{
			Group: "g", Members: []*grouppb.Member{{Id: "m", Classic: &grouppb.ClassicPart{}}},
		}}}), mq.Corrupt},
		{"a negative partition", value(&grouppb.Record{Version: 1, Kind: &grouppb.Record_Change{Change: &grouppb.Change{
			Group: "g", Members: []*grouppb.Member{{Id: "m", Assigned: []*grouppb.TopicPartitions{{Partitions: []int32{-1}}}}},
		}}}), mq.Corrupt},
		{"half a topic id", value(&grouppb.Record{Version: 1, Kind: &grouppb.Record_Change{Change: &grouppb.Change{
			Group: "g", Offsets: []*grouppb.Offsets{{Topic: "t", TopicId: []byte{1}}},
		}}}), mq.Corrupt},
	} {
		err := NewShard(DefaultConfig(), nil).Replay(17, Record{Value: c.value})
		if mq.CodeOf(err) != c.want || !strings.Contains(err.Error(), "offset 17") {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func TestLogBeginsAtItsBeginOrWithAWholeSnapshot(t *testing.T) {
	begin := func(id uint64) *grouppb.Record {
		return &grouppb.Record{Version: 1, Kind: &grouppb.Record_SnapshotBegin{SnapshotBegin: &grouppb.SnapshotBegin{Id: id}}}
	}
	end := func(id uint64) *grouppb.Record {
		return &grouppb.Record{Version: 1, Kind: &grouppb.Record_SnapshotEnd{SnapshotEnd: &grouppb.SnapshotEnd{Id: id}}}
	}
	for _, c := range []struct {
		what    string
		first   mq.Offset
		records []*grouppb.Record
		ok      bool
	}{
		{"nothing", 0, nil, true},
		{"from the first record", 0, []*grouppb.Record{removedRecord("g")}, true},
		{"a whole snapshot", 9, []*grouppb.Record{begin(3), end(3)}, true},
		{"no snapshot", 9, []*grouppb.Record{removedRecord("g")}, false},
		{"no end", 9, []*grouppb.Record{begin(3)}, false},
		{"the end of another", 9, []*grouppb.Record{begin(3), end(2)}, false},
	} {
		s := NewShard(DefaultConfig(), nil)
		for i, r := range c.records {
			r.Version = 1
			value, err := marshal.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Replay(c.first+mq.Offset(i), Record{Value: value}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Loaded(start); (err == nil) != c.ok || err != nil && mq.CodeOf(err) != mq.Corrupt {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// FuzzReplay: whatever a log holds, a shard that takes it is one.
func FuzzReplay(f *testing.F) {
	for _, r := range everyRecord(&testing.T{}) {
		value, err := marshal.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(value, value)
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		s := NewShard(DefaultConfig(), nil)
		for i, value := range [][]byte{first, second} {
			if err := s.Replay(mq.Offset(i), Record{Value: value}); err != nil {
				if code := mq.CodeOf(err); code != mq.Corrupt && code != mq.UnsupportedVersion {
					t.Fatal(err)
				}
				return
			}
		}
		if err := s.Loaded(start); err != nil {
			t.Fatal(err)
		}
		topic := testTopic("t", 3)
		s.SetTopics(start, NewTopics(1, []Topic{topic}))
		s.Tick(start.Add(time.Hour))
		s.Handle(start.Add(time.Hour), 1, &HeartbeatRequest{Group: "g", Member: "n", Topics: []string{"t"}, RebalanceTimeout: time.Second})
		s.Handle(start.Add(time.Hour), 2, &ListRequest{})
		s.Handle(start.Add(time.Hour), 3, &DescribeRequest{Group: "g"})
		s.Handle(start.Add(time.Hour), 4, &HeartbeatRequest{Group: "g", Member: "n", Epoch: EpochLeave})
		for _, id := range []string{"m", "i", "n"} {
			s.Handle(start.Add(time.Hour), 5, &JoinRequest{
				Group: "g", Member: id, ProtocolType: consumerType, Protocols: []ClassicProtocol{{Name: "range", Metadata: subscriptionOf([]string{"t"}, nil)}},
				SessionTimeout: time.Minute, RebalanceTimeout: time.Minute,
			})
			s.Handle(start.Add(time.Hour), 6, &SyncRequest{Group: "g", Member: id, Generation: 6})
		}
		s.Tick(start.Add(2 * time.Hour))
		durable(s)
	})
}

// offsetsLog are the records of a snapshot of n committed offsets.
func offsetsLog(tb testing.TB, n int) []Record {
	tb.Helper()
	s := NewShard(DefaultConfig(), nil)
	if err := s.Loaded(start); err != nil {
		tb.Fatal(err)
	}
	const groups, perTopic = 100, 100
	for i := 0; i < n; i += perTopic {
		r := &CommitRequest{Group: fmt.Sprintf("group-%03d", i/perTopic%groups), Generation: NoGeneration, Topics: []TopicOffsets{{
			Topic: fmt.Sprintf("topic-%05d", i/perTopic/groups), ID: testTopic("t", 1).ID,
		}}}
		for index := range int32(perTopic) {
			r.Topics[0].Offsets = append(r.Topics[0].Offsets, Offset{Partition: index, Offset: mq.Offset(i * 1000), Metadata: ""})
		}
		if fx := s.Handle(start, 1, r); fx.Replies[0].Err != nil {
			tb.Fatal(fx.Replies[0].Err)
		}
	}
	var log []Record
	for step := SnapshotBegun; step != SnapshotEnded; {
		var fx Effects
		fx, step = s.Snapshot(1 << 20)
		log = append(log, fx.Records...)
	}
	return log
}

func BenchmarkReplay100kOffsets(b *testing.B) {
	log := offsetsLog(b, 100_000)
	size := 0
	for _, r := range log {
		size += len(r.Value)
	}
	b.ReportAllocs()
	for b.Loop() {
		s := NewShard(DefaultConfig(), nil)
		for i, r := range log {
			if err := s.Replay(mq.Offset(i), r); err != nil {
				b.Fatal(err)
			}
		}
		if err := s.Loaded(start); err != nil {
			b.Fatal(err)
		}
		if n := s.Figures().Offsets; n != 100_000 {
			b.Fatal(n)
		}
	}
	b.ReportMetric(float64(size), "log-bytes")
}

func BenchmarkCommit(b *testing.B) {
	s := NewShard(DefaultConfig(), nil)
	if err := s.Loaded(start); err != nil {
		b.Fatal(err)
	}
	r := &CommitRequest{Group: "g", Generation: NoGeneration, Topics: []TopicOffsets{{Topic: "t"}}}
	for index := range int32(4) {
		r.Topics[0].Offsets = append(r.Topics[0].Offsets, Offset{Partition: index, Offset: 1})
	}
	b.ReportAllocs()
	for b.Loop() {
		s.Handle(start, 1, r)
	}
}

func BenchmarkHeartbeat(b *testing.B) {
	s := NewShard(DefaultConfig(), nil)
	if err := s.Loaded(start); err != nil {
		b.Fatal(err)
	}
	s.SetTopics(start, NewTopics(1, []Topic{testTopic("t", 200)}))
	for i := range 100 {
		s.Handle(start, 1, &HeartbeatRequest{Group: "g", Member: fmt.Sprintf("m%03d", i), Topics: []string{"t"}, RebalanceTimeout: time.Minute})
	}
	last := s.Handle(start, 1, &HeartbeatRequest{Group: "g", Member: "m100", Topics: []string{"t"}, RebalanceTimeout: time.Minute})
	r := &HeartbeatRequest{Group: "g", Member: "m100", Epoch: last.Replies[0].Response.(*HeartbeatResponse).Epoch}
	b.ReportAllocs()
	for b.Loop() {
		if fx := s.Handle(start, 1, r); fx.Replies[0].Err != nil {
			b.Fatal(fx.Replies[0].Err)
		}
	}
}
