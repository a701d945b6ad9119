// Package client is the Go client of RustMQ: it produces and consumes records, alone or in groups, transforms them, and administers topics and groups. It speaks QUIC, and TLS on TCP where UDP
// does not get through.
//
// This page read from top to bottom is a tutorial. Each part names the example that shows all of it.
//
// # Connecting
//
// A process needs one [Client], which any number of goroutines share:
//
//	c, err := client.New(client.Servers("broker1:9092", "broker2:9092"), client.CAFile("ca.crt"))
//	if err != nil { ... }
//	defer c.Close()
//
// New connects to nobody. Connections are made when they are needed and made anew when they are lost, with a pause that grows and is spread at
// random; nothing has to be done about it. [Client.DescribeCluster] is the way to see that there is a cluster. [CertKey] proves who the client is, and [Transport] chooses between QUIC and TCP.
// See the examples of [New], [TLSConfig] and [Transport].
//
// # A topic
//
// Records are in topics, which have partitions: what is in one partition is in order.
//
//	_, err := c.CreateTopic(ctx, client.NewTopic{Name: "orders", Partitions: 6})
//
// What is left out is as the cluster has it for new topics. See the example of [Client.CreateTopic].
//
// # Producing
//
// [Client.ProduceSync] produces records and waits until they are durable:
//
//	err := c.ProduceSync(ctx, &client.Record{Topic: "orders", Key: []byte("4711"), Value: payload}).FirstErr()
//
// [Client.Produce] does not wait: it tells the outcome to a [Promise]. It is what to use for many records; [Client.Flush] waits for all of them:
//
//	for _, line := range lines {
//		c.Produce(ctx, &client.Record{Topic: "orders", Value: line}, func(rec *client.Record, err error) {
//			if err != nil { ... } // the record was not delivered, or nobody knows
//		})
//	}
//	err := c.Flush(ctx)
//
// Records of one key go to one partition, chosen as Kafka's clients do; [PartitionBy] chooses otherwise. What "durable" means is the record's choice ([Record].Acks) or else the client's
// ([RequiredAcks]); by default it is on the disks of all in-sync replicas. [Record].Reached says what was reached.
//
// A record is sent at once if nothing of its partition is in flight. While something is, records gather into a batch, which goes out when it is
// full ([BatchBytes]), when the answer comes, or when it has waited long enough ([Linger]). So a lone record is fast, and many go in large batches, without
// tuning. While much is in flight to other partitions, a record without a key waits as well, for those that the partitioner sends after it. Memory is bounded by [MaxBufferedBytes]: then Produce waits,
// and [Client.TryProduce] fails with [ErrBufferFull].
// See the examples of [Client.ProduceSync], [Client.Produce], [Client.TryProduce] and [PartitionBy].
//
// # Consuming
//
// A [Consumer] reads the partitions that it is told to, from the positions that it is told to:
//
//	k, err := c.NewConsumer(client.Assign("orders", 0, client.Start()), client.Assign("orders", 1, client.AtTime(yesterday)))
//	if err != nil { ... }
//	defer k.Close()
//	for rec, err := range k.Records(ctx) {
//		if err != nil { ... }
//		...
//	}
//
// The server pushes batches as they come; how much is fetched ahead is bounded by [PrefetchBytes], through the transport's flow control. A consumer goes on where it was when a
// connection was lost, without gaps or duplicates. It verifies the CRC of every batch. [Consumer.EndOffsets] and [Consumer.StopAt] read to where the log ends now; [Consumer.Seek] goes elsewhere.
//
// With a [Rack] it reads what only the object store has from brokers of that rack, and everything else from the leaders. It goes to and fro by itself.
// See the examples of [Consumer.Records], [Consumer.Poll], [Consumer.StopAt], [Consumer.Seek] and [Consumer.Batches].
//
// # Consuming as a group
//
// Many consumers share topics as members of a group: each partition is one member's at a time, and goes on where the group has committed.
//
//	k, err := c.NewConsumer(client.Group("billing"), client.Topics("orders"))
//	if err != nil { ... }
//	defer k.Close()
//	for rec, err := range k.Records(ctx) {
//		if err != nil { ... }
//		process(rec)
//	}
//
// That is all: every five seconds ([AutoCommit]), before partitions are given up and in Close, what was processed is committed. Asking for the next record says that the one
// before is processed; so whoever leaves the loop in the middle of a record gets it again. With AutoCommit(0) the application commits: [Consumer.CommitSync] and
// [Consumer.CommitAsync] commit all that was handed out, or what they are given, such as [After] a record. Each record is processed at least once; and exactly
// once as long as no member dies, loses its partitions or fails to commit.
//
// Members come and go while others go on: only the partitions that move are stopped. They move when the application next asks for a record, within [RebalanceTimeout];
// [OnAssigned], [OnRevoked] and [OnLost] tell of it. A member's connection is its sign of life: it may be stopped in the middle of a record for as long as it likes, and a
// broken connection or another coordinator costs nothing if it is back within the group's session timeout. Close leaves the group at once. Where nothing is committed a group starts at
// the oldest record; see [ResetTo] and [RequireCommitted]. A member with an [InstanceID] may restart without any partition moving.
//
// A member may Seek, Pause and Resume what it is assigned, and [Consumer.Subscribe] to other topics. [Consumer.Committed] and [Consumer.Lag] tell how far it is.
// See the examples of [Group], [Consumer.CommitSync], [Consumer.CommitAsync], [OnRevoked], [Consumer.Pause] and [InstanceID].
//
// # Consume, transform, produce
//
// [Process] does that as a member of a group, and commits input only when all that came of it is durable:
//
//	err := client.Process(ctx, c, client.Processor{
//		Consume: []client.ConsumerOption{client.Group("prices"), client.Topics("orders")},
//		Handle: client.EachRecord(func(ctx context.Context, rec *client.Record) ([]*client.Record, error) {
//			return []*client.Record{{Topic: "prices", Key: rec.Key, Value: price(rec.Value)}}, nil
//		}),
//		Poison: client.Poison{Retries: 3, DeadLetter: "orders.dead"},
//	})
//
// Handlers get single records ([EachRecord]), batches ([EachBatch]), or all records of a stretch of time ([EachWindow]). [Poison] says what becomes of records on which a handler fails: it is
// tried again with growing pauses; then the record goes to a dead-letter topic with the cause in its headers, is left out, or ends the processing.
// See the examples of [Process], [EachBatch], [EachWindow] and [Poison].
//
// # Administration
//
// What topics and groups there are, and how far they have come, anybody may ask who is allowed to:
//
//	d, err := c.DescribeTopic(ctx, "orders")  // settings, partitions, offsets
//	g, err := c.DescribeGroup(ctx, "billing") // members, and what is committed of each partition
//
// Topics are changed with [Client.AlterTopicConfigs], [Client.CreatePartitions], [Client.DeleteRecords] and [Client.DeleteTopic], copied without copying a record with [Client.ForkTopic]; where a
// group goes on is set with [Client.ResetOffsets]. Each returns when it is decided and durable.
// See the examples of [Client.DescribeTopic], [Client.DescribeGroup], [Client.AlterTopicConfigs], [Client.ResetOffsets], [Client.DeleteRecords] and [Client.ForkTopic].
//
// # Errors
//
// What may pass by itself is retried by the client and only shows in the log ([Logger]) and in [Client.Stats]; so an error is one to decide about. It carries a code:
//
//	switch code := mq.CodeOf(err); {
//	case code == mq.TopicAlreadyExists: // fine
//	case code.Retriable():              // it was tried for as long as was allowed; it may succeed later
//	}
//
// Errors of a partition are *[PartitionError], with its name: a consumer's other partitions go on. REQUEST_TIMED_OUT of a record that was sent, and NETWORK_EXCEPTION of a change, say that
// nobody knows whether it was done.
// See the examples of [PartitionError] and [New].
//
// # Seeing what happens
//
// [Logger] takes what the client has to say, which is little, [Client.Stats] are counts to export as metrics, and [Propagation] has traces go on in the headers of records.
// See the examples of [Client.Stats] and [Propagation].
//
// # What is promised
//
// Records that one goroutine produces to one partition are in the log in that order, each once, whatever happens to connections and servers: batches carry
// a producer id and a sequence, and a batch once sent never changes, so that the server knows a repeated one. (That is
// [Idempotent], which is on.) A batch is repeated until it is acknowledged, the server refuses it for good, or [DeliveryTimeout] has passed since its first record
// was produced. A record that fails with REQUEST_TIMED_OUT after it was sent may be in the log or not; later records of the partition go on under another
// producer id. Errors OUT_OF_ORDER_SEQUENCE_NUMBER, DUPLICATE_SEQUENCE_NUMBER, INVALID_PRODUCER_EPOCH mean that server and client
// disagree on what was written: they fail all that was in flight to the partition, and are logged as errors.
//
// The client remembers nothing over restarts: records that a program produces again after it crashed are new records.
//
// # When a leader goes
//
// A leader that dies, or is cut off from the others, says nothing: the client notices that acknowledgements are overdue (100 ms and two round trips),
// and asks other nodes who leads, ten times a second at first. As soon as one names another leader in a newer epoch, all that is in flight goes there.
// A consumer to which nothing comes asks after a second, and then ever less often, down to once a minute. A node that takes itself for a leader and is not
// any more is told by its epoch. Requests of which nothing is heard for 300 ms go to another node as well, if they may be repeated.
//
// # Goroutines
//
// A connection has two goroutines beside those of QUIC, a produce stream two more, a fetch stream two, a question one; one looks after timeouts while
// a client produces; a member of a group has two, and two more while it asks for offsets or commits. None belongs to a partition or a record. Close waits for all of them.
//
// # Not here
//
// Everything that servers do among themselves.
package client
