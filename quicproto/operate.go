package quicproto

import "bytes"

// OperateRequest is an operation on the cluster: what `rustmq ctl` does. What it means is in the body, which is of api/admin/v1 and not looked at here.
type OperateRequest struct {
	Message []byte // a rustmq.admin.v1.Request
}

// API implements RequestBody.
func (*OperateRequest) API() API { return APIOperate }

// AppendTo implements Body.
func (m *OperateRequest) AppendTo(dst []byte) []byte { return appendMessage(append(dst, 0), m.Message) }

// Decode implements Body.
func (m *OperateRequest) Decode(body []byte) error {
	d := decoder{frame: "OperateRequest", rest: body}
	d.reserved8()
	*m = OperateRequest{Message: d.message()}
	return d.end()
}

// OperateResponse answers OperateRequest.
type OperateResponse struct {
	Message []byte // a rustmq.admin.v1.Response
}

// AppendTo implements Body.
func (m *OperateResponse) AppendTo(dst []byte) []byte { return appendMessage(dst, m.Message) }

// Decode implements Body.
func (m *OperateResponse) Decode(body []byte) error {
	d := decoder{frame: "OperateResponse", rest: body}
	*m = OperateResponse{Message: d.message()}
	return d.end()
}

// appendMessage appends a message of api/admin/v1 with its length.
func appendMessage(dst, message []byte) []byte {
	return append(appendUint32(dst, uint32(len(message))), message...)
}

// message is what appendMessage appended, copied.
func (d *decoder) message() []byte {
	return bytes.Clone(d.take(d.count(MaxResponseBytes, 1)))
}
