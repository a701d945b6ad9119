package client_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// Where the partitions of a topic are, and how much is in them.
func ExampleClient_DescribeTopic() {
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	d, err := c.DescribeTopic(context.Background(), "orders")
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range d.Partitions {
		fmt.Printf("partition %d: led by node %d, in sync %v, offsets %d to %d\n", p.Partition, p.Leader, p.InSync, p.LogStart, p.HighWatermark)
	}
}

// How far a group has come, and who has which partition.
func ExampleClient_DescribeGroup() {
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	g, err := c.DescribeGroup(context.Background(), "billing")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(g.State, "with", len(g.Members), "members")
	for _, p := range g.Partitions {
		fmt.Printf("%s/%d: member %q is %d behind\n", p.Topic, p.Partition, p.Member, p.Lag())
	}
}

// Keep a topic for a week, and let the cluster's default decide again how large its batches may be.
func ExampleClient_AlterTopicConfigs() {
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	err = c.AlterTopicConfigs(context.Background(), "orders", client.ConfigChanges{
		Set:   map[string]string{"retention.ms": fmt.Sprint((7 * 24 * time.Hour).Milliseconds())},
		Unset: []string{"max.message.bytes"},
	})
	if err != nil {
		log.Fatal(err)
	}
}

// Have a group, none of whose members runs, consume the last hour once more.
func ExampleClient_ResetOffsets() {
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()
	found, err := c.ListOffsets(ctx, "orders", client.AtTime(time.Now().Add(-time.Hour)), mq.IsolationCommitted)
	if err != nil {
		log.Fatal(err)
	}
	offsets := map[int32]mq.Offset{}
	for partition, at := range found {
		if at.Err != nil {
			log.Fatal(at.Err)
		}
		if at.Offset >= 0 { // something came in that hour
			offsets[partition] = at.Offset
		}
	}
	if err := c.ResetOffsets(ctx, "billing", "orders", offsets); err != nil {
		log.Fatal(err) // GROUP_SUBSCRIBED_TO_TOPIC: a member runs
	}
}

// Delete everything that is in a partition now.
func ExampleClient_DeleteRecords() {
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	start, err := c.DeleteRecords(context.Background(), "orders", 0, -1)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the log starts at", start)
}

// Try a new version of a program on a copy of what is there, which takes no time and no room.
func ExampleClient_ForkTopic() {
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	fork, err := c.ForkTopic(context.Background(), "orders", "orders-trial", nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("it has what was before", fork.Points)
}

// Tell what is worth another try from what is not, and which partition it was about.
func ExamplePartitionError() {
	c, err := client.New(client.DeliveryTimeout(10 * time.Second))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	err = c.ProduceSync(context.Background(), &client.Record{Topic: "orders", Value: []byte("x")}).FirstErr()
	switch code := mq.CodeOf(err); {
	case err == nil:
	case code == mq.MessageTooLarge:
		log.Printf("it will never fit: %v", err) // such as "orders/3: MESSAGE_TOO_LARGE: ..."
	case code == mq.RequestTimedOut:
		log.Printf("it may be there or not: %v", err)
	case code.Retriable():
		log.Printf("later: %v", err)
	default:
		log.Print(err)
	}
}

// Counts for metrics.
func ExampleClient_Stats() {
	c, err := client.New()
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	s := c.Stats()
	fmt.Println(s.RecordsProduced, "delivered,", s.RecordsFailed, "failed,", s.RecordsBuffered, "on their way;", s.BatchesRetried, "batches sent again; round trip", s.RTT)
	// Output: 0 delivered, 0 failed, 0 on their way; 0 batches sent again; round trip 0s
}
