package node

import (
	"bytes"
	"os"
	"testing"
)

func TestMetricsDocsAreUpToDate(t *testing.T) {
	const page = "../docs/metrics.md"
	var want bytes.Buffer
	if err := WriteMetricsDoc(&want); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(page, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Fatalf("%s is not what the code says (%v): run task docs", page, err)
	}
}
