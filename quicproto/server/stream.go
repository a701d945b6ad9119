package server

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/transport"
)

// stream is what the protocol needs of a transport: a QUIC stream, or a TLS connection.
type stream = transport.Stream

// serveStream reads a stream's first frame, which says what the stream is, and serves it until it ends.
func (ss *session) serveStream(st stream) {
	ss.srv.counters.streamsTotal.Add(1)
	ss.srv.counters.streams.Add(1)
	defer ss.srv.counters.streams.Add(-1)
	if ss.srv.draining.Load() {
		refuse(st, mq.Errorf(mq.ShuttingDown, "the server is shutting down"))
		return
	}
	in := quicproto.NewFrameReader(st, quicproto.MaxBatchBytes)
	err := ss.dispatch(st, in)
	switch {
	case err == nil:
		_ = st.Close() // what fails here has failed with the connection
	case isStreamError(err) || errors.Is(err, context.Canceled):
		st.Abort(mq.Canceled)
	default:
		ss.fail(faultOf(err))
	}
}

func (ss *session) dispatch(st stream, in *quicproto.FrameReader) error {
	if err := st.SetReadDeadline(time.Now().Add(ss.srv.limits.FirstFrame)); err != nil {
		return err
	}
	t, _, err := in.Next()
	if errors.Is(err, io.EOF) { // opened and closed: nothing wanted
		return nil
	}
	if err != nil {
		return err
	}
	payload, err := in.Payload()
	if err != nil {
		return err
	}
	if err := st.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	switch t {
	case quicproto.TypeOpenProduce:
		var open quicproto.OpenProduce
		if err := open.Decode(payload); err != nil {
			return err
		}
		return ss.serveProduce(st, in)
	case quicproto.TypeOpenFetch:
		var open quicproto.OpenFetch
		if err := open.Decode(payload); err != nil {
			return err
		}
		return ss.serveFetch(st, in, &open)
	case quicproto.TypeRequest:
		return ss.serveRequests(st, in, payload)
	case quicproto.TypeOpenGroup:
		var open quicproto.OpenGroup
		if err := open.Decode(payload); err != nil {
			return err
		}
		return ss.serveGroup(st, in, &open)
	default:
		return mq.Errorf(mq.ProtocolViolation, "%v is no first frame of a stream", t)
	}
}

// refuse ends a stream with a reason, and leaves the session alone.
func refuse(st stream, err error) {
	code, msg := quicproto.CodeAndText(err)
	// If this fails the connection is gone, and the client knows.
	_, _ = st.Write(quicproto.AppendFrame(nil, &quicproto.Close{Code: code, Msg: msg}))
	_ = st.Close()
	st.StopReading(code)
}
