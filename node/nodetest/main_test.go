package nodetest

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

// clustersAtOnce is how many tests run beside each other, unless -parallel says so: they mostly wait for leases, elections and backoffs in real time, and all of
// them take a fifth of two processors.
const clustersAtOnce = "6"

// inMemory is where Linux has files in memory. The databases of many nodes sync there without a disk that all of them would wait for: what a disk loses is
// another file system's to show (wal/crashfs).
const inMemory = "/dev/shm"

func TestMain(m *testing.M) {
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		if err := flag.Set("test.parallel", clustersAtOnce); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	if info, err := os.Stat(inMemory); err == nil && info.IsDir() && os.Getenv("TMPDIR") == "" {
		_ = os.Setenv("TMPDIR", inMemory)
	}
	os.Exit(m.Run())
}
