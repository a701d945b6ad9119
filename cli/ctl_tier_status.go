package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// nodePatience is how long one broker is waited for that is said to be alive: the status says then that it did not answer.
const nodePatience = 5 * time.Second

func (a *app) tierStatusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "show what lies in the object store, what waits to, and what goes wrong there", Action: a.tierStatus,
		Description: "It is told by the metadata and by the brokers; the bucket is not asked: rustmq ctl tier scrub compares it. Records are offsets from the log start on.\n" +
			"What nodes count they count since their processes began.\n\n" +
			"Examples:\n  rustmq ctl tier status\n  rustmq ctl tier status --topic orders -o json",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "topic", Usage: "only this `TOPIC`, beside the cluster"},
			outputFlag(),
		}, connectFlags("key", "key-file")...),
	}
}

// tierReport is what lies in the object store.
type tierReport struct {
	Cluster tieredCluster `json:"cluster"`
	Topics  []tieredTopic `json:"topics"`
	Nodes   []tierNode    `json:"nodes"`
}

type tieredCluster struct {
	AnsweredBy     int32           `json:"answered_by"`
	Objects        int64           `json:"objects"`
	SizeBytes      int64           `json:"size_bytes"`
	Ranges         int64           `json:"ranges"`
	GarbageObjects int64           `json:"garbage_objects"`
	GarbageBytes   int64           `json:"garbage_bytes"`
	GraceMs        int64           `json:"garbage_grace_ms"`
	DeletedObjects int64           `json:"deleted_objects"`
	DeletedBytes   int64           `json:"deleted_bytes"`
	Copy           *metadataCopy   `json:"metadata_copy"`
	Failing        []failingChores `json:"failing"`
}

type metadataCopy struct {
	Index     uint64 `json:"index"`
	AgeMs     int64  `json:"age_ms"`
	SizeBytes int64  `json:"size_bytes"`
	Behind    uint64 `json:"behind_commands"`
}

type failingChores struct {
	Chore string `json:"chore"`
	Error string `json:"error"`
}

type tieredTopic struct {
	Topic      string     `json:"topic"`
	Partitions int32      `json:"partitions"`
	Objects    int64      `json:"objects"`
	Ranges     int64      `json:"ranges"`
	SizeBytes  int64      `json:"size_bytes"`
	Records    int64      `json:"tiered_records"`
	Oldest     *time.Time `json:"oldest"`
	Newest     *time.Time `json:"newest"`
	Leaderless int32      `json:"leaderless_partitions"`
	// Null while some of it has no leader, or a broker that may lead some does not say.
	LagRecords *int64 `json:"lag_records"`
	LagBytes   *int64 `json:"lag_bytes"`
	LagAgeMs   *int64 `json:"lag_age_ms"`
}

type tierNode struct {
	ID                int32  `json:"node_id"`
	State             string `json:"state"`
	Answered          bool   `json:"answered"`
	LagRecords        int64  `json:"lag_records"`
	LagBytes          int64  `json:"lag_bytes"`
	UploadedObjects   int64  `json:"uploaded_objects"`
	UploadedBytes     int64  `json:"uploaded_bytes"`
	UploadingObjects  int64  `json:"uploading_objects"`
	UploadingBytes    int64  `json:"uploading_bytes"`
	OrphanedObjects   int64  `json:"orphaned_objects"`
	MergedRanges      int64  `json:"merged_ranges"`
	MergedObjects     int64  `json:"merged_objects"`
	MergeReadBytes    int64  `json:"merge_read_bytes"`
	MergeWrittenBytes int64  `json:"merge_written_bytes"`
	Failing           bool   `json:"failing"`
	FailedRequests    int64  `json:"failed_requests"`
	LastError         string `json:"last_error"`
	LastErrorAgeMs    int64  `json:"last_error_age_ms"`
}

func (a *app) tierStatus(c *cli.Context) error {
	if err := checkOutput(c); err != nil {
		return err
	}
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	return a.withClient(c, func(ctx context.Context, cl *client.Client) error {
		r := tierReport{Topics: []tieredTopic{}, Nodes: []tierNode{}}
		req := &adminpb.TierStatusRequest{Topic: c.String("topic")}
		for more := true; more; more = req.GetPage() != "" {
			resp, err := a.operate(ctx, cl, &adminpb.Request{Kind: &adminpb.Request_TierStatus{TierStatus: req}}, true)
			if err != nil {
				return err
			}
			r.add(resp.GetTierStatus())
			req.Page = resp.GetTierStatus().GetNextPage()
		}
		if err := a.tierNodes(ctx, cl, c.String("topic"), &r); err != nil {
			return err
		}
		return a.show(c, r, r.table)
	})
}

func (r *tierReport) add(page *adminpb.TierStatusResponse) {
	if c := page.GetCluster(); c != nil {
		r.Cluster = tieredCluster{
			AnsweredBy: c.GetAnsweredBy(), Objects: c.GetObjects(), SizeBytes: c.GetBytes(), Ranges: c.GetRanges(), GarbageObjects: c.GetGarbageObjects(),
			GarbageBytes: c.GetGarbageBytes(), GraceMs: c.GetGraceMs(), DeletedObjects: c.GetDeletedObjects(), DeletedBytes: c.GetDeletedBytes(), Failing: []failingChores{},
		}
		if m := c.GetCopy(); m != nil {
			r.Cluster.Copy = &metadataCopy{m.GetIndex(), m.GetAgeMs(), m.GetBytes(), m.GetBehind()}
		}
		for _, f := range c.GetFailing() {
			r.Cluster.Failing = append(r.Cluster.Failing, failingChores{f.GetChore(), f.GetError()})
		}
	}
	for _, t := range page.GetTopics() {
		r.Topics = append(r.Topics, tieredTopic{
			Topic: t.GetTopic(), Partitions: t.GetPartitions(), Objects: t.GetObjects(), Ranges: t.GetRanges(), SizeBytes: t.GetBytes(), Records: t.GetRecords(),
			Oldest: whenMs(t.GetOldestMs()), Newest: whenMs(t.GetNewestMs()), Leaderless: t.GetLeaderless(),
		})
	}
}

// whenMs is a time of milliseconds since 1970, nil for a negative one.
func whenMs(ms int64) *time.Time {
	if ms < 0 {
		return nil
	}
	return new(time.UnixMilli(ms).UTC())
}

// tierNodes asks the brokers, and adds up by topic what waits at them.
func (a *app) tierNodes(ctx context.Context, cl *client.Client, topic string, r *tierReport) error {
	resp, err := a.operate(ctx, cl, &adminpb.Request{Kind: &adminpb.Request_ListNodes{ListNodes: &adminpb.ListNodesRequest{}}}, true)
	if err != nil {
		return err
	}
	lags, complete := make(map[string]*adminpb.TierLag), true
	for _, n := range resp.GetListNodes().GetNodes() {
		line := tierNode{ID: n.GetNodeId(), State: n.GetState()}
		if n.GetLeaders() > 0 || n.GetState() != "fenced" {
			err := line.ask(ctx, cl, topic, lags)
			if line.Answered = err == nil; err != nil {
				complete = false
				fmt.Fprintf(a.stderr, "rustmq: node %d does not say what it does with the object store: %v\n", line.ID, err)
			}
		}
		r.Nodes = append(r.Nodes, line)
	}
	for i := range r.Topics {
		if complete && r.Topics[i].Leaderless == 0 {
			lag := lags[r.Topics[i].Topic]
			r.Topics[i].LagRecords, r.Topics[i].LagBytes, r.Topics[i].LagAgeMs = new(lag.GetRecords()), new(lag.GetBytes()), new(lag.GetAgeMs())
		}
	}
	return nil
}

// ask asks one broker, and adds to lags what waits there.
func (n *tierNode) ask(ctx context.Context, cl *client.Client, topic string, lags map[string]*adminpb.TierLag) error {
	ctx, cancel := context.WithTimeout(ctx, nodePatience)
	defer cancel()
	req := &adminpb.TierNodeRequest{Topic: topic}
	for more := true; more; more = req.GetPage() != "" {
		resp, err := adminpb.Ask(&adminpb.Request{Kind: &adminpb.Request_TierNode{TierNode: req}}, func(message []byte) ([]byte, error) {
			return cl.OperateAt(ctx, mq.NodeID(n.ID), message)
		})
		if err != nil {
			return err
		}
		s := resp.GetTierNode()
		n.UploadedObjects, n.UploadedBytes, n.UploadingObjects, n.UploadingBytes = s.GetUploadedObjects(), s.GetUploadedBytes(), s.GetUploadingObjects(), s.GetUploadingBytes()
		n.OrphanedObjects, n.MergedRanges, n.MergedObjects = s.GetOrphanedObjects(), s.GetMergedRanges(), s.GetMergedObjects()
		n.MergeReadBytes, n.MergeWrittenBytes = s.GetMergeReadBytes(), s.GetMergeWrittenBytes()
		n.Failing, n.FailedRequests, n.LastError, n.LastErrorAgeMs = s.GetFailing(), s.GetFailedRequests(), s.GetLastError(), s.GetLastErrorAgeMs()
		for _, lag := range s.GetLags() {
			n.LagRecords, n.LagBytes = n.LagRecords+lag.GetRecords(), n.LagBytes+lag.GetBytes()
			sum := lags[lag.GetTopic()]
			if sum == nil {
				sum = &adminpb.TierLag{}
				lags[lag.GetTopic()] = sum
			}
			sum.Records, sum.Bytes, sum.AgeMs = sum.GetRecords()+lag.GetRecords(), sum.GetBytes()+lag.GetBytes(), max(sum.GetAgeMs(), lag.GetAgeMs())
		}
		req.Page = s.GetNextPage()
	}
	return nil
}

func (r *tierReport) table(w io.Writer) {
	c := &r.Cluster
	row(w, "OBJECTS", fmt.Sprintf("%d, %s, %d ranges", c.Objects, humanBytes(c.SizeBytes), c.Ranges))
	row(w, "GARBAGE", fmt.Sprintf("%d, %s, deleted after %s and a copy of the metadata", c.GarbageObjects, humanBytes(c.GarbageBytes), ms(c.GraceMs)))
	row(w, "DELETED", fmt.Sprintf("%d, %s", c.DeletedObjects, humanBytes(c.DeletedBytes)))
	copied := "none that node " + fmt.Sprint(c.AnsweredBy) + " knows of"
	if m := c.Copy; m != nil {
		copied = fmt.Sprintf("%s old, %s, without the last %d commands", ms(m.AgeMs), humanBytes(m.SizeBytes), m.Behind)
	}
	row(w, "METADATA COPY", copied)
	for _, f := range c.Failing {
		row(w, "! "+f.Chore, f.Error)
	}
	row(w)
	row(w, "TOPIC", "PARTITIONS", "OBJECTS", "RANGES", "SIZE", "RECORDS", "OLDEST", "NEWEST", "LAG RECORDS", "LAG SIZE", "LAG AGE")
	for i := range r.Topics {
		t := &r.Topics[i]
		lag := [3]string{"?", "?", "?"}
		if t.LagRecords != nil {
			lag = [3]string{fmt.Sprint(*t.LagRecords), humanBytes(*t.LagBytes), ms(*t.LagAgeMs)}
		}
		row(w, t.Topic, t.Partitions, t.Objects, t.Ranges, humanBytes(t.SizeBytes), t.Records, whenText(t.Oldest), whenText(t.Newest), lag[0], lag[1], lag[2])
	}
	row(w)
	row(w, "NODE", "STATE", "UPLOADED", "UPLOADING", "ORPHANED", "LAG RECORDS", "LAG SIZE", "MERGED RANGES", "INTO OBJECTS", "FAILED REQUESTS", "LAST ERROR")
	for i := range r.Nodes {
		n := &r.Nodes[i]
		if !n.Answered {
			row(w, n.ID, n.State, "?", "?", "?", "?", "?", "?", "?", "?", "?")
			continue
		}
		last := "none"
		if n.LastError != "" {
			last = fmt.Sprintf("%s ago: %s", ms(n.LastErrorAgeMs), n.LastError)
		}
		row(w, n.ID, n.State, fmt.Sprintf("%d, %s", n.UploadedObjects, humanBytes(n.UploadedBytes)), fmt.Sprintf("%d, %s", n.UploadingObjects, humanBytes(n.UploadingBytes)),
			n.OrphanedObjects, n.LagRecords, humanBytes(n.LagBytes), n.MergedRanges, n.MergedObjects, n.FailedRequests, last)
	}
}

// ms is a time for people.
func ms(n int64) string { return (time.Duration(n) * time.Millisecond).Round(time.Second).String() }

func whenText(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Format(time.RFC3339)
}
