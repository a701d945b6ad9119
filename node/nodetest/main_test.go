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

func TestMain(m *testing.M) {
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		if err := flag.Set("test.parallel", clustersAtOnce); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	KeepInMemory()
	os.Exit(m.Run())
}
