package mq

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"
)

func TestDoorTakesWhatTheBuilderMakes(t *testing.T) {
	for _, c := range allCompressions {
		raw := buildBatch(t, c, sampleRecords())
		b, err := CheckBatch(raw, len(raw))
		if err != nil {
			t.Fatal(err)
		}
		if &b[0] != &raw[0] || len(b) != len(raw) {
			t.Fatal("the batch is not the bytes that came in")
		}
		if err := CheckRecords(b, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDoorRefusesWhatIsNotOneGoodBatch(t *testing.T) {
	good := buildBatch(t, CompressionNone, sampleRecords())
	raw := func(f func(b Batch)) []byte { // the CRC stays what it was
		b := bytes.Clone(good)
		f(b)
		return b
	}
	sealed := func(f func(b Batch)) []byte {
		return raw(func(b Batch) { f(b); b.putCRC() })
	}
	put64 := func(at int, v int64) func(Batch) {
		return func(b Batch) { binary.BigEndian.PutUint64(b[at:], uint64(v)) }
	}
	attribute := func(bits uint16) func(Batch) {
		return func(b Batch) { binary.BigEndian.PutUint16(b[atAttributes:], bits) }
	}
	count := func(n, lastDelta int32) func(Batch) {
		return func(b Batch) {
			b.putInt32At(atRecordCount, n)
			b.putInt32At(atLastOffsetDelta, lastDelta)
		}
	}
	for name, c := range map[string]struct {
		b    []byte
		code Code
	}{
		"nothing":                   {nil, CorruptMessage},
		"a byte less than a header": {good[:BatchHeaderSize-1], CorruptMessage},
		"only a header":             {good[:BatchHeaderSize], CorruptMessage},
		"the last byte missing":     {good[:len(good)-1], CorruptMessage},
		"a byte behind it":          {append(bytes.Clone(good), 0), InvalidRecord},
		"two batches":               {append(bytes.Clone(good), good...), InvalidRecord},
		"a length of -1":            {raw(func(b Batch) { b.putInt32At(atBatchLength, -1) }), CorruptMessage},
		"the lowest length":         {raw(func(b Batch) { b.putInt32At(atBatchLength, math.MinInt32) }), CorruptMessage},
		"the highest length":        {raw(func(b Batch) { b.putInt32At(atBatchLength, math.MaxInt32) }), MessageTooLarge},
		"a length below the header": {raw(func(b Batch) { b.putInt32At(atBatchLength, BatchHeaderSize-beforeLength-1) }), CorruptMessage},
		"magic 0":                   {raw(func(b Batch) { b[atMagic] = 0 }), UnsupportedForMessageFormat},
		"magic 1":                   {raw(func(b Batch) { b[atMagic] = 1 }), UnsupportedForMessageFormat},
		"magic 3":                   {raw(func(b Batch) { b[atMagic] = 3 }), UnsupportedForMessageFormat},
		"a flipped bit in a record": {raw(func(b Batch) { b[len(b)-1] ^= 1 }), CorruptMessage},
		"a flipped bit in the CRC":  {raw(func(b Batch) { b[atCRC] ^= 0x80 }), CorruptMessage},

		"reserved attribute 7":           {sealed(attribute(1 << 7)), UnsupportedForMessageFormat},
		"reserved attribute 15":          {sealed(attribute(1 << 15)), UnsupportedForMessageFormat},
		"compression 5":                  {sealed(attribute(5)), UnsupportedCompression},
		"compression 7":                  {sealed(attribute(7)), UnsupportedCompression},
		"the leader's timestamp type":    {sealed(attribute(attrAppendTime)), InvalidTimestamp},
		"a control batch":                {sealed(attribute(attrControl)), InvalidRecord},
		"a delete horizon":               {sealed(attribute(attrDeleteHorizon)), InvalidRecord},
		"no records":                     {sealed(count(0, -1)), InvalidRecord},
		"no records, delta 0":            {sealed(count(0, 0)), InvalidRecord},
		"-1 records":                     {sealed(count(-1, 3)), InvalidRecord},
		"the lowest delta":               {sealed(count(4, math.MinInt32)), InvalidRecord},
		"more records than offsets":      {sealed(count(5, 3)), InvalidRecord},
		"fewer records than offsets":     {sealed(count(3, 3)), InvalidRecord},
		"more records than bytes":        {sealed(count(MaxRecordsPerBatch, MaxRecordsPerBatch-1)), InvalidRecord},
		"more records than allowed":      {sealed(count(MaxRecordsPerBatch+1, MaxRecordsPerBatch)), RecordListTooLarge},
		"as many records as there are":   {sealed(count(math.MaxInt32, math.MaxInt32-1)), RecordListTooLarge},
		"the highest delta":              {sealed(count(math.MinInt32, math.MaxInt32)), RecordListTooLarge},
		"a negative base offset":         {sealed(put64(atBaseOffset, -1)), InvalidRecord},
		"offsets beyond the last":        {sealed(put64(atBaseOffset, math.MaxInt64-3)), InvalidRecord},
		"producer id -2":                 {sealed(put64(atProducerID, -2)), InvalidRecord},
		"a producer without an epoch":    {sealed(func(b Batch) { b[atProducerEpoch] = 0xff }), InvalidRecord},
		"a producer without a sequence":  {sealed(func(b Batch) { b.putInt32At(atBaseSequence, -1) }), InvalidRecord},
		"a transaction without producer": {sealed(func(b Batch) { put64(atProducerID, -1)(b); attribute(attrTransactional)(b) }), InvalidRecord},
		"compressed nothing":             {seal(CompressionLZ4, 1, nil), InvalidRecord},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := CheckBatch(c.b, MaxBatchBytes)
			requireCode(t, err, c.code)
			if b != nil {
				t.Error("a batch came with the error")
			}
		})
	}
}

func TestDoorHoldsTheTopicsLimitAndTheHardCap(t *testing.T) {
	good := buildBatch(t, CompressionNone, sampleRecords())
	if _, err := CheckBatch(good, len(good)); err != nil {
		t.Fatal(err)
	}
	_, err := CheckBatch(good, len(good)-1)
	requireCode(t, err, MessageTooLarge)

	huge := make([]byte, MaxBatchBytes+1)
	copy(huge, good)
	Batch(huge).putInt32At(atBatchLength, MaxBatchBytes+1-beforeLength)
	_, err = CheckBatch(huge, math.MaxInt)
	requireCode(t, err, MessageTooLarge)
}

func TestDoorAllocatesNothing(t *testing.T) {
	raw := buildBatch(t, CompressionNone, sampleRecords())
	if allocs := testing.AllocsPerRun(100, func() {
		if _, err := CheckBatch(raw, MaxBatchBytes); err != nil {
			t.Fatal(err)
		}
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func TestEveryFlippedBitIsNoticed(t *testing.T) {
	good := buildBatch(t, CompressionNone, sampleRecords()[:3])
	for bit := range len(good) * 8 {
		at := bit / 8
		// Base offset and leader epoch are the leader's to stamp.
		if at < atBatchLength || at >= atLeaderEpoch && at < atMagic {
			continue
		}
		bad := bytes.Clone(good)
		bad[at] ^= 1 << (bit % 8)
		if _, err := CheckBatch(bad, MaxBatchBytes); err == nil {
			t.Errorf("bit %d of byte %d flipped: not noticed", bit%8, at)
		}
	}
}

func TestConcatenationSplitsIntoItsBatches(t *testing.T) {
	var want []Batch
	var all []byte
	for i, c := range allCompressions {
		b := buildBatch(t, c, sampleRecords())
		b.SetBaseOffset(Offset(4 * i))
		want = append(want, b)
		all = append(all, b...)
	}
	rest := all
	for i := range want {
		var b Batch
		var err error
		if b, rest, err = NextBatch(rest); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, want[i]) || cap(b) != len(b) {
			t.Fatalf("batch %d is %s", i, b)
		}
	}
	if len(rest) != 0 {
		t.Fatalf("%d bytes are left", len(rest))
	}
	_, _, err := NextBatch(rest)
	requireCode(t, err, CorruptMessage)
	_, _, err = NextBatch(all[:len(want[0])-1])
	requireCode(t, err, CorruptMessage)
}

// A log cleaner leaves batches with fewer records than offsets, even empty
// ones, and marks them with a delete horizon.
func TestCompactedBatchIsReadButMayNotBeProduced(t *testing.T) {
	whole := buildBatch(t, CompressionNone, sampleRecords()[:3])
	_, first := varint32(whole[BatchHeaderSize:])
	length, _ := varint32(whole[BatchHeaderSize:])
	second := BatchHeaderSize + first + int(length)

	b := append(bytes.Clone(whole[:BatchHeaderSize]), whole[second:]...)
	compacted := Batch(b)
	compacted.putInt32At(atBatchLength, int32(len(b)-beforeLength))
	compacted.putInt32At(atRecordCount, 2)
	compacted[atAttributes+1] |= attrDeleteHorizon
	compacted.putCRC()
	got, rest, err := NextBatch(b)
	if err != nil || len(rest) != 0 {
		t.Fatal(err)
	}
	recs, err := collect(got, nil)
	if err != nil {
		t.Fatal(err)
	}
	requireRecords(t, recs, numbered(sampleRecords())[1:3])
	_, err = CheckBatch(b, MaxBatchBytes)
	requireCode(t, err, InvalidRecord)

	for _, c := range []Compression{CompressionNone, CompressionZstd} {
		empty := seal(c, 0, nil)
		empty.putInt32At(atLastOffsetDelta, 3)
		empty.putCRC()
		if _, _, err := NextBatch(empty); err != nil {
			t.Fatal(err)
		}
		if recs, err := collect(empty, nil); err != nil || len(recs) != 0 {
			t.Fatalf("%d records, %v", len(recs), err)
		}
	}
}
