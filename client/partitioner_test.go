package client

import (
	"testing"

	"pgregory.net/rapid"
)

// The values are those of Kafka's own test (UtilsTest.testMurmur2).
func TestMurmur2IsKafkas(t *testing.T) {
	for key, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
	}
}

func TestStickySpreadsEvenly(t *testing.T) {
	pick := HashPartitioner()("t")
	count := make([]int, 4)
	changes, last := 0, -1
	for range 100_000 {
		i := pick(&Record{Value: make([]byte, 1000)}, len(count))
		count[i]++
		if i != last {
			changes++
		}
		last = i
	}
	if changes > 1000 {
		t.Errorf("changed partition %d times", changes)
	}
	for i, n := range count {
		if n < 15_000 {
			t.Errorf("partition %d got %d of 100000", i, n)
		}
	}
}

func TestPartitionersStayInRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for _, p := range []Partitioner{HashPartitioner(), StickyPartitioner(), RoundRobinPartitioner()} {
			pick := p("t")
			for range 20 {
				n := rapid.IntRange(1, 50).Draw(t, "n")
				rec := &Record{Key: rapid.SliceOf(rapid.Byte()).Draw(t, "key")}
				if rapid.Bool().Draw(t, "null") {
					rec.Key = nil
				}
				if i := pick(rec, n); i < 0 || i >= n {
					t.Fatalf("%d of %d", i, n)
				}
			}
		}
	})
}
