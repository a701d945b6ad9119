package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

func ExampleNew() {
	c, err := client.New(
		client.Servers("broker1:9092", "broker2:9092"),
		client.ClientID("billing"),
		client.Compression(mq.CompressionZstd, 0),
		client.DeliveryTimeout(30*time.Second),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
}

func ExampleNew_invalid() {
	_, err := client.New(client.Window(0))
	fmt.Println(err)
	fmt.Println(mq.CodeOf(err))
	// Output:
	// INVALID_CONFIG: Window: 0 is not in 1..1024
	// INVALID_CONFIG
}

func ExampleClient_ProduceSync() {
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	rec := &client.Record{
		Topic: "orders", Key: []byte("4711"), Value: []byte(`{"total": 12}`),
		Headers: []mq.Header{{Key: "source", Value: []byte("web")}},
		Acks:    client.AcksObject, // wait until it is in the object store
	}
	if err := c.ProduceSync(context.Background(), rec).FirstErr(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(rec.Partition, rec.Offset, rec.Reached)
}

func ExampleClient_Produce() {
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()
	for i := range 1_000_000 {
		c.Produce(ctx, &client.Record{Topic: "numbers", Value: fmt.Append(nil, i)}, func(rec *client.Record, err error) {
			if err != nil {
				log.Printf("not delivered: %v", err)
			}
		})
	}
	if err := c.Flush(ctx); err != nil {
		log.Fatal(err)
	}
}

func ExampleClient_TryProduce() {
	c, err := client.New(client.MaxBufferedBytes(1 << 20))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	err = c.TryProduce(context.Background(), &client.Record{Topic: "metrics", Value: []byte("cpu 0.7")}, nil)
	if errors.Is(err, client.ErrBufferFull) {
		log.Print("the cluster does not keep up: dropped a sample")
	}
}

func ExampleConsumer_Records() {
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
	for rec, err := range k.Records(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d %s=%s\n", rec.Offset, rec.Key, rec.Value)
	}
}

// Share the partitions of topics with the other members of a group, and go on where the group stopped.
func ExampleGroup() {
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	k, err := c.NewConsumer(client.Group("billing"), client.Topics("orders"), client.TopicPattern(`orders\..*`))
	if err != nil {
		log.Fatal(err)
	}
	defer k.Close() // commits what was processed, and leaves the group
	for rec, err := range k.Records(context.Background()) {
		var failed *client.PartitionError
		switch {
		case errors.As(err, &failed):
			log.Printf("partition %d: %v", failed.Partition, failed.Err) // the others go on
		case err != nil:
			log.Fatal(err)
		default:
			fmt.Printf("%s=%s\n", rec.Key, rec.Value)
		}
	}
}

// Commit by hand, when what was made of the records is safe.
func ExampleConsumer_CommitSync() {
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	k, err := c.NewConsumer(client.Group("archive"), client.Topics("orders"), client.AutoCommit(0))
	if err != nil {
		log.Fatal(err)
	}
	defer k.Close()
	ctx := context.Background()
	for {
		recs, err := k.Poll(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(len(recs), "records written to the archive")
		if err := k.CommitSync(ctx, client.After(&recs[len(recs)-1])); err != nil {
			log.Print(err) // they will come again
		}
	}
}

// Consume, transform, produce: input is committed when what came of it is durable.
func ExampleProcess() {
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	err = client.Process(context.Background(), c, client.Processor{
		Consume: []client.ConsumerOption{client.Group("shouting"), client.Topics("words")},
		Handle: client.EachRecord(func(_ context.Context, rec *client.Record) ([]*client.Record, error) {
			return []*client.Record{{Topic: "shouts", Key: rec.Key, Value: bytes.ToUpper(rec.Value)}}, nil
		}),
		Poison: client.Poison{Retries: 3, DeadLetter: "words.dead"},
	})
	log.Fatal(err)
}

// Count the records of each minute in each partition.
func ExampleEachWindow() {
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	count := func(_ context.Context, w *client.TimeWindow) ([]*client.Record, error) {
		return []*client.Record{{Topic: "clicks.minutes", Value: fmt.Append(nil, w.Start.Unix(), " ", len(w.Records))}}, nil
	}
	err = client.Process(context.Background(), c, client.Processor{
		Consume: []client.ConsumerOption{client.Group("minutes"), client.Topics("clicks")},
		Handle:  client.EachWindow(time.Minute, 10*time.Second, count),
	})
	log.Fatal(err)
}

// Keep something for each partition that the member has.
func ExampleOnRevoked() {
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	counts := map[client.TopicPartition]int{}
	k, err := c.NewConsumer(client.Group("counters"), client.Topics("clicks"),
		client.OnAssigned(func(_ context.Context, _ *client.Consumer, partitions []client.TopicPartition) {
			for _, tp := range partitions {
				counts[tp] = 0
			}
		}),
		client.OnRevoked(func(_ context.Context, _ *client.Consumer, partitions []client.TopicPartition) {
			for _, tp := range partitions {
				fmt.Println(tp, counts[tp]) // the last moment to write it down
				delete(counts, tp)
			}
		}),
		client.OnLost(func(_ context.Context, _ *client.Consumer, partitions []client.TopicPartition) {
			for _, tp := range partitions {
				delete(counts, tp) // it is another member's to count
			}
		}))
	if err != nil {
		log.Fatal(err)
	}
	defer k.Close()
	for rec, err := range k.Records(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		counts[client.TopicPartition{Topic: rec.Topic, Partition: rec.Partition}]++
	}
}

// Read everything that there is now, of all partitions, and stop.
func ExampleConsumer_StopAt() {
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()
	d, err := c.DescribeTopic(ctx, "orders")
	if err != nil {
		log.Fatal(err)
	}
	var opts []client.ConsumerOption
	for _, p := range d.Partitions {
		opts = append(opts, client.Assign("orders", p.Partition, client.AtTime(time.Now().Add(-time.Hour))))
	}
	k, err := c.NewConsumer(opts...)
	if err != nil {
		log.Fatal(err)
	}
	defer k.Close()
	ends, err := k.EndOffsets(ctx)
	if err != nil {
		log.Fatal(err)
	}
	k.StopAt(ends)
	for rec, err := range k.Records(ctx) {
		var failed *client.PartitionError
		switch {
		case errors.As(err, &failed):
			log.Printf("partition %d: %v", failed.Partition, failed.Err) // the others go on
		case err != nil:
			log.Fatal(err)
		default:
			fmt.Println(string(rec.Value))
		}
	}
}

func ExampleClient_CreateTopic() {
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	_, err = c.CreateTopic(context.Background(), client.NewTopic{
		Name: "orders", Partitions: 6, Configs: map[string]string{"retention.ms": "604800000"},
	})
	if mq.CodeOf(err) != mq.TopicAlreadyExists && err != nil {
		log.Fatal(err)
	}
}
