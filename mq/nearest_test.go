package mq

import (
	"strings"
	"testing"
)

func TestNearestIsTheFewestEditsAway(t *testing.T) {
	names := []string{"retention.ms", "retention.bytes", "cleanup.policy"}
	for written, want := range map[string]string{
		"retention.mss":   "retention.ms",
		"retentoin.bytes": "retention.bytes",
		"cleanup":         "cleanup.policy",
		"retention.ms":    "retention.ms",
		"cleanup.policy" + strings.Repeat("x", 1<<20): "cleanup.policy", // no work in proportion to what was written
	} {
		if got := Nearest(written, names); got != want {
			t.Errorf("%.30q: got %q, want %q", written, got, want)
		}
	}
	if got := Nearest("c", []string{"b", "a"}); got != "a" {
		t.Errorf("of equals: got %q, want the first in the alphabet", got)
	}
	if got := Nearest("a", nil); got != "" {
		t.Errorf("of none: got %q", got)
	}
}
