package quicproto

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
)

var update = flag.Bool("update", false, "rewrite golden files")

const goldenFile = "testdata/frames.golden"

// sampleFrames has every frame with every field set to something of its own.
func sampleFrames() []Frame {
	id := mq.TopicID{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	return []Frame{
		&Hello{MinVersion: 1, MaxVersion: 7, Features: 0x8001, ClientID: "billing", Software: "rustmq-go 0.1"},
		&Welcome{
			Version: 1, Features: 1, ClusterID: mq.ClusterID(id), NodeID: 3, IdleTimeout: 30_000,
			Limits: Limits{BatchBytes: 64 << 20, WindowBytes: 32 << 20, WindowCount: 1024, RecordsBytes: 1 << 20, Streams: 64, Handles: 16384},
		},
		&GoAway{Code: mq.ShuttingDown, Drain: 5000, Msg: "restart"},
		&Close{Code: mq.TooManyRequests, Msg: "later"},
		&OpenProduce{},
		&Bind{Handle: 7, Topic: "orders"},
		&Bound{Handle: 7, TopicID: id, Partitions: 6, BatchBytes: 1 << 20},
		&Produce{Request: 0x0102030405060708, Handle: 7, Partition: 5, Durability: mq.DurabilityAll, Batch: []byte("batch")},
		&ProduceAcks{Acks: []Ack{
			{Request: 9, Mark: mq.MarkReplicated, Duplicate: true, Base: 1000, Timestamp: 1700000000000, LogStart: 10},
			{Request: 10, Code: mq.MessageTooLarge, Base: -1, Timestamp: -1, LogStart: -1, Msg: "too large"},
		}},
		&OpenFetch{Isolation: mq.IsolationObject, RecordsBytes: 1 << 19},
		&Assign{Handle: 1, Generation: 2, Topic: "orders", Partition: 3, LeaderEpoch: 4, Offset: OffsetEarliest},
		&Assigned{Handle: 1, Generation: 2, TopicID: id, Offset: 100, LogStart: 50, HighWatermark: 200},
		&Unassign{Handle: 1},
		&Pause{Handles: []uint32{1, 2, 3}},
		&Resume{Handles: []uint32{3}},
		&Seek{Handle: 1, Generation: 3, Offset: 150},
		&Records{Handle: 1, Generation: 3, End: true, Next: 151, HighWatermark: 200, LogStart: 50, LogEnd: 201, Batches: []byte("batches")},
		&Status{Handle: 1, Generation: 3, Code: mq.OffsetOutOfRange, Next: 900, LogStart: 50, LogEnd: 201, Msg: "beyond the end"},
		&Request{API: APIMetadata, Version: 0, Timeout: 1500 * time.Millisecond, Body: []byte("body")},
		&Response{Code: mq.None, Body: []byte("body")},
		&OpenGroup{
			Epoch: 3, Rebalance: 45 * time.Second, Group: "billing", Member: "m1", Instance: "i1", Rack: "a",
			Subscription: Subscription{Topics: []string{"orders"}, Pattern: "logs.*", Assignor: "uniform"},
			Owned:        []GroupPartitions{{TopicID: id, Topic: "orders", Partitions: []int32{1, 2}}},
		},
		&Heartbeat{
			Number: 4, Subscribes: true, Subscription: Subscription{Topics: []string{"orders"}}, Owns: true,
			Owned: []GroupPartitions{{TopicID: id, Partitions: []int32{1}}},
		},
		&Assignment{Number: 4, Epoch: 5, Changed: true, Partitions: []GroupPartitions{{TopicID: id, Topic: "orders", Partitions: []int32{1}}}},
	}
}

// sampleBodies has every request and response body likewise.
func sampleBodies() []Body {
	id := mq.TopicID{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	brokers := []Broker{{ID: 1, Addr: "127.0.0.1:9092", Rack: "a"}, {ID: 2, Addr: "[::1]:9092"}}
	partition := Partition{Index: 3, Code: mq.LeaderNotAvailable, Leader: 1, LeaderEpoch: 9, Replicas: []mq.NodeID{1, 2}, InSync: []mq.NodeID{1}}
	configs := []Config{{Key: "retention.ms", Value: "1000"}, {Key: "cleanup.policy", Value: "delete", Default: true}}
	offsets := []TopicOffsets{{Topic: "orders", TopicID: id, Offsets: []CommittedOffset{{Partition: 1, Offset: 10, LeaderEpoch: 2, Metadata: "note"}}}}
	indexes := []TopicPartitions{{Topic: "orders", TopicID: id, Partitions: []int32{1, 2}}}
	listed := ListedGroup{Group: "billing", Protocol: "classic", Type: "consumer", State: "Stable", Members: 2}
	return []Body{
		&MetadataRequest{All: true, Topics: []string{"orders", "logs"}},
		&MetadataResponse{
			ClusterID: mq.ClusterID(id), Controller: 1, Version: 77, Brokers: brokers,
			Topics: []Topic{
				{Name: "orders", ID: id, Internal: true, Partitions: []Partition{partition}},
				{Name: "gone", Code: mq.UnknownTopicOrPartition, Msg: "no such topic"},
			},
		},
		&CreateTopicRequest{Name: "orders", Partitions: -1, Replicas: 3, Configs: configs, DryRun: true},
		&CreateTopicResponse{ID: id, Partitions: 6, Replicas: 3},
		&DeleteTopicRequest{Name: "orders"},
		&DescribeTopicRequest{Name: "orders"},
		&DescribeTopicResponse{Name: "orders", ID: id, Configs: configs, Partitions: []PartitionDetail{
			{Partition: partition, LogStart: 1, HighWatermark: 2, LogEnd: 3, ObjectEnd: 4, Bytes: 5},
		}},
		&AlterTopicRequest{Name: "orders", Partitions: 12, Set: configs, Unset: []string{"retention.bytes"}, DryRun: true},
		&ListOffsetsRequest{Topic: "orders", Isolation: mq.IsolationObject, Queries: []OffsetQuery{{Partition: 1, Timestamp: TimestampEarliest}}},
		&ListOffsetsResponse{Answers: []OffsetAnswer{
			{Partition: 1, Offset: 5, Timestamp: 6, LeaderEpoch: 7},
			{Partition: 2, Code: mq.NotLeaderOrFollower, Msg: "ask 2", Offset: -1, Timestamp: -1, LeaderEpoch: -1},
		}},
		&InitProducerIDRequest{ProducerID: -1, ProducerEpoch: -1},
		&InitProducerIDResponse{ProducerID: 4000, ProducerEpoch: 2},
		&DescribeClusterRequest{},
		&OperateRequest{Message: []byte{10, 0}},
		&OperateResponse{Message: []byte{10, 2, 24, 1}},
		&DescribeClusterResponse{ClusterID: mq.ClusterID(id), NodeID: 2, Controller: 1, FeatureLevel: 1, Software: "rustmq 0.1", Brokers: brokers},
		&FindCoordinatorRequest{Group: "billing"},
		&FindCoordinatorResponse{Partition: 7, Node: 2, LeaderEpoch: 9},
		&CommitOffsetsRequest{Group: "billing", Member: "m1", Instance: "i1", Epoch: 3, Topics: offsets},
		&CommitOffsetsResponse{Topics: [][]mq.Code{{mq.None, mq.OffsetMetadataTooLarge}}},
		&FetchOffsetsRequest{All: true, Group: "billing", Member: "m1", Epoch: 3, Topics: indexes},
		&FetchOffsetsResponse{Topics: offsets},
		&ListGroupsRequest{},
		&ListGroupsResponse{Groups: []ListedGroup{listed}, Loading: []int32{3, 7}},
		&DescribeGroupRequest{Group: "billing"},
		&DescribeGroupResponse{
			ListedGroup: listed, Epoch: 6, Assignor: "range",
			Members: []GroupMember{{
				Member: "m1", Instance: "i1", ClientID: "c1", Host: "10.0.0.1", Rack: "a", Epoch: 6, Topics: []string{"orders"}, Pattern: "logs.*",
				Assigned: []GroupPartitions{{TopicID: id, Topic: "orders", Partitions: []int32{1, 2}}},
			}},
			Partitions: []GroupPartition{{Topic: "orders", Partition: 1, Committed: 10, End: 12, Metadata: "note", Member: "m1"}},
		},
		&DeleteGroupRequest{Group: "billing"},
		&DeleteOffsetsRequest{Group: "billing", Topics: indexes},
		&DeleteOffsetsResponse{Topics: []mq.Code{mq.None, mq.GroupSubscribedToTopic}},
		&ResetOffsetsRequest{Group: "billing", Topics: offsets},
	}
}

func nameOf(v any) string { return reflect.TypeOf(v).Elem().Name() }

func TestFramesAndBodiesKeepTheirBytes(t *testing.T) {
	var got bytes.Buffer
	for _, f := range sampleFrames() {
		fmt.Fprintf(&got, "%s %x\n", nameOf(f), AppendFrame(nil, f))
	}
	for _, b := range sampleBodies() {
		fmt.Fprintf(&got, "%s %x\n", nameOf(b), b.AppendTo(nil))
	}
	if *update {
		if err := os.WriteFile(goldenFile, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("the wire format changed; got\n%s\nwant\n%s", got.Bytes(), want)
	}
}

func TestGoldenBytesDecodeToTheSamples(t *testing.T) {
	golden := readGolden(t)
	for _, want := range sampleFrames() {
		t.Run(nameOf(want), func(t *testing.T) {
			got, err := NewFrameReader(bytes.NewReader(golden[nameOf(want)]), MaxBatchBytes).Read()
			if err != nil {
				t.Fatal(err)
			}
			if !sameValue(got, want) {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
		})
	}
	for _, want := range sampleBodies() {
		t.Run(nameOf(want), func(t *testing.T) {
			got := reflect.New(reflect.TypeOf(want).Elem()).Interface().(Body)
			if err := got.Decode(golden[nameOf(want)]); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
		})
	}
}

// sameValue compares frames; an empty body may be nil or not.
func sameValue(a, b Frame) bool {
	return fmt.Sprintf("%+v", a) == fmt.Sprintf("%+v", b)
}

func readGolden(t *testing.T) map[string][]byte {
	t.Helper()
	f, err := os.Open(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	golden := make(map[string][]byte)
	for sc := bufio.NewScanner(f); sc.Scan(); {
		name, text, _ := strings.Cut(sc.Text(), " ")
		if golden[name], err = hex.DecodeString(text); err != nil {
			t.Fatal(err)
		}
	}
	return golden
}

func TestEveryFrameTypeHasASample(t *testing.T) {
	have := make(map[Type]bool)
	for _, f := range sampleFrames() {
		have[f.Type()] = true
		if got := kindOf(f.Type()); got.name != nameOf(f) {
			t.Errorf("type 0x%02x is called %q, its struct %s", uint8(f.Type()), got.name, nameOf(f))
		}
	}
	for i := range 256 {
		if typ := Type(i); (typ.MaxPayload() > 0) != have[typ] {
			t.Errorf("%v: sample %v, known %v", typ, have[typ], typ.MaxPayload() > 0)
		}
	}
}

func TestEveryRequestBodyIsParsed(t *testing.T) {
	apis := make(map[API]bool)
	for _, b := range sampleBodies() {
		r, ok := b.(RequestBody)
		if !ok {
			continue
		}
		apis[r.API()] = true
		got, err := ParseRequest(NewRequest(r, 0))
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("API %d: got %+v, %v", r.API(), got, err)
		}
	}
	for api := range API(300) {
		_, err := ParseRequest(&Request{API: api, Body: []byte{0xff}})
		if unknown := mq.CodeOf(err) == mq.UnsupportedVersion && strings.Contains(err.Error(), "unknown API"); unknown == apis[api] {
			t.Errorf("API %d: sample %v, error %v", api, apis[api], err)
		}
	}
	if _, err := ParseRequest(&Request{API: APIMetadata, Version: 1}); mq.CodeOf(err) != mq.UnsupportedVersion {
		t.Errorf("a later body version: %v", err)
	}
}

// TestReservedBitsAreUnsupportedAndNotCorrupt flips every bit of every sample. What comes of it must decode, or be refused
// with one of the two codes; those bits that doc.go calls reserved must be refused as unsupported.
func TestReservedBitsAreUnsupportedAndNotCorrupt(t *testing.T) {
	reserved := map[string][]int{ // payload positions of bytes that are zero, or of which only the lowest bit has a meaning
		"OpenProduce": {0}, "Bind": {4}, "Produce": {16, 17, 18, 19}, "ProduceAcks": {4 + 10, 4 + 11}, "OpenFetch": {0, 1},
		"Assign": {8}, "Records": {8, 9, 10, 11}, "Request": {3},
		"MetadataRequest": {0}, "CreateTopicRequest": {0}, "DeleteTopicRequest": {0}, "DescribeTopicRequest": {0},
		"AlterTopicRequest": {0}, "ListOffsetsRequest": {0, 1}, "InitProducerIDRequest": {0}, "DescribeClusterRequest": {0},
		"OperateRequest": {0}, "OpenGroup": {0}, "Heartbeat": {0}, "Assignment": {0}, "FindCoordinatorRequest": {0}, "CommitOffsetsRequest": {0},
		"FetchOffsetsRequest": {0}, "ListGroupsRequest": {0}, "DescribeGroupRequest": {0}, "DeleteGroupRequest": {0}, "DeleteOffsetsRequest": {0},
		"ResetOffsetsRequest": {0},
	}
	check := func(name string, payload []byte, decode func([]byte) error) {
		for i := range payload {
			for bit := range 8 {
				bad := bytes.Clone(payload)
				bad[i] ^= 1 << bit
				err := decode(bad)
				if err != nil && !isRefusal(err) {
					t.Errorf("%s, bit %d of byte %d: %v", name, bit, i, err)
				}
			}
		}
		for _, i := range reserved[name] {
			bad := bytes.Clone(payload)
			bad[i] |= 0x80
			if err := decode(bad); mq.CodeOf(err) != mq.UnsupportedVersion {
				t.Errorf("%s, reserved bit of byte %d: %v", name, i, err)
			}
		}
		delete(reserved, name)
	}
	for _, f := range sampleFrames() {
		check(nameOf(f), f.AppendTo(nil), func(b []byte) error { _, err := Parse(f.Type(), b); return err })
	}
	for _, v := range sampleBodies() {
		check(nameOf(v), v.AppendTo(nil), func(b []byte) error {
			return reflect.New(reflect.TypeOf(v).Elem()).Interface().(Body).Decode(b)
		})
	}
	if len(reserved) > 0 {
		t.Errorf("not seen: %v", reserved)
	}
}

// TestUnknownValuesAreUnsupported has the numbers that stand for one of a few things, each with one that a later version may bring.
func TestUnknownValuesAreUnsupported(t *testing.T) {
	const later = 200
	topics := &MetadataResponse{Topics: []Topic{{Name: "t"}}}
	configs := &CreateTopicRequest{Name: "t", Configs: []Config{{Key: "k"}}}
	for name, err := range map[string]error{
		"durability":                new(Produce).Decode((&Produce{Durability: later}).AppendTo(nil)),
		"mark":                      new(ProduceAcks).Decode((&ProduceAcks{Acks: []Ack{{Mark: later}}}).AppendTo(nil)),
		"isolation of a fetch":      new(OpenFetch).Decode((&OpenFetch{Isolation: later}).AppendTo(nil)),
		"isolation of a look-up":    new(ListOffsetsRequest).Decode((&ListOffsetsRequest{Isolation: later}).AppendTo(nil)),
		"flags of a topic":          new(MetadataResponse).Decode(spoiled(topics.AppendTo(nil), -5)),
		"flags of a setting":        new(CreateTopicRequest).Decode(spoiled(configs.AppendTo(nil), -1)),
		"a type of frame":           func() error { _, err := Parse(later, nil); return err }(),
		"an API":                    func() error { _, err := ParseRequest(&Request{API: later}); return err }(),
		"the version of a request":  func() error { _, err := ParseRequest(&Request{API: APIMetadata, Version: later}); return err }(),
		"the version of the client": func() error { _, _, err := Negotiate(&Hello{MinVersion: later, MaxVersion: later}, 0); return err }(),
	} {
		if mq.CodeOf(err) != mq.UnsupportedVersion {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A code is another matter: it may come at any time, and is passed on as it is.
	var close Close
	if err := close.Decode((&Close{Code: 4711}).AppendTo(nil)); err != nil || close.Code != 4711 || mq.CodeOf(close.Err()).Retriable() {
		t.Errorf("%+v, %v", close, err)
	}
}

// spoiled sets the highest bit of a byte, counted from the end if at is negative.
func spoiled(b []byte, at int) []byte {
	if at < 0 {
		at += len(b)
	}
	b[at] |= 0x80
	return b
}

func isRefusal(err error) bool {
	var e *mq.Error
	return errors.As(err, &e) && (e.Code == mq.ProtocolViolation || e.Code == mq.UnsupportedVersion)
}

func TestEveryTruncationAndExtensionIsRefused(t *testing.T) {
	try := func(name string, payload []byte, tail bool, decode func([]byte) error) {
		for n := range payload {
			if tail && n >= len(payload)-len("batches") {
				break // the rest is opaque: any length will do
			}
			if err := decode(payload[:n:n]); !isRefusal(err) {
				t.Errorf("%s cut to %d of %d bytes: %v", name, n, len(payload), err)
			}
		}
		if err := decode(append(payload[:len(payload):len(payload)], 0)); !tail && !isRefusal(err) {
			t.Errorf("%s with a byte more: %v", name, err)
		}
	}
	for _, f := range sampleFrames() {
		_, batch := f.(*Produce)
		_, batches := f.(*Records)
		_, request := f.(*Request)
		_, response := f.(*Response)
		try(nameOf(f), f.AppendTo(nil), batch || batches || request || response,
			func(b []byte) error { _, err := Parse(f.Type(), b); return err })
	}
	for _, v := range sampleBodies() {
		try(nameOf(v), v.AppendTo(nil), false, func(b []byte) error {
			return reflect.New(reflect.TypeOf(v).Elem()).Interface().(Body).Decode(b)
		})
	}
}

func TestALyingCountAllocatesNothing(t *testing.T) {
	lie := []byte{0xff, 0xff, 0xff, 0xff}
	if n := testing.AllocsPerRun(10, func() {
		var acks ProduceAcks
		if err := acks.Decode(lie); !isRefusal(err) {
			t.Errorf("acks: %v", err)
		}
	}); n > 10 { // the error itself
		t.Errorf("%v allocations", n)
	}
	for _, payload := range [][]byte{lie, {0, 0, 0x40, 0}, {0, 1, 0, 0}} {
		if err := new(Pause).Decode(payload); !isRefusal(err) {
			t.Errorf("pause %x: %v", payload, err)
		}
		if err := new(MetadataRequest).Decode(append([]byte{0}, payload...)); !isRefusal(err) {
			t.Errorf("metadata %x: %v", payload, err)
		}
	}
}

func TestLongTextsAreCutAtARune(t *testing.T) {
	for _, s := range []string{strings.Repeat("x", MaxMessage+1), strings.Repeat("é", MaxMessage), "x" + strings.Repeat("日", MaxMessage), strings.Repeat("\xff", 2*MaxMessage)} {
		f := &Close{Code: mq.Internal, Msg: s}
		var got Close
		if err := got.Decode(f.AppendTo(nil)); err != nil {
			t.Errorf("%.10q…: %v", s, err)
			continue
		}
		if len(got.Msg) > MaxMessage || !strings.HasPrefix(strings.ToValidUTF8(s, "\ufffd"), got.Msg) {
			t.Errorf("%.10q… became %d bytes %.10q…", s, len(got.Msg), got.Msg)
		}
	}
}

func TestNegotiatePicksTheHighestCommonVersion(t *testing.T) {
	for _, c := range []struct {
		low, high uint16
		ok        bool
	}{{1, 1, true}, {1, 9, true}, {0, 1, true}, {2, 9, false}, {0, 0, false}} {
		v, features, err := Negotiate(&Hello{MinVersion: c.low, MaxVersion: c.high, Features: 0b110}, 0b011)
		if (err == nil) != c.ok || err == nil && (v != 1 || features != 0b010) {
			t.Errorf("%d to %d: version %d, features %b, %v", c.low, c.high, v, features, err)
		}
		if err != nil && mq.CodeOf(err) != mq.UnsupportedVersion {
			t.Errorf("%d to %d: %v", c.low, c.high, err)
		}
	}
}

func TestErrorCodesSurviveTheTripThroughQUIC(t *testing.T) {
	for _, c := range mq.Codes() {
		if got := CodeOfError(ErrorCode(c)); got != c {
			t.Errorf("%v became %v", c, got)
		}
		code, msg := CodeAndText(errOf(c, "text"))
		if code != c || c != mq.None && msg != "text" {
			t.Errorf("%v became %v %q", c, code, msg)
		}
	}
	if got := CodeOfError(1 << 40); got != mq.Unknown {
		t.Errorf("a foreign number is %v", got)
	}
}

// TestAssignNamesWhereTieredRecordsComeFrom: these are other bytes where a zero was, and nothing else.
func TestAssignNamesWhereTieredRecordsComeFrom(t *testing.T) {
	for from, want := range map[Origin]string{
		FromLeader:            "00000021210000000100000002000000000300000004000000000000000900066f7264657273",
		FromLeaderUntilTiered: "00000021210000000100000002010000000300000004000000000000000900066f7264657273",
		FromTiered:            "00000021210000000100000002020000000300000004000000000000000900066f7264657273",
	} {
		f := &Assign{Handle: 1, Generation: 2, Topic: "orders", Partition: 3, LeaderEpoch: 4, Offset: 9, From: from}
		raw := AppendFrame(nil, f)
		if got := fmt.Sprintf("%x", raw); got != want {
			t.Errorf("origin %d: got %s, want %s", from, got, want)
		}
		if back, err := NewFrameReader(bytes.NewReader(raw), 0).Read(); err != nil || !sameValue(back, f) {
			t.Errorf("origin %d: got %+v, %v", from, back, err)
		}
	}
	unknown := (&Assign{Topic: "orders", From: FromTiered + 1}).AppendTo(nil)
	if err := new(Assign).Decode(unknown); mq.CodeOf(err) != mq.UnsupportedVersion {
		t.Errorf("an origin that is not known: got %v", err)
	}
}
