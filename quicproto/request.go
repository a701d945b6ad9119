package quicproto

import (
	"time"

	"github.com/rustmq/rustmq/mq"
)

// API is what a Request asks for.
type API uint16

// The requests. Those not listed are reserved and answered with UNSUPPORTED_VERSION.
const (
	APIMetadata        API = 1
	APICreateTopic     API = 2
	APIDeleteTopic     API = 3
	APIDescribeTopic   API = 4
	APIAlterTopic      API = 5
	APIListOffsets     API = 6
	APIInitProducerID  API = 7
	APIDescribeCluster API = 8
	APIOperate         API = 9
	APIFindCoordinator API = 10
	APICommitOffsets   API = 11
	APIFetchOffsets    API = 12
	APIListGroups      API = 13
	APIDescribeGroup   API = 14
	APIDeleteGroup     API = 15
	APIDeleteOffsets   API = 16
	APIResetOffsets    API = 17
)

// RequestVersion is the version of every request body so far.
const RequestVersion = 0

// Body is what a Request or a Response carries.
type Body interface {
	// AppendTo appends the encoded body to dst.
	AppendTo(dst []byte) []byte
	// Decode sets the value from a whole body, aliasing nothing of it. Errors are as of Frame.Decode.
	Decode(body []byte) error
}

// RequestBody is the body of a Request of one API.
type RequestBody interface {
	Body
	API() API
}

// Request asks one question on a request stream. The next may follow on the same stream when its Response has come; the
// client ends the stream when it has no more.
type Request struct {
	API     API
	Version uint8         // of the body
	Timeout time.Duration // after which the client does not want the answer, 0 for the server's own; whole ms on the wire
	Body    []byte
}

// NewRequest encodes body into a Request.
func NewRequest(body RequestBody, timeout time.Duration) *Request {
	return &Request{API: body.API(), Version: RequestVersion, Timeout: timeout, Body: body.AppendTo(nil)}
}

// Type implements Frame.
func (*Request) Type() Type { return TypeRequest }

// AppendTo implements Frame.
func (f *Request) AppendTo(dst []byte) []byte {
	dst = appendUint16(dst, uint16(f.API))
	dst = append(dst, f.Version, 0)
	dst = appendUint32(dst, uint32(min(max(f.Timeout.Milliseconds(), 0), 1<<32-1)))
	return append(dst, f.Body...)
}

// Decode implements Frame.
func (f *Request) Decode(payload []byte) error {
	d := decoder{frame: "Request", rest: payload}
	*f = Request{API: API(d.uint16()), Version: d.uint8()}
	d.reserved8()
	f.Timeout = time.Duration(d.uint32()) * time.Millisecond
	f.Body = d.remaining()
	return d.end()
}

// Response answers the Request before it on the same stream.
type Response struct {
	Code mq.Code
	Msg  string // with a code other than none
	Body []byte // empty with a code other than none
}

// Type implements Frame.
func (*Response) Type() Type { return TypeResponse }

// AppendTo implements Frame.
func (f *Response) AppendTo(dst []byte) []byte {
	return append(appendText(appendCode(dst, f.Code), f.Msg, MaxMessage), f.Body...)
}

// Decode implements Frame.
func (f *Response) Decode(payload []byte) error {
	d := decoder{frame: "Response", rest: payload}
	*f = Response{Code: d.code(), Msg: d.text(MaxMessage), Body: d.remaining()}
	if f.Code != mq.None && len(f.Body) != 0 {
		d.fail(mq.ProtocolViolation, "a body beside an error")
	}
	return d.end()
}

// Err is the failure as an error, nil if there is none.
func (f *Response) Err() error { return errOf(f.Code, f.Msg) }

// ParseRequest decodes the body of a Request. An API or body version that does not exist is UNSUPPORTED_VERSION.
func ParseRequest(f *Request) (RequestBody, error) {
	if f.Version != RequestVersion {
		return nil, mq.Errorf(mq.UnsupportedVersion, "API %d has no version %d", f.API, f.Version)
	}
	body := newRequestBody(f.API)
	if body == nil {
		return nil, mq.Errorf(mq.UnsupportedVersion, "unknown API %d", f.API)
	}
	if err := body.Decode(f.Body); err != nil {
		return nil, err
	}
	return body, nil
}

// newRequestBody is an empty body for api, nil if there is no such API.
func newRequestBody(api API) RequestBody {
	switch api {
	case APIMetadata:
		return new(MetadataRequest)
	case APICreateTopic:
		return new(CreateTopicRequest)
	case APIDeleteTopic:
		return new(DeleteTopicRequest)
	case APIDescribeTopic:
		return new(DescribeTopicRequest)
	case APIAlterTopic:
		return new(AlterTopicRequest)
	case APIListOffsets:
		return new(ListOffsetsRequest)
	case APIInitProducerID:
		return new(InitProducerIDRequest)
	case APIDescribeCluster:
		return new(DescribeClusterRequest)
	case APIOperate:
		return new(OperateRequest)
	default:
		return newGroupRequestBody(api)
	}
}

func newGroupRequestBody(api API) RequestBody {
	switch api {
	case APIFindCoordinator:
		return new(FindCoordinatorRequest)
	case APICommitOffsets:
		return new(CommitOffsetsRequest)
	case APIFetchOffsets:
		return new(FetchOffsetsRequest)
	case APIListGroups:
		return new(ListGroupsRequest)
	case APIDescribeGroup:
		return new(DescribeGroupRequest)
	case APIDeleteGroup:
		return new(DeleteGroupRequest)
	case APIDeleteOffsets:
		return new(DeleteOffsetsRequest)
	case APIResetOffsets:
		return new(ResetOffsetsRequest)
	default:
		return nil
	}
}
