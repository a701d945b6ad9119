package mq

import (
	"os"
	"strings"
	"testing"
)

func TestHeaderViewReadsWhatJavaWrote(t *testing.T) {
	raw, err := os.ReadFile("testdata/java/gzip.bin")
	if err != nil {
		t.Fatal(err)
	}
	b := Batch(raw)
	if b.BaseOffset() != 0 || b.Length() != len(raw) || b.LeaderEpoch() != NoEpoch || b.Magic() != 2 || b.CRC() != b.computeCRC() ||
		b.Attributes() != 1 || b.Compression() != CompressionGzip || b.TimestampType() != TimestampCreate || b.IsTransactional() || b.IsControl() ||
		b.LastOffsetDelta() != 3 || b.LastOffset() != 3 || b.NextOffset() != 4 ||
		b.BaseTimestamp() != 1_700_000_000_000 || b.MaxTimestamp() != 1_700_000_001_000 ||
		b.ProducerID() != 7 || b.ProducerEpoch() != 3 || b.BaseSequence() != 11 || b.LastSequence() != 14 || b.RecordCount() != 4 {
		t.Errorf("%s: %x", b, raw[:BatchHeaderSize])
	}
	b.SetBaseOffset(1 << 40)
	b.SetLeaderEpoch(77)
	if b.BaseOffset() != 1<<40 || b.LeaderEpoch() != 77 || b.LastOffset() != 1<<40+3 {
		t.Errorf("stamped: %x", raw[:BatchHeaderSize])
	}
	if want := "batch [1099511627776,1099511627780) epoch 77 records 4 bytes 164 gzip producer 7/3 sequence 11"; b.String() != want {
		t.Errorf("printed as %q, want %q", b, want)
	}
}

func TestHeaderBitsAreReadOneByOne(t *testing.T) {
	b := seal(CompressionNone, 1, record(start, null, null, none))
	if b.LastSequence() != NoSequence || strings.Contains(b.String(), "producer") {
		t.Errorf("%s has no producer", b)
	}
	for bit, is := range map[int]func() bool{
		3: func() bool { return b.TimestampType() == TimestampAppend },
		4: b.IsTransactional,
		5: b.IsControl,
	} {
		for i := range 16 {
			put16(b, atAttributes, 1<<i)
			if is() != (i == bit) {
				t.Errorf("bit %d is taken for bit %d", i, bit)
			}
		}
	}
	if s := (Batch{1, 2, 3}).String(); s != "batch of 3 bytes" {
		t.Errorf("printed as %q", s)
	}
}
