package cli

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A node is lost with its data directory; the bucket is verified, a new node is made of it, and serves what the old one had. Damage of an object is told with its place.
func TestBucketIsVerifiedAndRestoredFrom(t *testing.T) {
	bucket := filepath.Join(t.TempDir(), "bucket")
	settings := []string{"RUSTMQ_OBJECT_STORE_URL=file://" + bucket, "RUSTMQ_OBJECT_STORE_FLUSH_AGE=10ms", "RUSTMQ_OBJECT_STORE_CHECKPOINT_INTERVAL=10ms"}
	old := startNode(t, settings...)
	old.must("", "topic", "create", "orders")
	old.must("one\ntwo\n", "produce", "orders", "--acks", "object")
	var forked []forkedLine
	if err := json.Unmarshal([]byte(old.must("", "topic", "fork", "orders", "copy", "-o", "json")), &forked); err != nil ||
		!slices.Equal(forked, []forkedLine{{Topic: "copy", Source: "orders", ForkOffset: 2, AskedOffset: -1}}) {
		t.Errorf("%+v, %v", forked, err)
	}
	if got := old.must("", "topic", "fork", "orders", "first", "--at", "1"); !strings.Contains(got, "FORKED AT") || !strings.Contains(got, "first") {
		t.Errorf("got %q", got)
	}
	if got := old.must("", "topic", "fork", "orders", "before", "--at", "-1h", "-o", "json"); !strings.Contains(got, `"fork_offset": 0`) {
		t.Errorf("got %q", got)
	}
	if status, _, stderr := old.run("", "topic", "fork", "orders", "copy"); status != exitFailed || !strings.Contains(stderr, "TOPIC_ALREADY_EXISTS") {
		t.Errorf("again: %d %s", status, stderr)
	}
	old.must("copied\n", "produce", "copy", "--acks", "object")
	newest := func() string {
		found, _ := filepath.Glob(filepath.Join(bucket, "*", "meta", "*", "manifest"))
		return strings.Join(found, " ")
	}
	for range 2 { // one may have been under way
		was := newest()
		old.must("", "topic", "alter", "orders", "--config", "retention.ms=-1")
		for looks := 0; newest() == was; looks++ {
			if looks > 6000 {
				t.Fatal("no copy of the metadata came")
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	old.must("three\n", "produce", "orders", "--acks", "object")
	old.stop()
	checkMount(t, bucket, old)

	var verified verifiedStore
	if err := json.Unmarshal([]byte(old.must("", "ctl", "tier", "verify", "-o", "json")), &verified); err != nil || verified.Objects == 0 || len(verified.Bad) != 0 {
		t.Errorf("%+v, %v", verified, err)
	}
	dir := filepath.Join(t.TempDir(), "new")
	restore := []string{"ctl", "cluster", "restore", "--object-store", "file://" + bucket, "--data-dir", dir, "-o", "json"}
	var restored restoredCluster
	if err := json.Unmarshal([]byte(old.must("", restore...)), &restored); err != nil || restored.Cluster == restored.From || restored.Topics != 4 {
		t.Fatalf("%+v, %v", restored, err)
	}
	if status, _, stderr := old.run("", restore...); status != exitFailed || !strings.Contains(stderr, "not empty") {
		t.Errorf("again: %d %s", status, stderr)
	}
	n := startNodeIn(t, dir, settings...)
	if got := n.must("", "consume", "orders"); got != "one\ntwo\nthree\n" {
		t.Errorf("got %q", got)
	}
	if got := n.must("", "consume", "copy"); got != "one\ntwo\ncopied\n" {
		t.Errorf("the fork has %q", got)
	}
	n.must("four\n", "produce", "orders", "--acks", "object")
	n.stop()

	objects, err := filepath.Glob(filepath.Join(bucket, "*", "objects", "*", "*.rmq"))
	if err != nil || len(objects) == 0 {
		t.Fatal(objects, err)
	}
	for _, path := range objects { // of both clusters
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[100] ^= 1
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	status, stdout, _ := n.run("", "ctl", "tier", "verify", "--cluster", restored.From)
	if status != exitFailed || !strings.Contains(stdout, "BAD") || !strings.Contains(stdout, "at ") {
		t.Errorf("%d %s", status, stdout)
	}
	if status, _, stderr := n.run("", "ctl", "tier", "verify"); status != exitFailed || !strings.Contains(stderr, restored.From) || !strings.Contains(stderr, restored.Cluster) {
		t.Errorf("of two clusters: %d %s", status, stderr)
	}
}

// checkMount makes a mount of a bucket, and uses it: nothing in the bucket is another thing afterwards.
func checkMount(t *testing.T, bucket string, source *testNode) {
	t.Helper()
	before := filesIn(t, bucket)
	dir := filepath.Join(t.TempDir(), "view")
	mount := []string{"ctl", "cluster", "mount", "--object-store", "file://" + bucket, "--data-dir", dir, "-o", "json"}
	var made mountedCluster
	if err := json.Unmarshal([]byte(source.must("", mount...)), &made); err != nil || made.Cluster == made.Source || made.Topics != 4 {
		t.Fatalf("%+v, %v", made, err)
	}
	if status, _, stderr := source.run("", mount...); status != exitFailed || !strings.Contains(stderr, "not empty") {
		t.Errorf("again: %d %s", status, stderr)
	}
	n := startNodeIn(t, dir, "RUSTMQ_OBJECT_STORE_URL=file://"+bucket, "RUSTMQ_OBJECT_STORE_MOUNT_INTERVAL=10ms")
	if got := n.must("", "consume", "orders"); got != "one\ntwo\nthree\n" {
		t.Errorf("got %q", got)
	}
	if got := n.must("", "ctl", "cluster", "status"); !strings.Contains(got, "READ-ONLY MOUNT OF") || !strings.Contains(got, made.Source) {
		t.Errorf("got %q", got)
	}
	if status, _, stderr := n.run("no\n", "produce", "orders"); status != exitFailed || !strings.Contains(stderr, "READ_ONLY") || !strings.Contains(stderr, made.Source) {
		t.Errorf("produced: %d %s", status, stderr)
	}
	n.stop()
	if after := filesIn(t, bucket); !maps.Equal(after, before) {
		t.Errorf("the bucket has %v, it had %v", after, before)
	}
}

// filesIn are the files and directories below one, with when they were written.
func filesIn(t *testing.T, dir string) map[string]time.Time {
	t.Helper()
	found := make(map[string]time.Time)
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			found[path] = info.ModTime()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
