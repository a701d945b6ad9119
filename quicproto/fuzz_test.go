package quicproto

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"

	"github.com/rustmq/rustmq/mq"
)

// fuzzPayload checks a decoder on any bytes: it refuses with a code, or what it made encodes to the same bytes again.
func fuzzPayload(f *testing.F, sample Body) {
	valid := sample.AppendTo(nil)
	f.Add(valid)
	f.Add([]byte{})
	f.Add(valid[:len(valid)/2])
	f.Add(bytes.Repeat([]byte{0xff}, len(valid)))
	f.Fuzz(func(t *testing.T, payload []byte) {
		v := reflect.New(reflect.TypeOf(sample).Elem()).Interface().(Body)
		if err := v.Decode(payload); err != nil {
			if !isRefusal(err) {
				t.Fatalf("%v", err)
			}
			return
		}
		if again := v.AppendTo(nil); !bytes.Equal(again, payload) {
			t.Fatalf("%x was decoded, and encoded as %x", payload, again)
		}
	})
}

func sampleOf[T any](f *testing.F) Body {
	for _, v := range sampleFrames() {
		if _, ok := any(v).(*T); ok {
			return v
		}
	}
	for _, v := range sampleBodies() {
		if _, ok := any(v).(*T); ok {
			return v
		}
	}
	f.Fatal("no sample")
	return nil
}

func FuzzHello(f *testing.F)       { fuzzPayload(f, sampleOf[Hello](f)) }
func FuzzWelcome(f *testing.F)     { fuzzPayload(f, sampleOf[Welcome](f)) }
func FuzzGoAway(f *testing.F)      { fuzzPayload(f, sampleOf[GoAway](f)) }
func FuzzClose(f *testing.F)       { fuzzPayload(f, sampleOf[Close](f)) }
func FuzzOpenProduce(f *testing.F) { fuzzPayload(f, sampleOf[OpenProduce](f)) }
func FuzzBind(f *testing.F)        { fuzzPayload(f, sampleOf[Bind](f)) }
func FuzzBound(f *testing.F)       { fuzzPayload(f, sampleOf[Bound](f)) }
func FuzzProduce(f *testing.F)     { fuzzPayload(f, sampleOf[Produce](f)) }
func FuzzProduceAcks(f *testing.F) { fuzzPayload(f, sampleOf[ProduceAcks](f)) }
func FuzzOpenFetch(f *testing.F)   { fuzzPayload(f, sampleOf[OpenFetch](f)) }
func FuzzAssign(f *testing.F) {
	for from := FromLeader; from <= FromTiered+1; from++ {
		f.Add((&Assign{Handle: 1, Generation: 2, Topic: "orders", Partition: 3, LeaderEpoch: 4, Offset: 9, From: from}).AppendTo(nil))
	}
	fuzzPayload(f, sampleOf[Assign](f))
}

func FuzzAssigned(f *testing.F) { fuzzPayload(f, sampleOf[Assigned](f)) }
func FuzzUnassign(f *testing.F) { fuzzPayload(f, sampleOf[Unassign](f)) }
func FuzzPause(f *testing.F)    { fuzzPayload(f, sampleOf[Pause](f)) }
func FuzzResume(f *testing.F)   { fuzzPayload(f, sampleOf[Resume](f)) }
func FuzzSeek(f *testing.F)     { fuzzPayload(f, sampleOf[Seek](f)) }
func FuzzRecords(f *testing.F)  { fuzzPayload(f, sampleOf[Records](f)) }
func FuzzStatus(f *testing.F)   { fuzzPayload(f, sampleOf[Status](f)) }
func FuzzRequest(f *testing.F)  { fuzzPayload(f, sampleOf[Request](f)) }
func FuzzResponse(f *testing.F) { fuzzPayload(f, sampleOf[Response](f)) }

func FuzzMetadataRequest(f *testing.F)       { fuzzPayload(f, sampleOf[MetadataRequest](f)) }
func FuzzMetadataResponse(f *testing.F)      { fuzzPayload(f, sampleOf[MetadataResponse](f)) }
func FuzzCreateTopicRequest(f *testing.F)    { fuzzPayload(f, sampleOf[CreateTopicRequest](f)) }
func FuzzCreateTopicResponse(f *testing.F)   { fuzzPayload(f, sampleOf[CreateTopicResponse](f)) }
func FuzzDeleteTopicRequest(f *testing.F)    { fuzzPayload(f, sampleOf[DeleteTopicRequest](f)) }
func FuzzDescribeTopicRequest(f *testing.F)  { fuzzPayload(f, sampleOf[DescribeTopicRequest](f)) }
func FuzzDescribeTopicResponse(f *testing.F) { fuzzPayload(f, sampleOf[DescribeTopicResponse](f)) }
func FuzzAlterTopicRequest(f *testing.F)     { fuzzPayload(f, sampleOf[AlterTopicRequest](f)) }
func FuzzListOffsetsRequest(f *testing.F)    { fuzzPayload(f, sampleOf[ListOffsetsRequest](f)) }
func FuzzListOffsetsResponse(f *testing.F)   { fuzzPayload(f, sampleOf[ListOffsetsResponse](f)) }
func FuzzInitProducerIDRequest(f *testing.F) { fuzzPayload(f, sampleOf[InitProducerIDRequest](f)) }

func FuzzInitProducerIDResponse(f *testing.F) { fuzzPayload(f, sampleOf[InitProducerIDResponse](f)) }

func FuzzDescribeClusterRequest(f *testing.F) { fuzzPayload(f, sampleOf[DescribeClusterRequest](f)) }

func FuzzOperateRequest(f *testing.F) { fuzzPayload(f, sampleOf[OperateRequest](f)) }

func FuzzOperateResponse(f *testing.F) { fuzzPayload(f, sampleOf[OperateResponse](f)) }

func FuzzDescribeClusterResponse(f *testing.F) { fuzzPayload(f, sampleOf[DescribeClusterResponse](f)) }

func FuzzOpenGroup(f *testing.F) { fuzzPayload(f, sampleOf[OpenGroup](f)) }

func FuzzHeartbeat(f *testing.F) { fuzzPayload(f, sampleOf[Heartbeat](f)) }

func FuzzAssignment(f *testing.F) { fuzzPayload(f, sampleOf[Assignment](f)) }

func FuzzFindCoordinatorRequest(f *testing.F) { fuzzPayload(f, sampleOf[FindCoordinatorRequest](f)) }

func FuzzFindCoordinatorResponse(f *testing.F) { fuzzPayload(f, sampleOf[FindCoordinatorResponse](f)) }

func FuzzCommitOffsetsRequest(f *testing.F) { fuzzPayload(f, sampleOf[CommitOffsetsRequest](f)) }

func FuzzCommitOffsetsResponse(f *testing.F) { fuzzPayload(f, sampleOf[CommitOffsetsResponse](f)) }

func FuzzFetchOffsetsRequest(f *testing.F) { fuzzPayload(f, sampleOf[FetchOffsetsRequest](f)) }

func FuzzFetchOffsetsResponse(f *testing.F) { fuzzPayload(f, sampleOf[FetchOffsetsResponse](f)) }

func FuzzListGroupsRequest(f *testing.F) { fuzzPayload(f, sampleOf[ListGroupsRequest](f)) }

func FuzzListGroupsResponse(f *testing.F) { fuzzPayload(f, sampleOf[ListGroupsResponse](f)) }

func FuzzDescribeGroupRequest(f *testing.F) { fuzzPayload(f, sampleOf[DescribeGroupRequest](f)) }

func FuzzDescribeGroupResponse(f *testing.F) { fuzzPayload(f, sampleOf[DescribeGroupResponse](f)) }

func FuzzDeleteGroupRequest(f *testing.F) { fuzzPayload(f, sampleOf[DeleteGroupRequest](f)) }

func FuzzDeleteOffsetsRequest(f *testing.F) { fuzzPayload(f, sampleOf[DeleteOffsetsRequest](f)) }

func FuzzDeleteOffsetsResponse(f *testing.F) { fuzzPayload(f, sampleOf[DeleteOffsetsResponse](f)) }

func FuzzResetOffsetsRequest(f *testing.F) { fuzzPayload(f, sampleOf[ResetOffsetsRequest](f)) }

// FuzzStream reads any bytes as a stream of frames.
func FuzzStream(f *testing.F) {
	var all []byte
	for _, v := range sampleFrames() {
		f.Add(AppendFrame(nil, v))
		all = AppendFrame(all, v)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, stream []byte) {
		in := NewFrameReader(bytes.NewReader(stream), 1<<20)
		for read := 0; ; {
			frame, err := in.Read()
			if err != nil {
				var e *mq.Error
				if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.As(err, &e) {
					t.Fatal(err)
				}
				return
			}
			if read += len(AppendFrame(nil, frame)); read > len(stream) {
				t.Fatalf("%d bytes of frames out of %d", read, len(stream))
			}
		}
	})
}
