package client

import (
	"context"
	"slices"

	"github.com/rustmq/rustmq/mq"
)

// HeaderCarrier are the headers of a record as something that carries a trace's context: it has the methods of OpenTelemetry's propagation.TextMapCarrier. One goroutine
// at a time may use it.
type HeaderCarrier struct {
	Record *Record
}

// Get is the value of the last header of a key; empty if there is none.
func (h HeaderCarrier) Get(key string) string {
	for _, header := range slices.Backward(h.Record.Headers) {
		if header.Key == key {
			return string(header.Value)
		}
	}
	return ""
}

// Set makes a header the only one of its key. The slice of headers that was there is not changed: other records may have it, too.
func (h HeaderCarrier) Set(key, value string) {
	headers := make([]mq.Header, 0, len(h.Record.Headers)+1)
	for _, header := range h.Record.Headers {
		if header.Key != key {
			headers = append(headers, header)
		}
	}
	h.Record.Headers = append(headers, mq.Header{Key: key, Value: []byte(value)})
}

// Keys are those of the headers, in order; they may repeat.
func (h HeaderCarrier) Keys() []string {
	keys := make([]string, len(h.Record.Headers))
	for i := range keys {
		keys[i] = h.Record.Headers[i].Key
	}
	return keys
}

// Propagation has traces go on from who produces a record to who consumes it, in the record's headers. inject is called with the context that a record is produced with, before the record is
// buffered and on the same goroutine; extract gives the context that a consumed record is worked on with: that of the handlers of [EachRecord] in [Process], whose output is
// produced with it, and of [Client.RecordContext]. Either may be nil. With OpenTelemetry's
//
//	p := otel.GetTextMapPropagator()
//	client.Propagation(
//		func(ctx context.Context, h client.HeaderCarrier) { p.Inject(ctx, h) },
//		func(ctx context.Context, h client.HeaderCarrier) context.Context { return p.Extract(ctx, h) },
//	)
//
// as in the program of examples/otel. Default: headers are the application's alone.
func Propagation(inject func(context.Context, HeaderCarrier), extract func(context.Context, HeaderCarrier) context.Context) Option {
	return func(c *config) error {
		c.inject, c.extract = inject, extract
		return nil
	}
}

// RecordContext is the context that a consumed record is worked on with: ctx and what the record's headers carry ([Propagation]); ctx itself without that.
func (c *Client) RecordContext(ctx context.Context, rec *Record) context.Context {
	if c.cfg.extract == nil {
		return ctx
	}
	return c.cfg.extract(ctx, HeaderCarrier{rec})
}
