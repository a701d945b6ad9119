package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	rustmqpb "github.com/rustmq/rustmq/api/rustmq/v1"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node/nodetest"
)

func asConnect(err error, to **connect.Error) bool { return errors.As(err, to) }

func textRecord(value string) *rustmqpb.ProduceRecord {
	return &rustmqpb.ProduceRecord{ValueAs: &rustmqpb.ProduceRecord_ValueText{ValueText: value}}
}

func at(offset int64) *rustmqpb.Position {
	return &rustmqpb.Position{At: &rustmqpb.Position_Offset{Offset: offset}}
}

// TestEveryProtocolDoesEverythingThatIsUnary goes through all services, over each way in.
func TestEveryProtocolDoesEverythingThatIsUnary(t *testing.T) {
	n := startNode(t)
	ctx := deadline(t)
	i := 0
	for name, a := range protocols(t, n) {
		i++
		topic := fmt.Sprint("orders-", i)
		t.Run(name, func(t *testing.T) { unary(ctx, t, a, topic, fmt.Sprint("billing-", i)) })
	}
}

func unary(ctx context.Context, t *testing.T, a api, topic, group string) {
	made, err := a.CreateTopic(ctx, request(&rustmqpb.CreateTopicRequest{Topic: topic, Partitions: 2, Configs: map[string]string{"retention.ms": "1000000"}}))
	if err != nil || made.Msg.GetPartitions() != 2 || made.Msg.GetTopicId() == "" {
		t.Fatalf("create: %v, %v", made, err)
	}
	_, err = a.CreateTopic(ctx, request(&rustmqpb.CreateTopicRequest{Topic: topic}))
	wantCode(t, "create again", err, mq.TopicAlreadyExists)
	if connect.CodeOf(err) != connect.CodeAlreadyExists {
		t.Errorf("create again: %v", connect.CodeOf(err))
	}
	when := time.UnixMilli(1_700_000_000_123).UTC()
	first := &rustmqpb.ProduceRecord{
		Partition: new(int32(1)), KeyAs: &rustmqpb.ProduceRecord_Key{Key: []byte{0xff, 0}}, ValueAs: &rustmqpb.ProduceRecord_Value{Value: []byte("a")}, Timestamp: timestamppb.New(when),
		Headers: []*rustmqpb.Header{{Key: "h", ValueAs: &rustmqpb.Header_ValueText{ValueText: "1"}}, {Key: "h"}},
	}
	tombstone := &rustmqpb.ProduceRecord{Partition: new(int32(1)), KeyAs: &rustmqpb.ProduceRecord_KeyText{KeyText: "k"}}
	empty := &rustmqpb.ProduceRecord{Partition: new(int32(1)), KeyAs: &rustmqpb.ProduceRecord_Key{}, ValueAs: &rustmqpb.ProduceRecord_Value{}}
	wrong := &rustmqpb.ProduceRecord{Partition: new(int32(7))}
	elsewhere := &rustmqpb.ProduceRecord{Topic: "not-there"}
	produced, err := a.Produce(ctx, request(&rustmqpb.ProduceRequest{Topic: topic, Records: []*rustmqpb.ProduceRecord{first, tombstone, empty, wrong, elsewhere}}))
	if err != nil {
		t.Fatal(err)
	}
	results := produced.Msg.GetResults()
	for i := range 3 {
		r := results[i].GetRecord()
		if r.GetTopic() != topic || r.GetPartition() != 1 || r.GetOffset() != int64(i) || r.GetReached() != rustmqpb.Mark_MARK_REPLICATED && r.GetReached() != rustmqpb.Mark_MARK_OBJECT {
			t.Errorf("record %d: %v", i, results[i])
		}
	}
	if e := results[3].GetError(); e.GetCode() != rustmqpb.ErrorCode_ERROR_CODE_INVALID_PARTITIONS || e.GetTopic() != topic || e.GetRetriable() {
		t.Errorf("a partition that is not there: %v", results[3])
	}
	if e := results[4].GetError(); e.GetCode() != rustmqpb.ErrorCode_ERROR_CODE_UNKNOWN_TOPIC_OR_PARTITION || e.GetTopic() != "not-there" {
		t.Errorf("a topic that is not there: %v", results[4])
	}
	if produced.Msg.GetFailed() != 2 {
		t.Errorf("%d failed, want 2", produced.Msg.GetFailed())
	}

	fetched, err := a.Fetch(ctx, request(&rustmqpb.FetchRequest{Topic: topic, Partition: 1, Text: true}))
	if err != nil {
		t.Fatal(err)
	}
	got := fetched.Msg
	if len(got.GetRecords()) != 3 || got.GetNextOffset() != 3 || got.GetEndOffset() != 3 {
		t.Fatalf("fetched %v", got)
	}
	r := got.GetRecords()
	if string(r[0].GetKey()) != "\xff\x00" || r[0].GetValueText() != "a" || !r[0].GetTimestamp().AsTime().Equal(when) || len(r[0].GetHeaders()) != 2 ||
		r[0].GetHeaders()[0].GetValueText() != "1" || r[0].GetHeaders()[1].GetValueAs() != nil {
		t.Errorf("record 0: %v", r[0])
	}
	if r[1].GetKeyText() != "k" || r[1].GetValueAs() != nil {
		t.Errorf("a tombstone: %v", r[1])
	}
	if r[2].GetKeyAs() == nil || r[2].GetValueAs() == nil {
		t.Errorf("empty is not null: %v", r[2])
	}

	fetchPlaces(ctx, t, a, topic, when)
	unaryGroups(ctx, t, a, topic, group)
	unaryTopics(ctx, t, a, topic)
}

func fetchPlaces(ctx context.Context, t *testing.T, a api, topic string, when time.Time) {
	t.Helper()
	for _, c := range []struct {
		name string
		req  *rustmqpb.FetchRequest
		from int64
		n    int
	}{
		{"an offset", &rustmqpb.FetchRequest{Position: at(1)}, 1, 2},
		{"one record", &rustmqpb.FetchRequest{Position: at(1), MaxRecords: 1}, 1, 1},
		{"one byte", &rustmqpb.FetchRequest{MaxBytes: 1}, 0, 1},
		{"a timestamp", &rustmqpb.FetchRequest{Position: &rustmqpb.Position{At: &rustmqpb.Position_Timestamp{Timestamp: timestamppb.New(when.Add(time.Millisecond))}}}, 1, 2},
		{"the future", &rustmqpb.FetchRequest{Position: &rustmqpb.Position{At: &rustmqpb.Position_Timestamp{Timestamp: timestamppb.New(time.Now().Add(time.Hour))}}, MaxWait: durationpb.New(0)}, 3, 0},
		{"the end", &rustmqpb.FetchRequest{Position: &rustmqpb.Position{At: &rustmqpb.Position_Edge{Edge: rustmqpb.Edge_EDGE_LATEST}}, MaxWait: durationpb.New(20 * time.Millisecond)}, 3, 0},
		{"a group without offsets", &rustmqpb.FetchRequest{Position: &rustmqpb.Position{At: &rustmqpb.Position_Group{Group: "nobody"}}}, 0, 3},
	} {
		c.req.Topic, c.req.Partition = topic, 1
		resp, err := a.Fetch(ctx, request(c.req))
		if err != nil {
			t.Errorf("fetch from %s: %v", c.name, err)
			continue
		}
		if len(resp.Msg.GetRecords()) != c.n || resp.Msg.GetNextOffset() != c.from+int64(c.n) || c.n > 0 && resp.Msg.GetRecords()[0].GetOffset() != c.from {
			t.Errorf("fetch from %s: %v", c.name, resp.Msg)
		}
	}
	_, err := a.Fetch(ctx, request(&rustmqpb.FetchRequest{Topic: topic, Partition: 1, Position: at(99)}))
	wantCode(t, "fetch beyond the end", err, mq.OffsetOutOfRange)
	if e := detailOf(t, err); e.GetTopic() != topic || e.GetPartition() != 1 {
		t.Errorf("the detail names %s/%d", e.GetTopic(), e.GetPartition())
	}
	_, err = a.Fetch(ctx, request(&rustmqpb.FetchRequest{Topic: topic, Partition: 5}))
	wantCode(t, "fetch of a partition that is not there", err, mq.UnknownTopicOrPartition)
}

func unaryGroups(ctx context.Context, t *testing.T, a api, topic, group string) {
	t.Helper()
	if _, err := a.CommitOffsets(ctx, request(&rustmqpb.CommitOffsetsRequest{Group: group, Offsets: []*rustmqpb.PartitionOffset{{Topic: topic, Partition: 1, NextOffset: 2}}})); err != nil {
		t.Fatal(err)
	}
	fetched, err := a.Fetch(ctx, request(&rustmqpb.FetchRequest{Topic: topic, Partition: 1, Position: &rustmqpb.Position{At: &rustmqpb.Position_Group{Group: group}}}))
	if err != nil || len(fetched.Msg.GetRecords()) != 1 {
		t.Errorf("fetch from where a group goes on: %v, %v", fetched, err)
	}
	d, err := a.DescribeGroup(ctx, request(&rustmqpb.DescribeGroupRequest{Group: group}))
	if err != nil || len(d.Msg.GetPartitions()) != 1 || d.Msg.GetPartitions()[0].GetLagRecords() != 1 || d.Msg.GetPartitions()[0].GetCommittedOffset() != 2 {
		t.Errorf("describe group: %v, %v", d, err)
	}
	listed, err := a.ListGroups(ctx, request(&rustmqpb.ListGroupsRequest{}))
	if err != nil || !strings.Contains(listed.Msg.String(), group) {
		t.Errorf("list groups: %v, %v", listed, err)
	}
	for _, dry := range []bool{true, false} {
		reset, err := a.ResetOffsets(ctx, request(&rustmqpb.ResetOffsetsRequest{Group: group, Topic: topic, Position: at(100), DryRun: dry}))
		if err != nil || len(reset.Msg.GetOffsets()) != 2 || reset.Msg.GetOffsets()[1].GetNextOffset() != 3 {
			t.Errorf("reset: %v, %v", reset, err)
		}
	}
	if _, err := a.DeleteOffsets(ctx, request(&rustmqpb.DeleteOffsetsRequest{Group: group, Topic: topic, Partitions: []int32{0}})); err != nil {
		t.Error(err)
	}
	if _, err := a.AlterGroupConfigs(ctx, request(&rustmqpb.AlterGroupConfigsRequest{Group: group, Set: map[string]string{"consumer.session.timeout.ms": "50000"}})); err != nil {
		t.Error(err)
	}
	configs, err := a.DescribeGroupConfigs(ctx, request(&rustmqpb.DescribeGroupConfigsRequest{Group: group}))
	if err != nil || !slices.ContainsFunc(configs.Msg.GetConfigs(), func(c *rustmqpb.GroupConfig) bool {
		return c.GetKey() == "consumer.session.timeout.ms" && c.GetValue() == "50000" && !c.GetIsDefault()
	}) {
		t.Errorf("settings of the group: %v, %v", configs, err)
	}
	if _, err := a.DeleteGroup(ctx, request(&rustmqpb.DeleteGroupRequest{Group: group})); err != nil {
		t.Error(err)
	}
	_, err = a.DescribeGroup(ctx, request(&rustmqpb.DescribeGroupRequest{Group: group}))
	wantCode(t, "describe a group that is gone", err, mq.GroupIDNotFound)
}

func unaryTopics(ctx context.Context, t *testing.T, a api, topic string) {
	t.Helper()
	if _, err := a.AlterTopicConfigs(ctx, request(&rustmqpb.AlterTopicConfigsRequest{Topic: topic, Set: map[string]string{"retention.bytes": "1000"}, Unset: []string{"retention.ms"}})); err != nil {
		t.Error(err)
	}
	if _, err := a.CreatePartitions(ctx, request(&rustmqpb.CreatePartitionsRequest{Topic: topic, Total: 3})); err != nil {
		t.Error(err)
	}
	d, err := a.DescribeTopic(ctx, request(&rustmqpb.DescribeTopicRequest{Topic: topic}))
	if err != nil || len(d.Msg.GetPartitions()) != 3 || d.Msg.GetPartitions()[1].GetHighWatermark() != 3 || d.Msg.GetPartitions()[1].GetLeader() != 1 {
		t.Errorf("describe: %v, %v", d, err)
	}
	found := false
	for _, c := range d.Msg.GetConfigs() {
		found = found || c.GetKey() == "retention.bytes" && c.GetValue() == "1000" && !c.GetIsDefault()
	}
	if !found {
		t.Errorf("settings: %v", d.Msg.GetConfigs())
	}
	offsets, err := a.ListOffsets(ctx, request(&rustmqpb.ListOffsetsRequest{Topic: topic, Position: &rustmqpb.Position{At: &rustmqpb.Position_Edge{Edge: rustmqpb.Edge_EDGE_LATEST}}}))
	if err != nil || len(offsets.Msg.GetOffsets()) != 3 || offsets.Msg.GetOffsets()[1].GetOffset() != 3 {
		t.Errorf("list offsets: %v, %v", offsets, err)
	}
	trimmed, err := a.DeleteRecords(ctx, request(&rustmqpb.DeleteRecordsRequest{Topic: topic, Partition: 1, BeforeOffset: 2}))
	if err != nil || trimmed.Msg.GetLogStartOffset() != 2 {
		t.Errorf("delete records: %v, %v", trimmed, err)
	}
	listed, err := a.ListTopics(ctx, request(&rustmqpb.ListTopicsRequest{}))
	if err != nil || !strings.Contains(listed.Msg.String(), topic) {
		t.Errorf("list: %v, %v", listed, err)
	}
	about, err := a.DescribeCluster(ctx, request(&rustmqpb.DescribeClusterRequest{}))
	if err != nil || about.Msg.GetNodeId() != 1 || len(about.Msg.GetBrokers()) != 1 || about.Msg.GetClusterId() == "" || !strings.HasPrefix(about.Msg.GetSoftware(), "rustmq ") {
		t.Errorf("describe cluster: %v, %v", about, err)
	}
	if _, err := a.DeleteTopic(ctx, request(&rustmqpb.DeleteTopicRequest{Topic: topic})); err != nil {
		t.Error(err)
	}
	_, err = a.DescribeTopic(ctx, request(&rustmqpb.DescribeTopicRequest{Topic: topic}))
	wantCode(t, "describe a topic that is gone", err, mq.UnknownTopicOrPartition)
	if connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("describe a topic that is gone: %v", connect.CodeOf(err))
	}
}

// post is what curl does.
func post(t *testing.T, n *nodetest.Live, procedure, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url(n)+procedure, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := overHTTP1(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// TestAnyNodeServesWhatOthersLead asks each of three nodes for what all of them lead and coordinate.
func TestAnyNodeServesWhatOthersLead(t *testing.T) {
	c := startCluster(t)
	ctx := deadline(t)
	createTopic(ctx, t, newAPI(overHTTP2(t), url(c.Nodes[0].Live)), "orders", 6)
	total := 0
	for i, m := range c.Nodes {
		a := newAPI(overHTTP2(t), url(m.Live), connect.WithGRPC())
		about, err := a.DescribeCluster(ctx, request(&rustmqpb.DescribeClusterRequest{}))
		if err != nil || int(about.Msg.GetNodeId()) != i+1 {
			t.Fatalf("node %d: %v, %v", i+1, about, err)
		}
		req := &rustmqpb.ProduceRequest{Topic: "orders"}
		for p := range int32(6) {
			r := textRecord(fmt.Sprint(i))
			r.Partition = &p
			req.Records = append(req.Records, r)
		}
		resp, err := a.Produce(ctx, request(req))
		if err != nil || resp.Msg.GetFailed() != 0 {
			t.Fatalf("node %d: %v, %v", i+1, resp, err)
		}
		total++
		d, err := a.DescribeTopic(ctx, request(&rustmqpb.DescribeTopicRequest{Topic: "orders"}))
		if err != nil {
			t.Fatal(err)
		}
		leaders := map[int32]bool{}
		for _, p := range d.Msg.GetPartitions() {
			leaders[p.GetLeader()] = true
			if p.GetHighWatermark() != int64(total) {
				t.Errorf("node %d says of %v, want a watermark of %d", i+1, p, total)
			}
		}
		if len(leaders) != 3 {
			t.Errorf("leaders: %v", leaders)
		}
		for p := range int32(6) {
			got, err := a.Fetch(ctx, request(&rustmqpb.FetchRequest{Topic: "orders", Partition: p}))
			if err != nil || len(got.Msg.GetRecords()) != total {
				t.Errorf("node %d, partition %d: %v, %v", i+1, p, got, err)
			}
		}
		if _, err := a.CommitOffsets(ctx, request(&rustmqpb.CommitOffsetsRequest{Group: "g", Offsets: []*rustmqpb.PartitionOffset{{Topic: "orders", NextOffset: int64(i)}}})); err != nil {
			t.Errorf("node %d: %v", i+1, err)
		}
	}
}

// TestHostileRequestsAreRefusedByName: what is wrong is named, and nothing of the request is done.
func TestHostileRequestsAreRefusedByName(t *testing.T) {
	n := startNode(t)
	ctx := deadline(t)
	a := newAPI(overHTTP2(t), url(n))
	createTopic(ctx, t, a, "orders", 1)
	many := &rustmqpb.ProduceRequest{Topic: "orders", Records: make([]*rustmqpb.ProduceRecord, 10_001)}
	for i := range many.Records {
		many.Records[i] = &rustmqpb.ProduceRecord{}
	}
	topics := &rustmqpb.ProduceRequest{}
	for i := range 101 {
		topics.Records = append(topics.Records, &rustmqpb.ProduceRecord{Topic: fmt.Sprint("t", i)})
	}
	good := textRecord("good")
	for name, c := range map[string]struct {
		req  *rustmqpb.ProduceRequest
		code mq.Code
	}{
		"no records":        {&rustmqpb.ProduceRequest{Topic: "orders"}, mq.InvalidRequest},
		"too many records":  {many, mq.RecordListTooLarge},
		"too many topics":   {topics, mq.InvalidRequest},
		"no topic":          {&rustmqpb.ProduceRequest{Records: []*rustmqpb.ProduceRecord{good}}, mq.InvalidTopic},
		"a bad topic":       {&rustmqpb.ProduceRequest{Topic: "a/b", Records: []*rustmqpb.ProduceRecord{good}}, mq.InvalidTopic},
		"a bad durability":  {&rustmqpb.ProduceRequest{Topic: "orders", Durability: 9, Records: []*rustmqpb.ProduceRecord{good}}, mq.InvalidRequiredAcks},
		"a bad partition":   {&rustmqpb.ProduceRequest{Topic: "orders", Records: []*rustmqpb.ProduceRecord{good, {Partition: new(int32(-1))}}}, mq.InvalidPartitions},
		"before 1970":       {&rustmqpb.ProduceRequest{Topic: "orders", Records: []*rustmqpb.ProduceRecord{good, {Timestamp: &timestamppb.Timestamp{Seconds: -1}}}}, mq.InvalidTimestamp},
		"an absurd instant": {&rustmqpb.ProduceRequest{Topic: "orders", Records: []*rustmqpb.ProduceRecord{good, {Timestamp: &timestamppb.Timestamp{Seconds: 1 << 60}}}}, mq.InvalidTimestamp},
	} {
		_, err := a.Produce(ctx, request(c.req))
		wantCode(t, name, err, c.code)
	}
	for name, req := range map[string]*rustmqpb.FetchRequest{
		"a negative partition": {Topic: "orders", Partition: -1},
		"a negative offset":    {Topic: "orders", Position: at(-1)},
		"a bad edge":           {Topic: "orders", Position: &rustmqpb.Position{At: &rustmqpb.Position_Edge{Edge: 7}}},
		"a bad isolation":      {Topic: "orders", Isolation: 7},
		"too long a wait":      {Topic: "orders", MaxWait: durationpb.New(time.Hour)},
		"a negative wait":      {Topic: "orders", MaxWait: durationpb.New(-1)},
		"too many bytes":       {Topic: "orders", MaxBytes: 1 << 30},
		"negative records":     {Topic: "orders", MaxRecords: -1},
	} {
		_, err := a.Fetch(ctx, request(req))
		wantCode(t, name, err, mq.InvalidRequest)
	}
	_, err := a.CreateTopic(ctx, request(&rustmqpb.CreateTopicRequest{Topic: "x", Replicas: 70_000}))
	wantCode(t, "replicas", err, mq.InvalidReplicationFactor)
	_, err = a.CreateTopic(ctx, request(&rustmqpb.CreateTopicRequest{Topic: "x", Partitions: -5}))
	wantCode(t, "partitions", err, mq.InvalidPartitions)
	_, err = a.DescribeGroup(ctx, request(&rustmqpb.DescribeGroupRequest{Group: strings.Repeat("g", 2000)}))
	wantCode(t, "a long group", err, mq.InvalidGroupID)

	large := textRecord(strings.Repeat("x", 9<<20))
	if _, err := a.Produce(ctx, request(&rustmqpb.ProduceRequest{Topic: "orders", Records: []*rustmqpb.ProduceRecord{large}})); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("a request of 9 MiB: %v", err)
	}
	two := textRecord(strings.Repeat("x", 2<<20)) // the request is allowed, the topic takes 1 MiB
	resp, err := a.Produce(ctx, request(&rustmqpb.ProduceRequest{Topic: "orders", Records: []*rustmqpb.ProduceRecord{two}}))
	if err != nil || resp.Msg.GetResults()[0].GetError().GetCode() != rustmqpb.ErrorCode_ERROR_CODE_MESSAGE_TOO_LARGE {
		t.Errorf("a record of 2 MiB: %v", err)
	}
	for body, want := range map[string]int{`{"topic":"orders","records":[{"valueText":"x"`: 400, `{"topic":"orders","records":[{"valueTxt":"x"}]}`: 400, `[]`: 400, ``: 400} {
		if status, answer := post(t, n, "/rustmq.v1.ProduceService/Produce", body); status != want || strings.Contains(body, "valueTxt") && !strings.Contains(answer, "valueTxt") {
			t.Errorf("%s: %d %s", body, status, answer)
		}
	}
	got, err := a.Fetch(ctx, request(&rustmqpb.FetchRequest{Topic: "orders", MaxWait: durationpb.New(0)}))
	if err != nil || len(got.Msg.GetRecords()) != 0 {
		t.Errorf("of requests that were refused something was produced: %v, %v", got, err)
	}
}

// TestJSONOverHTTP1IsWhatCurlSends, and errors are JSON with the detail in it.
func TestJSONOverHTTP1IsWhatCurlSends(t *testing.T) {
	n := startNode(t)
	status, answer := post(t, n, "/rustmq.v1.TopicService/CreateTopic", `{"topic":"orders","partitions":1}`)
	if status != 200 || !strings.Contains(answer, `"partitions":1`) {
		t.Fatalf("%d %s", status, answer)
	}
	status, answer = post(t, n, "/rustmq.v1.ProduceService/Produce", `{"topic":"orders","records":[{"keyText":"a","valueText":"hello"},{"value":"d29ybGQ="}]}`)
	var produced rustmqpb.ProduceResponse
	if err := protojson.Unmarshal([]byte(answer), &produced); err != nil || status != 200 || len(produced.GetResults()) != 2 || produced.GetFailed() != 0 {
		t.Fatalf("%d %s: %v", status, answer, err)
	}
	status, answer = post(t, n, "/rustmq.v1.ConsumeService/Fetch", `{"topic":"orders","text":true,"maxWait":"1s"}`)
	if status != 200 || !strings.Contains(answer, `"valueText":"hello"`) || !strings.Contains(answer, `"valueText":"world"`) || !strings.Contains(answer, `"nextOffset":"2"`) {
		t.Errorf("%d %s", status, answer)
	}
	status, answer = post(t, n, "/rustmq.v1.TopicService/DescribeTopic", `{"topic":"nothing"}`)
	if status != 404 || !strings.Contains(answer, `"code":"not_found"`) || !strings.Contains(answer, `ERROR_CODE_UNKNOWN_TOPIC_OR_PARTITION`) {
		t.Errorf("%d %s", status, answer)
	}
}

// TestPagesOfOthersCannotUseABrowser: a page of another origin gets nothing, nor does one whose name was made to point here after it was loaded. Who is no browser may use names.
func TestPagesOfOthersCannotUseABrowser(t *testing.T) {
	n := startNode(t)
	_, port, err := net.SplitHostPort(n.AdminAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		host, origin string
		status       int
	}{
		{"127.0.0.1:" + port, "http://evil.example", http.StatusForbidden},
		{"evil.example:" + port, "http://evil.example:" + port, http.StatusForbidden},
		{"127.0.0.1.evil.example", "http://127.0.0.1.evil.example", http.StatusForbidden},
		{"localhost.evil.example:" + port, "http://localhost.evil.example:" + port, http.StatusForbidden},
		{"127.0.0.1:" + port, "http://127.0.0.1:" + port, http.StatusOK},
		{"[::1]:" + port, "http://[::1]:" + port, http.StatusOK},
		{"localhost:" + port, "http://localhost:" + port, http.StatusOK},
		{"broker.example:" + port, "", http.StatusOK},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url(n)+"/rustmq.v1.TopicService/ListTopics", strings.NewReader(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = c.host
		req.Header.Set("Content-Type", "application/json")
		if c.origin != "" {
			req.Header.Set("Origin", c.origin)
		}
		resp, err := overHTTP1(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("a page of %q at %q: status %d, want %d", c.origin, c.host, resp.StatusCode, c.status)
		}
	}
}

// TestNativeClientsSeeWhatTheGatewayProduces: keys go where Kafka's clients and ours have them.
func TestNativeClientsSeeWhatTheGatewayProduces(t *testing.T) {
	n := startNode(t)
	ctx := deadline(t)
	a := newAPI(overHTTP2(t), url(n))
	createTopic(ctx, t, a, "orders", 8)
	cl, err := n.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for i := range 20 {
		key := fmt.Sprint("key-", i)
		rec := &client.Record{Topic: "orders", Key: []byte(key), Value: []byte("native")}
		if err := cl.ProduceSync(ctx, rec).FirstErr(); err != nil {
			t.Fatal(err)
		}
		resp, err := a.Produce(ctx, request(&rustmqpb.ProduceRequest{Topic: "orders", Records: []*rustmqpb.ProduceRecord{{KeyAs: &rustmqpb.ProduceRecord_KeyText{KeyText: key}}}}))
		if err != nil {
			t.Fatal(err)
		}
		if got := resp.Msg.GetResults()[0].GetRecord(); got.GetPartition() != rec.Partition || got.GetOffset() != int64(rec.Offset)+1 {
			t.Errorf("%s: %v, and %d/%d natively", key, got, rec.Partition, rec.Offset)
		}
	}
}

// TestCallsAreCounted by procedure and outcome, at /metrics, on a listener that speaks HTTP/1.1 and HTTP/2.
func TestCallsAreCounted(t *testing.T) {
	n := startNode(t)
	ctx := deadline(t)
	a := newAPI(overHTTP2(t), url(n))
	createTopic(ctx, t, a, "orders", 1)
	_, err := a.DescribeTopic(ctx, request(&rustmqpb.DescribeTopicRequest{Topic: "nothing"}))
	wantCode(t, "describe", err, mq.UnknownTopicOrPartition)
	post(t, n, "/rustmq.v1.ProduceService/Produce", "{")
	for _, client := range []*http.Client{overHTTP1(t), overHTTP2(t)} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url(n)+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		page, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			`rustmq_api_calls_total{code="NONE",procedure="/rustmq.v1.TopicService/CreateTopic"} 1`,
			`rustmq_api_calls_total{code="UNKNOWN_TOPIC_OR_PARTITION",procedure="/rustmq.v1.TopicService/DescribeTopic"} 1`,
			`rustmq_api_calls_total{code="PROTOCOL_VIOLATION",procedure="/rustmq.v1.ProduceService/Produce"} 1`,
			"rustmq_api_calls 0",
		} {
			if !strings.Contains(string(page), want) {
				t.Errorf("%s: %s is missing", resp.Proto, want)
			}
		}
	}
}

// TestOneCallersRecordsDoNotFailThoseOfOthers: a broker refuses a batch as a whole, and those of all callers are in one.
func TestOneCallersRecordsDoNotFailThoseOfOthers(t *testing.T) {
	n := startNode(t)
	ctx := deadline(t)
	a := newAPI(overHTTP2(t), url(n))
	create := &rustmqpb.CreateTopicRequest{Topic: "prices", Partitions: 1, Configs: map[string]string{"cleanup.policy": "compact"}}
	if _, err := a.CreateTopic(ctx, request(create)); err != nil {
		t.Fatal(err)
	}
	var calls sync.WaitGroup
	for i := range 200 {
		calls.Go(func() {
			rec, want := &rustmqpb.ProduceRecord{}, mq.InvalidRecord
			if i%10 != 0 {
				rec.KeyAs, want = &rustmqpb.ProduceRecord_KeyText{KeyText: "gold"}, mq.None
			}
			resp, err := a.Produce(ctx, request(&rustmqpb.ProduceRequest{Topic: "prices", Records: []*rustmqpb.ProduceRecord{rec}}))
			if err != nil {
				t.Error(err)
				return
			}
			if got := resp.Msg.GetResults()[0].GetError(); mq.Code(got.GetCode()) != want {
				t.Errorf("call %d: %v, want %v", i, got, want)
			}
		})
	}
	calls.Wait()
}
