package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	"github.com/rustmq/rustmq/pki"
)

// ctl runs one command without a server.
func ctl(t *testing.T, line ...string) (status int, stdout, stderr string) {
	t.Helper()
	a, out, errs := testApp()
	status = a.run(t.Context(), append([]string{"rustmq", "ctl"}, line...))
	return status, out.String(), errs.String()
}

func mustCtl(t *testing.T, line ...string) string {
	t.Helper()
	status, stdout, stderr := ctl(t, line...)
	if status != exitDone || stderr != "" {
		t.Fatalf("ctl %v: status %d: %s", line, status, stderr)
	}
	return stdout
}

func TestAuthorityAndNodesFromTheCommandLine(t *testing.T) {
	dir := t.TempDir()
	ca, node := filepath.Join(dir, "ca"), filepath.Join(dir, "node2")
	var made authorityReport
	if err := json.Unmarshal([]byte(mustCtl(t, "ca", "init", "--dir", ca, "-o", "json")), &made); err != nil || len(made.ClusterID) != 22 || len(made.Fingerprint) != 64 {
		t.Fatalf("%+v, %v", made, err)
	}
	if _, err := os.Stat(made.CA); err != nil {
		t.Error(err)
	}
	var issued certificateReport
	out := mustCtl(t, "ca", "node", "--dir", ca, "--node-id", "2", "--host", "b.example", "--host", "10.0.0.2", "--out", node, "-o", "json")
	if err := json.Unmarshal([]byte(out), &issued); err != nil || issued.ClusterID != made.ClusterID || issued.NodeID != 2 || !slices.Contains(issued.Hosts, "10.0.0.2") {
		t.Fatalf("%+v, %v", issued, err)
	}
	for name, line := range map[string][]string{
		"is not empty":       {"ca", "init", "--dir", ca},
		"asked for":          {"ca", "node", "--dir", ca, "--node-id", "2", "--out", node},
		"not the certific":   {"ca", "node", "--dir", ca, "--node-id", "3", "--out", node, "--renew"},
		"has no ca.key":      {"ca", "node", "--dir", node, "--node-id", "3", "--out", filepath.Join(dir, "x")},
		"no such file":       {"ca", "node", "--dir", filepath.Join(dir, "none"), "--node-id", "3", "--out", filepath.Join(dir, "x")},
		"empty directory":    {"ca", "init", "--dir", node},
		"another authority":  {"ca", "node", "--dir", otherAuthority(t), "--node-id", "2", "--out", node, "--renew"},
		"others may read or": {"ca", "node", "--dir", openedAuthority(t), "--node-id", "2", "--out", filepath.Join(dir, "x")},
	} {
		if name == "is not empty" {
			name = "empty directory"
		}
		status, stdout, stderr := ctl(t, line...)
		if status != exitFailed || stdout != "" || !strings.Contains(stderr, name) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("ctl %v: status %d, %q, %q; want %q", line, status, stdout, stderr, name)
		}
	}
	if out := mustCtl(t, "ca", "node", "--dir", ca, "--node-id", "2", "--out", node, "--renew"); !strings.Contains(out, "good until") {
		t.Errorf("renewed: %s", out)
	}
}

func otherAuthority(t *testing.T) string {
	dir := filepath.Join(t.TempDir(), "ca")
	mustCtl(t, "ca", "init", "--dir", dir)
	return dir
}

func openedAuthority(t *testing.T) string {
	dir := otherAuthority(t)
	if err := os.Chmod(filepath.Join(dir, "ca.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestServeTakesTheClusterOfItsCertificate(t *testing.T) {
	ca, node := otherAuthority(t), filepath.Join(t.TempDir(), "node1")
	var issued certificateReport
	if err := json.Unmarshal([]byte(mustCtl(t, "ca", "node", "--dir", ca, "--node-id", "1", "--out", node, "-o", "json")), &issued); err != nil {
		t.Fatal(err)
	}
	n := startNode(t, "RUSTMQ_PKI_DIR="+node, "RUSTMQ_RPC_LISTEN=127.0.0.1:0", "RUSTMQ_CA="+filepath.Join(ca, "ca.crt"))
	if out := n.must("", "topic", "list", "-o", "json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("listed %s", out)
	}
	identity, err := os.ReadFile(filepath.Join(n.dir, "node.toml"))
	if err != nil || !strings.Contains(string(identity), issued.ClusterID) {
		t.Errorf("%s, %v: want cluster %s", identity, err, issued.ClusterID)
	}
	if n.stop() != exitDone {
		t.Error("it did not end well")
	}
	for why, dir := range map[string]string{
		"belongs to cluster":    mustIssue(t, otherAuthority(t), "1"),
		"is that of node 2":     mustIssue(t, ca, "2"),
		"there is no certifica": filepath.Join(t.TempDir(), "empty"),
	} {
		a, stdout, stderr := testApp("RUSTMQ_PKI_DIR=" + dir)
		status := a.run(t.Context(), []string{"rustmq", "serve", "--data-dir", n.dir, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"})
		if status != exitFailed || stdout.Len() > 0 || !strings.Contains(stderr.String(), why) {
			t.Errorf("%q: status %d, %s", why, status, stderr)
		}
	}
}

func TestRecoverChangesNothingThatRunsAndNothingUnasked(t *testing.T) {
	n := startNode(t)
	if status, stdout, stderr := ctl(t, "raft", "recover", "--data-dir", n.dir, "--yes"); status != exitFailed || stdout != "" || !strings.Contains(stderr, "stop the node first") {
		t.Errorf("it runs: status %d, %q, %q", status, stdout, stderr)
	}
	n.stop()
	status, stdout, stderr := ctl(t, "raft", "recover", "--data-dir", n.dir, "-o", "json")
	var last controllerLast
	if err := json.Unmarshal([]byte(stdout), &last); err != nil || status != exitFailed || last.Node != 1 || last.Index == 0 || !strings.Contains(stderr, "nothing was changed") {
		t.Errorf("not asked: status %d, %q, %q, %v", status, stdout, stderr, err)
	}
	for why, line := range map[string][]string{
		"one of several voters": {"raft", "recover", "--data-dir", n.dir, "--yes"},
		"no data directory":     {"raft", "recover", "--data-dir", t.TempDir()},
	} {
		if status, _, stderr := ctl(t, line...); status != exitFailed || !strings.Contains(stderr, why) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("ctl %v: status %d, %q", line, status, stderr)
		}
	}
}

func mustIssue(t *testing.T, ca, node string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "node")
	mustCtl(t, "ca", "node", "--dir", ca, "--node-id", node, "--out", out)
	return out
}

func TestNewNodeJoinsWithAToken(t *testing.T) {
	ca := otherAuthority(t)
	first := startNode(t, "RUSTMQ_PKI_DIR="+ca, "RUSTMQ_RPC_LISTEN=127.0.0.1:0")
	token := func(node string) string {
		return strings.TrimSpace(mustCtl(t, "ca", "join-token", "--pki", ca, "--rpc", first.nodes, "--node-id", node))
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token("2")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	second := startNode(t, "RUSTMQ_PKI_JOIN=@"+file, "RUSTMQ_NODE_ID=2", "RUSTMQ_RPC_LISTEN=127.0.0.1:0")
	if second.nodes == "" {
		t.Error("a node that joined has no listener for nodes")
	}
	second.must("", "topic", "list")
	identity, err := os.ReadFile(filepath.Join(second.dir, "node.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if s, found, err := pki.ReadSubject(ca); err != nil || !found || !strings.Contains(string(identity), s.Cluster.String()) {
		t.Errorf("node 2 is of another cluster: %s, %v", identity, err)
	}
	if out := mustCtl(t, "ca", "join-token", "--pki", filepath.Join(second.dir, "pki"), "--rpc", first.nodes, "--node-id", "3"); !strings.HasPrefix(out, "rustmq-join-1.") {
		t.Errorf("in the name of node 2: %s", out)
	}
	second.stop()
	serve := func(dir, token, node string) (int, string) {
		a, _, stderr := testApp("RUSTMQ_PKI_JOIN=" + token)
		status := a.run(t.Context(), []string{"rustmq", "serve", "--data-dir", dir, "--node-id", node, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"})
		return status, stderr.String()
	}
	for why, try := range map[string][3]string{
		"it was used, has expired": {filepath.Join(t.TempDir(), "a"), "@" + file, "2"},
		"is for node 4":            {filepath.Join(t.TempDir(), "b"), token("4"), "5"},
		"begins with":              {filepath.Join(t.TempDir(), "c"), "nonsense", "2"},
		"has a certificate of":     {startedAlone(t), token("1"), "1"},
	} {
		if status, stderr := serve(try[0], try[1], try[2]); status != exitFailed || !strings.Contains(stderr, why) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: status %d, %s", why, status, stderr)
		}
	}
	a, stdout, _ := testApp("RUSTMQ_PKI_JOIN=" + token("6"))
	if status := a.run(t.Context(), []string{"rustmq", "config", "print"}); status != exitDone || strings.Contains(stdout.String(), "rustmq-join-1.") {
		t.Errorf("status %d; the configuration shows the token: %s", status, stdout)
	}
}

// startedAlone is the data directory of a node of another cluster.
func startedAlone(t *testing.T) string {
	t.Helper()
	n := startNode(t)
	if n.nodes != "" {
		t.Error("a node that is alone listens for others")
	}
	n.stop()
	return n.dir
}

func TestAnswerOfANodeThatIsCutOffIsToldOnce(t *testing.T) {
	a, _, errs := testApp()
	a.warnOfAge(nil)
	a.warnOfAge(&adminpb.Freshness{AnsweredBy: 3, AgeMs: 400})
	if errs.Len() != 0 {
		t.Errorf("of one who is not: %s", errs)
	}
	for range 2 {
		a.warnOfAge(&adminpb.Freshness{AnsweredBy: 3, AgeMs: 75_400, CutOff: true})
	}
	if got := errs.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "node 3 has reached no leading controller for 1m15s") {
		t.Errorf("it says %q", got)
	}
	var table strings.Builder
	clusterStatus{AnsweredBy: 3, Controller: -1, MetadataAge: 75_400, CutOff: true}.table(&table)
	if !strings.Contains(table.String(), "cut off 1m15s ago") {
		t.Errorf("the table:\n%s", &table)
	}
}
