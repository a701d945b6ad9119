package cli

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestGroupIsResetDescribedAndDeleted is the life of a group of which nobody is a member.
func TestGroupIsResetDescribedAndDeleted(t *testing.T) {
	n := startNode(t)
	n.must("", "topic", "create", "orders", "--partitions", "2")
	n.must("one\ntwo\nthree\n", "produce", "orders", "--partition", "1")
	if out := n.must("", "group", "list", "-o", "json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("groups before there are any: %s", out)
	}
	dry := n.must("", "group", "reset", "billing", "--topic", "orders", "--to", "2", "--dry-run", "-o", "json")
	var lines []resetLine
	if err := json.Unmarshal([]byte(dry), &lines); err != nil || len(lines) != 2 || lines[0].To != 0 || lines[1].To != 2 || lines[1].From != nil {
		t.Errorf("%v, %s", err, dry)
	}
	if out := n.must("", "group", "list", "-o", "json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("a dry run made a group: %s", out)
	}
	n.must("", "group", "reset", "billing", "--topic", "orders", "--to", "2")
	var g groupText
	if err := json.Unmarshal([]byte(n.must("", "group", "describe", "billing", "-o", "json")), &g); err != nil {
		t.Fatal(err)
	}
	if g.Group != "billing" || g.State != "Empty" || len(g.Partitions) != 2 || *g.Partitions[1].Committed != 2 || *g.Partitions[1].End != 3 || *g.Partitions[1].Lag != 1 || *g.Partitions[0].Lag != 0 {
		t.Errorf("%+v", g)
	}
	if table := n.must("", "group", "describe", "billing"); !strings.Contains(table, "LAG") || !strings.Contains(table, "orders") {
		t.Error(table)
	}
	n.must("", "group", "delete", "billing")
	for _, line := range [][]string{{"group", "describe", "billing"}, {"group", "delete", "billing"}} {
		if status, _, stderr := n.run("", line...); status != exitFailed || !strings.Contains(stderr, "GROUP_ID_NOT_FOUND") {
			t.Errorf("%v: status %d, %s", line, status, stderr)
		}
	}
	if status, _, stderr := n.run("", "group", "reset", "billing", "--topic", "gone", "--to", "end"); status != exitFailed || !strings.Contains(stderr, "gone") {
		t.Errorf("reset on a topic that is not there: status %d, %s", status, stderr)
	}
	if status, _, _ := n.run("", "group", "reset", "billing", "--topic", "orders"); status != exitUsage {
		t.Errorf("reset to nowhere: status %d", status)
	}
}

// TestGroupIsAltered sets and unsets what a group has for itself.
func TestGroupIsAltered(t *testing.T) {
	n := startNode(t)
	n.must("", "topic", "create", "orders")
	n.must("", "group", "reset", "billing", "--topic", "orders", "--to", "end")
	settings := func() map[string]configLine {
		t.Helper()
		var g groupText
		if err := json.Unmarshal([]byte(n.must("", "group", "describe", "billing", "-o", "json")), &g); err != nil {
			t.Fatal(err)
		}
		out := make(map[string]configLine)
		for _, c := range g.Configs {
			out[c.Key] = c
		}
		return out
	}
	if s := settings(); len(s) != 2 || s["consumer.session.timeout.ms"] != (configLine{"consumer.session.timeout.ms", "45000", true}) {
		t.Errorf("%v", s)
	}
	n.must("", "group", "alter", "billing", "--config", "consumer.session.timeout.ms=10000", "--config", "consumer.heartbeat.interval.ms=2000")
	n.must("", "group", "alter", "billing", "--unset", "consumer.heartbeat.interval.ms")
	if s := settings(); s["consumer.session.timeout.ms"].Value != "10000" || s["consumer.session.timeout.ms"].Default || s["consumer.heartbeat.interval.ms"].Value != "5000" {
		t.Errorf("%v", s)
	}
	if table := n.must("", "group", "describe", "billing"); !strings.Contains(table, "consumer.session.timeout.ms") {
		t.Error(table)
	}
	if status, _, stderr := n.run("", "group", "alter", "billing", "--config", "consumer.session.timeout.ms=1000"); status != exitFailed || !strings.Contains(stderr, "between 6000 and") {
		t.Errorf("below the node's bound: status %d, %s", status, stderr)
	}
	if status, _, _ := n.run("", "group", "alter", "billing"); status != exitUsage {
		t.Errorf("nothing to change: status %d", status)
	}
}
