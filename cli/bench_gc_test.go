package cli

import (
	"os"
	"runtime/debug"
	"testing"
)

// percent is how much garbage may come together.
func percent() int {
	now := debug.SetGCPercent(100)
	debug.SetGCPercent(now)
	return now
}

func TestBenchCollectsLessUnlessTheEnvironmentSays(t *testing.T) {
	t.Setenv("GOGC", "") // it is as it was, afterwards
	if err := os.Unsetenv("GOGC"); err != nil {
		t.Fatal(err)
	}
	before := percent()
	restore := lazyCollector()
	if got := percent(); got != benchGC {
		t.Errorf("%d %% while it is measured", got)
	}
	if restore(); percent() != before {
		t.Errorf("%d %% afterwards, %d before", percent(), before)
	}
	t.Setenv("GOGC", "77")
	restore = lazyCollector()
	defer restore()
	if got := percent(); got != before {
		t.Errorf("%d %%, though the environment says what it is", got)
	}
}
