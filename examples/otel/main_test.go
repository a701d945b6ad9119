package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rustmq/rustmq/client"
)

// serve starts a node of this repository, which ends with the test.
func serve(t *testing.T) (address, ca string) {
	t.Helper()
	dir := t.TempDir()
	program, data := filepath.Join(dir, "rustmq"), filepath.Join(dir, "data")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	node := exec.Command(program, "serve", "--data-dir", data, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
	node.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+filepath.Join(dir, "config"))
	node.Stderr = os.Stderr
	out, err := node.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = node.Process.Signal(syscall.SIGTERM)
		if err := node.Wait(); err != nil {
			t.Errorf("the node: %v", err)
		}
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		switch words := strings.Fields(lines.Text()); {
		case len(words) > 1 && words[0] == "clients":
			address = words[1]
		case len(words) > 0 && words[0] == "ready":
			return address, filepath.Join(data, "pki", "ca.crt")
		}
	}
	t.Fatal("the node is not ready")
	return "", ""
}

// TestOrderIsOneTrace: each step is a child of the one before, over two topics, in one trace; and another order is another one.
func TestOrderIsOneTrace(t *testing.T) {
	address, ca := serve(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	seen := make(map[string]bool)
	for range 2 {
		var out bytes.Buffer
		if err := run(ctx, &out, client.Servers(address), client.CAFile(ca)); err != nil {
			t.Fatal(err)
		}
		traces, parents, ids := make(map[string]string), make(map[string]string), make(map[string]string)
		for line := range strings.Lines(out.String()) {
			var id, span, parent, verb string
			if _, err := fmt.Sscanf(line, "trace %s span %s parent %s %s order", &id, &span, &parent, &verb); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			traces[verb], parents[verb], ids[verb] = id, parent, span
		}
		if len(ids) != 3 || parents["place"] != "-" || parents["bill"] != ids["place"] || parents["ship"] != ids["bill"] {
			t.Errorf("the steps are not in a row:\n%s", out.String())
		}
		if traces["bill"] != traces["place"] || traces["ship"] != traces["place"] || seen[traces["place"]] {
			t.Errorf("not a trace of its own:\n%s", out.String())
		}
		seen[traces["place"]] = true
	}
}
