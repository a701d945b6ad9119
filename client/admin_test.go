package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
)

func TestAdmin(t *testing.T) {
	h := startCluster(t)
	c := h.client(ClientID("admin"))
	ctx := soon(t)
	if made, err := c.CreateTopic(ctx, NewTopic{Name: "orders", Partitions: 3}); err != nil || made.Partitions != 3 {
		t.Fatalf("%+v, %v", made, err)
	}
	_, err := c.CreateTopic(ctx, NewTopic{Name: "orders"})
	wantCode(t, err, mq.TopicAlreadyExists)
	_, err = c.CreateTopic(ctx, NewTopic{Name: "../etc"})
	wantCode(t, err, mq.InvalidTopic)
	list, err := c.ListTopics(ctx)
	if err != nil || len(list) != 1 || list[0].Name != "orders" || len(list[0].Partitions) != 3 {
		t.Fatalf("%+v, %v", list, err)
	}
	if err := c.CreatePartitions(ctx, "orders", 5); err != nil {
		t.Fatal(err)
	}
	d, err := c.DescribeTopic(ctx, "orders")
	if err != nil || len(d.Partitions) != 5 || d.Configs[0].Key != "retention.ms" || !d.Configs[0].Default {
		t.Fatalf("%+v, %v", d, err)
	}
	if err := c.AlterTopicConfigs(ctx, "orders", ConfigChanges{Set: map[string]string{"retention.ms": "5"}}); err != nil {
		t.Fatal(err)
	}
	offs, err := c.ListOffsets(ctx, "orders", End(), mq.IsolationCommitted)
	if err != nil || len(offs) != 5 || offs[4].Offset != 0 {
		t.Fatalf("%+v, %v", offs, err)
	}
	if offs, err = c.ListOffsets(ctx, "orders", Start(), mq.IsolationCommitted, 1, 77); err != nil || offs[77].Err == nil || offs[1].Err != nil {
		t.Fatalf("%+v, %v", offs, err)
	}
	cl, err := c.DescribeCluster(ctx)
	if err != nil || cl.Node != 1 || cl.Brokers[0].Addr != h.addr {
		t.Fatalf("%+v, %v", cl, err)
	}
	if err := c.DeleteTopic(ctx, "orders"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, c.DeleteTopic(ctx, "orders"), mq.UnknownTopicOrPartition)
	m, err := c.Metadata(ctx, "orders")
	if err != nil || mq.CodeOf(m.Topics[0].Err) != mq.UnknownTopicOrPartition {
		t.Fatalf("%+v, %v", m, err)
	}
}

func TestNobodyAnswers(t *testing.T) {
	h := startCluster(t)
	h.kill()
	c := h.client(DialTimeout(200 * time.Millisecond))
	_, err := c.DescribeCluster(soon(t))
	wantCode(t, err, mq.NetworkException)
}

func TestUntrustedServerIsNotRetried(t *testing.T) {
	h := startCluster(t)
	h.broker.create("t", 1)
	c := h.client(TLSConfig(&tls.Config{RootCAs: x509.NewCertPool()}))
	err := c.ProduceSync(soon(t), &Record{Topic: "t"}).FirstErr()
	if err == nil || mq.CodeOf(err) == mq.RequestTimedOut {
		t.Fatalf("it was tried until there was no more time: %v", err)
	}
	var unknown x509.UnknownAuthorityError
	if !errors.As(err, &unknown) {
		t.Errorf("error does not say what is wrong: %v", err)
	}
	k := consumer(t, c, Assign("t", 0, Start()))
	if _, err := k.Poll(soon(t)); !errors.As(err, &unknown) {
		t.Errorf("consumer: %v", err)
	}
}

func TestAnotherServerIsTriedWhenOneIsDown(t *testing.T) {
	h := startCluster(t)
	c := h.client(Servers("127.0.0.1:9", h.addr), DialTimeout(200*time.Millisecond))
	if _, err := c.DescribeCluster(soon(t)); err != nil {
		t.Fatal(err)
	}
}

func TestRequestEndsWithItsContext(t *testing.T) {
	h := startCluster(t)
	c := h.client()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := c.DescribeCluster(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestInvalidOptions(t *testing.T) {
	for name, opt := range map[string]Option{
		"no server":        Servers(),
		"no port":          Servers("localhost"),
		"nil TLS":          TLSConfig(nil),
		"no such CA":       CAFile("/nonexistent"),
		"key without cert": CertKey("", "k"),
		"connections":      Connections(0),
		"linger":           Linger(-1),
		"batch":            BatchBytes(1),
		"buffer":           MaxBufferedBytes(1),
		"window":           Window(5000),
		"acks":             RequiredAcks(9),
		"codec":            Compression(9, 0),
		"level":            Compression(mq.CompressionZstd, 99),
		"timeout":          DeliveryTimeout(0),
		"partitioner":      PartitionBy(nil),
		"nil":              nil,
	} {
		if _, err := New(opt); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
