package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
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

func mustIssue(t *testing.T, ca, node string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "node")
	mustCtl(t, "ca", "node", "--dir", ca, "--node-id", node, "--out", out)
	return out
}
