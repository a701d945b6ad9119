package kafkaproto

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

// samples are requests of all APIs in all versions, as clients send them.
func samples(t testing.TB) (frames [][]byte) {
	batch := batchOf(t, 2, []byte("value"))
	for _, a := range table(DefaultLimits()) {
		for version := a.min; version <= a.max; version++ {
			q := sampleOf(a.key, version, batch)
			q.SetVersion(version)
			frames = append(frames, frame(q, int32(version)))
		}
	}
	return frames
}

// sampleOf is a request of one API.
func sampleOf(key kmsg.Key, version int16, batch []byte) kmsg.Request {
	if q := groupSampleOf(key); q != nil {
		return q
	}
	if q := adminSample(key, version); q != nil {
		return q
	}
	switch key {
	case kmsg.Produce:
		return produceOf(version, -1, "t", 0, batch)
	case kmsg.Fetch:
		return fetchOf(version, "t", 0, 0, 1)
	case kmsg.ApiVersions:
		v := kmsg.NewPtrApiVersionsRequest()
		v.ClientSoftwareName, v.ClientSoftwareVersion = "fuzz", "1"
		return v
	case kmsg.Metadata:
		m := kmsg.NewPtrMetadataRequest()
		m.Topics = []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr("t")}, {Topic: kmsg.StringPtr("new")}}
		return m
	case kmsg.FindCoordinator:
		f := kmsg.NewPtrFindCoordinatorRequest()
		f.CoordinatorKey, f.CoordinatorKeys = "g", []string{"g", "h"}
		return f
	case kmsg.ListOffsets:
		l := kmsg.NewPtrListOffsetsRequest()
		l.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "t", Partitions: []kmsg.ListOffsetsRequestTopicPartition{{Timestamp: -1}}}}
		return l
	case kmsg.OffsetForLeaderEpoch:
		o := kmsg.NewPtrOffsetForLeaderEpochRequest()
		o.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{{CurrentLeaderEpoch: -1, LeaderEpoch: 1}}}}
		return o
	}
	return key.Request()
}

// groupSampleOf is a request of an API of groups, nil of others.
func groupSampleOf(key kmsg.Key) kmsg.Request {
	switch key {
	case kmsg.JoinGroup:
		return joinOf("classic", "m")
	case kmsg.SyncGroup:
		y := kmsg.NewPtrSyncGroupRequest()
		y.Group, y.MemberID, y.Generation = "classic", "m", 7
		y.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: "m", MemberAssignment: []byte("got")}}
		return y
	case kmsg.LeaveGroup:
		l := kmsg.NewPtrLeaveGroupRequest()
		l.Group, l.MemberID, l.Members = "classic", "m", []kmsg.LeaveGroupRequestMember{{MemberID: "m"}, {InstanceID: kmsg.StringPtr("i")}}
		return l
	case kmsg.OffsetCommit:
		return commitOf("classic", "t", 0, 5)
	case kmsg.OffsetFetch:
		return offsetsOf("classic", "t", 0)
	case kmsg.OffsetDelete:
		d := kmsg.NewPtrOffsetDeleteRequest()
		d.Group, d.Topics = "classic", []kmsg.OffsetDeleteRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 1}}}}
		return d
	case kmsg.DescribeGroups:
		d := kmsg.NewPtrDescribeGroupsRequest()
		d.Groups = []string{"classic", "modern", "none"}
		return d
	case kmsg.ConsumerGroupDescribe:
		d := kmsg.NewPtrConsumerGroupDescribeRequest()
		d.Groups = []string{"classic", "modern", "none"}
		return d
	case kmsg.ConsumerGroupHeartbeat:
		h := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		h.Group, h.MemberID, h.SubscribedTopicNames = "modern", "m", []string{"t"}
		h.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{{TopicID: mq.TopicID{1}, Partitions: []int32{0}}}
		return h
	}
	return nil
}

// A request may claim four thousand million tagged fields in five bytes: that they are not there is seen at once. (It took a minute of the processor each, before anybody
// was authenticated.)
func TestTagsThatAreNotThereAreNotLookedFor(t *testing.T) {
	flexible := 0
	for _, a := range table(DefaultLimits()) {
		for version := a.min; version <= a.max; version++ {
			q := a.key.Request()
			q.SetVersion(version)
			if !q.IsFlexible() {
				continue
			}
			flexible++
			body := q.AppendTo(nil)
			body = append(body[:len(body)-1], 0xff, 0xff, 0xff, 0xff, 0x0f) // in place of no tags
			if err := q.ReadFrom(body); err == nil {
				t.Errorf("%s of version %d decodes with tags that are not there", a.key.Name(), version)
			}
		}
	}
	if flexible < 15 {
		t.Errorf("only %d requests", flexible)
	}
}

// FuzzProduceRequest holds what is read of a produce request against what kmsg reads of it.
func FuzzProduceRequest(f *testing.F) {
	for version := range int16(14) {
		q := produceOf(version, -1, "t", 3, batchOf(f, 1, []byte("v")))
		f.Add(version, q.AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, version int16, body []byte) {
		if version < 0 || version > 13 {
			return
		}
		got, err := parseProduce(version, body)
		if err != nil {
			return // kmsg takes more, such as bytes behind the end, and its time for tags that are not there
		}
		want := kmsg.NewPtrProduceRequest()
		want.Version = version
		if err := want.ReadFrom(body); err != nil {
			t.Fatalf("kmsg refuses it: %v", err)
		}
		if got.acks != want.Acks || len(got.topics) != len(want.Topics) || got.timeout != time.Duration(want.TimeoutMillis)*time.Millisecond ||
			got.transactional != (want.TransactionID != nil && *want.TransactionID != "") {
			t.Fatalf("%+v, kmsg has %+v", got, want)
		}
		for i, topic := range got.topics {
			w := want.Topics[i]
			if topic.name != w.Topic || topic.id != mq.TopicID(w.TopicID) || len(topic.partitions) != len(w.Partitions) {
				t.Fatalf("%+v, kmsg has %+v", topic, w)
			}
			for j, p := range topic.partitions {
				if p.index != w.Partitions[j].Partition || !bytes.Equal(p.records, w.Partitions[j].Records) {
					t.Fatalf("%+v, kmsg has %+v", p, w.Partitions[j])
				}
			}
		}
	})
}

// recording is a connection on which all that a client sends is there already.
type recording struct {
	*bytes.Reader
	net.Conn
}

func (r *recording) Read(p []byte) (int, error)       { return r.Reader.Read(p) }
func (r *recording) Write(p []byte) (int, error)      { return len(p), nil }
func (r *recording) Close() error                     { return nil }
func (r *recording) SetReadDeadline(time.Time) error  { return nil }
func (r *recording) SetWriteDeadline(time.Time) error { return nil }
func (r *recording) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (r *recording) LocalAddr() net.Addr              { return r.RemoteAddr() }

var _ io.Reader = (*recording)(nil)

// FuzzSession has a server read whole sessions.
func FuzzSession(f *testing.F) {
	all := samples(f)
	for _, s := range all {
		f.Add(s)
	}
	f.Add(bytes.Join(all, nil))
	for _, session := range captured(f) {
		f.Add(session)
	}
	f.Fuzz(func(t *testing.T, session []byte) { serveSession(t, session) })
}
