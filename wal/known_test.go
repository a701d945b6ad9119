package wal_test

import (
	"os"
	"testing"
)

// knownFailure marks a test that fails on a busy machine and whose cause is not found yet: the CHANGELOG lists it under known
// issues, and CI prints each one that it left out. RUSTMQ_KNOWN_FAILURES=1 runs them.
func knownFailure(t *testing.T) {
	t.Helper()
	if os.Getenv("RUSTMQ_KNOWN_FAILURES") == "" {
		t.Skip("KNOWN FAILURE, see CHANGELOG; RUSTMQ_KNOWN_FAILURES=1 runs it")
	}
}
