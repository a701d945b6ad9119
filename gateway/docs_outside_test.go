//go:build outside

package gateway_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestCommandsOfTheDocsGiveWhatTheySay runs each command of the page with the real curl, one after the other, and compares what it prints with the block below it. "…" there is anything.
func TestCommandsOfTheDocsGiveWhatTheySay(t *testing.T) {
	page, err := os.ReadFile(connectPage)
	if err != nil {
		t.Fatal(err)
	}
	n := startNode(t)
	commands := strings.Split(string(page), "\n```sh\n")[1:]
	if len(commands) < 8 {
		t.Fatalf("%d commands were found", len(commands))
	}
	for _, part := range commands {
		command, rest, _ := strings.Cut(part, "\n```\n```")
		language, rest, _ := strings.Cut(rest, "\n")
		want, _, _ := strings.Cut(rest, "\n```")
		run := exec.CommandContext(t.Context(), "bash", "-c", strings.ReplaceAll(command, "localhost:9642", n.AdminAddr().String()))
		run.Stderr = os.Stderr
		out, err := run.Output()
		if err != nil {
			t.Errorf("%s\n%v", command, err)
			continue
		}
		same := strings.TrimSpace(string(out)) == want
		if language == "json" {
			var got, wanted any
			if err := json.Unmarshal(out, &got); err != nil {
				t.Errorf("%s\ngives %s: %v", command, out, err)
				continue
			}
			if err := json.Unmarshal([]byte(want), &wanted); err != nil {
				t.Fatalf("%s: %v", want, err)
			}
			same = alike(got, wanted)
		}
		if !same {
			t.Errorf("%s\ngives\n%s\nand not\n%s", command, out, want)
		}
	}
}

func alike(got, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok || len(g) != len(want) {
			return false
		}
		for k, v := range want {
			if other, there := g[k]; !there || !alike(other, v) {
				return false
			}
		}
		return true
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(want) {
			return false
		}
		for i := range want {
			if !alike(g[i], want[i]) {
				return false
			}
		}
		return true
	}
	return want == "…" || got == want
}
