package client_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"sync"
	"time"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// Prove who the client is by a certificate that is loaded by the program itself. For files there are CAFile and CertKey.
func ExampleTLSConfig() {
	c, err := client.New(client.Servers("broker1:9092"), client.CAFile("ca.crt"), client.TLSConfig(&tls.Config{
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair("client.crt", "client.key") // again for each connection: it may have been renewed
			return &cert, err
		},
	}))
	if err != nil {
		fmt.Println(mq.CodeOf(err)) // there is no such file here
		return
	}
	defer c.Close()
	// Output: INVALID_CONFIG
}

// Within a data centre TCP gets several times more bytes out of a processor.
func ExampleTransport() {
	c, err := client.New(client.Transport(client.TCP))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
}

// Send what is urgent to a partition of its own, and all else as ever.
func ExamplePartitionBy() {
	urgent := func(topic string) func(*client.Record, int) int {
		hash := client.HashPartitioner()(topic)
		return func(rec *client.Record, partitions int) int {
			if partitions == 1 || bytes.HasPrefix(rec.Key, []byte("urgent")) {
				return 0
			}
			return 1 + hash(rec, partitions-1)
		}
	}
	c, err := client.New(client.PartitionBy(urgent))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
}

// Go back ten records in each partition when the consumer begins.
func ExampleConsumer_Seek() {
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	k, err := c.NewConsumer(client.Assign("orders", 0, client.End()))
	if err != nil {
		log.Fatal(err)
	}
	defer k.Close()
	ctx := context.Background()
	ends, err := k.EndOffsets(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for tp, end := range ends {
		if err := k.Seek(tp, client.At(max(end-10, 0))); err != nil {
			log.Fatal(err)
		}
	}
	recs, err := k.Poll(ctx)
	fmt.Println(len(recs), err)
}

// Count records without decoding them.
func ExampleConsumer_Batches() {
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	k, err := c.NewConsumer(client.Assign("orders", 0, client.Start()))
	if err != nil {
		log.Fatal(err)
	}
	defer k.Close()
	bytes := 0
	for b, err := range k.Batches(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		bytes += len(b.Data)
		fmt.Printf("up to offset %d: %d bytes\n", b.To, bytes)
	}
}

// Hand records to other goroutines, and commit a partition up to the last of its records that is done, without waiting for it.
func ExampleConsumer_CommitAsync() {
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	k, err := c.NewConsumer(client.Group("thumbnails"), client.Topics("pictures"), client.AutoCommit(0))
	if err != nil {
		log.Fatal(err)
	}
	defer k.Close()
	ctx := context.Background()
	for {
		recs, err := k.Poll(ctx) // of one partition
		if err != nil {
			log.Fatal(err)
		}
		var work sync.WaitGroup
		for _, rec := range recs {
			work.Go(func() { fmt.Println("made a thumbnail of", string(rec.Key)) })
		}
		work.Wait()
		k.CommitAsync(func(err error) {
			if err != nil {
				log.Printf("not committed: %v", err) // the next commit of the partition makes up for it
			}
		}, client.After(&recs[len(recs)-1]))
	}
}

// Hold a partition while something that its records need is away, and go on with the others.
func ExampleConsumer_Pause() {
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	k, err := c.NewConsumer(client.Group("mailer"), client.Topics("mails"))
	if err != nil {
		log.Fatal(err)
	}
	defer k.Close()
	send := func(*client.Record) error { return errors.New("the mail server is away") }
	for rec, err := range k.Records(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		if err := send(rec); err == nil {
			continue
		}
		tp := client.TopicPartition{Topic: rec.Topic, Partition: rec.Partition}
		if err := k.Seek(tp, client.At(rec.Offset)); err != nil { // it comes again
			log.Fatal(err)
		}
		k.Pause(tp)
		time.AfterFunc(time.Minute, func() { k.Resume(tp) })
	}
}

// A member that is restarted for a new version keeps its partitions, if it is back within the session timeout.
func ExampleInstanceID() {
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	k, err := c.NewConsumer(client.Group("billing"), client.Topics("orders"), client.InstanceID("billing-3")) // of host or pod 3
	if err != nil {
		log.Fatal(err)
	}
	defer k.Close()
	for rec, err := range k.Records(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(rec.Value))
	}
}

// Write what came together with one statement, and produce what follows from it.
func ExampleEachBatch() {
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	err = client.Process(context.Background(), c, client.Processor{
		Consume: []client.ConsumerOption{client.Group("archive"), client.Topics("orders")},
		Handle: client.EachBatch(func(_ context.Context, recs []client.Record) ([]*client.Record, error) {
			fmt.Println("INSERT of", len(recs), "rows")
			last := &recs[len(recs)-1]
			return []*client.Record{{Topic: "archived", Key: fmt.Append(nil, last.Partition), Value: fmt.Append(nil, last.Offset)}}, nil
		}),
		Poison: client.Poison{Retries: -1}, // a database that is away comes back
	})
	log.Fatal(err)
}

// Try a record three times, then put it aside, and look at what was put aside.
func ExamplePoison() {
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- client.Process(ctx, c, client.Processor{
			Consume: []client.ConsumerOption{client.Group("parser"), client.Topics("lines")},
			Handle: client.EachRecord(func(_ context.Context, rec *client.Record) ([]*client.Record, error) {
				return nil, fmt.Errorf("line %q makes no sense", rec.Value)
			}),
			Poison: client.Poison{Retries: 2, Pause: time.Second, DeadLetter: "lines.dead"},
		})
	}()
	k, err := c.NewConsumer(client.Assign("lines.dead", 0, client.Start()))
	if err != nil {
		log.Fatal(err)
	}
	defer k.Close()
	recs, err := k.Poll(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for i := range recs {
		h := client.HeaderCarrier{Record: &recs[i]}
		fmt.Println(h.Get(client.HeaderTopic), h.Get(client.HeaderOffset), h.Get(client.HeaderError))
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
}

// Have the id of a request go on from who produces a record to who works on it. The program of examples/otel does so with OpenTelemetry.
func ExamplePropagation() {
	type requestID struct{}
	c, err := client.New(client.Propagation(
		func(ctx context.Context, h client.HeaderCarrier) {
			if id, ok := ctx.Value(requestID{}).(string); ok {
				h.Set("request-id", id)
			}
		},
		func(ctx context.Context, h client.HeaderCarrier) context.Context {
			return context.WithValue(ctx, requestID{}, h.Get("request-id"))
		},
	))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	rec := &client.Record{Topic: "orders", Headers: []mq.Header{{Key: "request-id", Value: []byte("42")}}} // as it is consumed
	fmt.Println(c.RecordContext(context.Background(), rec).Value(requestID{}))
	// Output: 42
}

// Read a topic to its end by hand, telling the end from trouble.
func ExampleConsumer_Poll() {
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	k, err := c.NewConsumer(client.Assign("orders", 0, client.Start()))
	if err != nil {
		log.Fatal(err)
	}
	defer k.Close()
	ctx := context.Background()
	ends, err := k.EndOffsets(ctx)
	if err != nil {
		log.Fatal(err)
	}
	k.StopAt(ends)
	for {
		recs, err := k.Poll(ctx)
		var failed *client.PartitionError
		switch {
		case errors.Is(err, io.EOF):
			return
		case errors.As(err, &failed):
			log.Print(failed) // it is silent from now on; others would go on
			return
		case err != nil:
			log.Fatal(err)
		}
		for _, rec := range recs {
			fmt.Println(rec.Offset, rec.Timestamp, len(rec.Value))
		}
	}
}
