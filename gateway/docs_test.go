package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	rustmqpb "github.com/rustmq/rustmq/api/rustmq/v1"
	"github.com/rustmq/rustmq/api/rustmq/v1/rustmqpbconnect"
)

// connectPage has the functions of this file as they are, and the commands of docs_outside_test.go.
const connectPage = "../docs/connect.md"

func overConnect(ctx context.Context, address string) error {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	httpClient := &http.Client{Transport: transport}
	producer := rustmqpbconnect.NewProduceServiceClient(httpClient, "http://"+address)
	consumer := rustmqpbconnect.NewConsumeServiceClient(httpClient, "http://"+address)

	produced, err := producer.Produce(ctx, connect.NewRequest(&rustmqpb.ProduceRequest{
		Topic:      "orders",
		Durability: rustmqpb.Durability_DURABILITY_ALL,
		Records:    []*rustmqpb.ProduceRecord{{ValueAs: &rustmqpb.ProduceRecord_ValueText{ValueText: "a hat"}}},
	}))
	if err != nil {
		return err // nothing of the request was done, or nobody knows
	}
	if failed := produced.Msg.GetResults()[0].GetError(); failed != nil {
		return errors.New(failed.GetMessage())
	}

	// As a member of a group, which leaves when the stream ends.
	events, err := consumer.Consume(ctx, connect.NewRequest(&rustmqpb.ConsumeRequest{
		Group: &rustmqpb.GroupSubscription{Group: "billing", Topics: []string{"orders"}},
	}))
	if err != nil {
		return err
	}
	defer events.Close()
	var session string
	for events.Receive() {
		switch event := events.Msg().GetEvent().(type) {
		case *rustmqpb.ConsumeResponse_Started:
			session = event.Started.GetSessionId()
		case *rustmqpb.ConsumeResponse_Batch:
			for _, record := range event.Batch.GetRecords() {
				fmt.Printf("%d: %q\n", record.GetOffset(), record.GetValue())
			}
			// All of it is processed: the group goes on behind it, whoever does.
			_, err := consumer.Ack(ctx, connect.NewRequest(&rustmqpb.AckRequest{SessionId: session, Offsets: []*rustmqpb.PartitionOffset{{
				Topic: event.Batch.GetTopic(), Partition: event.Batch.GetPartition(), NextOffset: event.Batch.GetNextOffset(),
			}}}))
			return err
		}
	}
	return events.Err()
}

func overGRPC(ctx context.Context, address string) error {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	request := &rustmqpb.FetchRequest{Topic: "orders", Position: &rustmqpb.Position{At: &rustmqpb.Position_Edge{Edge: rustmqpb.Edge_EDGE_EARLIEST}}}
	response := new(rustmqpb.FetchResponse)
	if err := conn.Invoke(ctx, "/rustmq.v1.ConsumeService/Fetch", request, response); err != nil {
		return err
	}
	for _, record := range response.GetRecords() {
		fmt.Printf("%d: %q\n", record.GetOffset(), record.GetValue())
	}
	return nil
}

// TestExamplesOfTheDocsWork: the page has the functions above word for word, and they do what it says.
func TestExamplesOfTheDocsWork(t *testing.T) {
	own, err := os.ReadFile("docs_test.go")
	if err != nil {
		t.Fatal(err)
	}
	blocks := blocksOf(t, "go")
	if len(blocks) != 2 {
		t.Errorf("%s has %d blocks of Go", connectPage, len(blocks))
	}
	for _, b := range blocks {
		if !strings.Contains(string(own), b) {
			t.Errorf("the page has another function than this file:\n%s", b)
		}
	}
	n := startNode(t)
	ctx := deadline(t)
	a := newAPI(overHTTP2(t), url(n))
	createTopic(ctx, t, a, "orders", 1)
	if err := overConnect(ctx, n.AdminAddr().String()); err != nil {
		t.Error(err)
	}
	if got := committed(ctx, t, a, "billing")[0]; got != 1 {
		t.Errorf("%d is committed, want 1", got)
	}
	if err := overGRPC(ctx, n.AdminAddr().String()); err != nil {
		t.Error(err)
	}
}

// blocksOf are the blocks of a language on the page.
func blocksOf(t *testing.T, language string) (blocks []string) {
	t.Helper()
	page, err := os.ReadFile(connectPage)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(page), "\n```"+language+"\n")[1:] {
		block, _, _ := strings.Cut(part, "\n```")
		blocks = append(blocks, block)
	}
	return blocks
}
