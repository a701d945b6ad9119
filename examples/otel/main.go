// Command otel follows one order through a cluster with OpenTelemetry: it is placed, billed by a processor and shipped by a consumer, and all that is one trace, which goes on in the headers of records.
//
//	rustmq serve &
//	go run . -ca rustmq-data/pki/ca.crt
//
// It prints the spans as they end. A program of your own has an exporter there, and the rest is the same. The client knows nothing of OpenTelemetry; this directory is a module of its own for that.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// propagator is how a trace is written into headers: as W3C's Trace Context has it, in "traceparent".
var propagator propagation.TextMapPropagator = propagation.TraceContext{}

const ordersTopic, invoicesTopic = "otel-orders", "otel-invoices"

func main() {
	servers := flag.String("servers", "localhost:9092", "addresses of brokers, with commas between them")
	ca := flag.String("ca", "rustmq-data/pki/ca.crt", "certificate of the cluster's authority")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, client.Servers(strings.Split(*servers, ",")...), client.CAFile(*ca)); err != nil {
		log.Fatal(err)
	}
}

// run follows one order, and prints its spans to out.
func run(ctx context.Context, out io.Writer, cluster ...client.Option) (err error) {
	provider := sdk.NewTracerProvider(sdk.WithSyncer(&printer{out: out}))
	defer func() { err = errors.Join(err, provider.Shutdown(context.WithoutCancel(ctx))) }()
	c, err := client.New(append(cluster, traced(propagator))...)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, topic := range []string{ordersTopic, invoicesTopic} {
		if _, err := c.CreateTopic(ctx, client.NewTopic{Name: topic, Partitions: 1}); err != nil && mq.CodeOf(err) != mq.TopicAlreadyExists {
			return err
		}
	}
	shop := &shop{c: c, tracer: provider.Tracer("shop")}
	id := fmt.Sprint("order-", os.Getpid())
	if err := shop.place(ctx, id); err != nil {
		return err
	}
	working, stop := context.WithCancel(ctx)
	billed := make(chan error, 1)
	go func() { billed <- shop.bill(working) }()
	err = shop.ship(ctx, id)
	stop()
	if failed := <-billed; !errors.Is(failed, context.Canceled) {
		err = errors.Join(err, failed)
	}
	return err
}

// traced is the client's option that has traces go on in the headers of records, as a propagator writes and reads them. A record that has a trace in its headers already keeps that.
func traced(p propagation.TextMapPropagator) client.Option {
	return client.Propagation(
		func(ctx context.Context, h client.HeaderCarrier) {
			if !trace.SpanContextFromContext(p.Extract(context.Background(), h)).IsValid() {
				p.Inject(ctx, h)
			}
		},
		func(ctx context.Context, h client.HeaderCarrier) context.Context { return p.Extract(ctx, h) },
	)
}

// shop has the three steps of an order.
type shop struct {
	c      *client.Client
	tracer trace.Tracer
}

// place begins the trace: what ctx has when a record is produced goes into its headers.
func (s *shop) place(ctx context.Context, id string) error {
	ctx, span := s.tracer.Start(ctx, "place order", trace.WithSpanKind(trace.SpanKindProducer))
	defer span.End()
	rec := &client.Record{Topic: ordersTopic, Key: []byte(id), Value: []byte("3 lamps")}
	err := s.c.ProduceSync(ctx, rec).FirstErr()
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, "not produced")
		return err
	}
	span.SetAttributes(placeOf(rec)...)
	return nil
}

// bill goes on with it in a processor: its handler's ctx has the trace of the record. What the handler returns is produced with that ctx, so it would go on from the span that placed the order; it is
// to go on from the handler's own, and so has that in its headers.
func (s *shop) bill(ctx context.Context) error {
	return client.Process(ctx, s.c, client.Processor{
		Consume: []client.ConsumerOption{client.Group("otel-billing"), client.Topics(ordersTopic)},
		Handle: client.EachRecord(func(ctx context.Context, rec *client.Record) ([]*client.Record, error) {
			ctx, span := s.tracer.Start(ctx, "bill order", trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(placeOf(rec)...))
			defer span.End()
			invoice := &client.Record{Topic: invoicesTopic, Key: rec.Key, Value: fmt.Appendf(nil, "%s: 60 EUR", rec.Value)}
			propagator.Inject(ctx, client.HeaderCarrier{Record: invoice})
			return []*client.Record{invoice}, nil
		}),
	})
}

// ship goes on with it in a plain consumer, by RecordContext, until the invoice of an order has come.
func (s *shop) ship(ctx context.Context, id string) error {
	k, err := s.c.NewConsumer(client.Group("otel-shipping"), client.Topics(invoicesTopic))
	if err != nil {
		return err
	}
	defer k.Close()
	for rec, err := range k.Records(ctx) {
		if err != nil {
			return err
		}
		_, span := s.tracer.Start(s.c.RecordContext(ctx, rec), "ship order", trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(placeOf(rec)...))
		span.End()
		if string(rec.Key) == id {
			return k.CommitSync(ctx, client.After(rec))
		}
	}
	return nil
}

// placeOf says where a record is, by the names of OpenTelemetry's conventions for messaging.
func placeOf(rec *client.Record) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("messaging.system", "rustmq"), attribute.String("messaging.destination.name", rec.Topic),
		attribute.Int("messaging.destination.partition.id", int(rec.Partition)), attribute.Int64("messaging.rustmq.offset", int64(rec.Offset)),
	}
}

// printer is an exporter that prints a line for each span: its trace, itself, its parent, its name.
type printer struct {
	mu  sync.Mutex
	out io.Writer
}

// ExportSpans implements sdk.SpanExporter.
func (p *printer) ExportSpans(_ context.Context, spans []sdk.ReadOnlySpan) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range spans {
		parent := "-"
		if s.Parent().IsValid() {
			parent = s.Parent().SpanID().String()
		}
		if _, err := fmt.Fprintf(p.out, "trace %s span %s parent %s %s\n", s.SpanContext().TraceID(), s.SpanContext().SpanID(), parent, s.Name()); err != nil {
			return err
		}
	}
	return nil
}

// Shutdown implements sdk.SpanExporter.
func (*printer) Shutdown(context.Context) error { return nil }
