package mq

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"
)

// record is a record made of parts, behind its true length.
func record(parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	return append(binary.AppendVarint(nil, int64(len(body))), body...)
}

// Encoded parts of a record.
var (
	null     = []byte{1}       // a length of -1
	none     = []byte{0}       // no headers; also attributes, and a delta, of 0
	start    = []byte{0, 0, 0} // attributes, timestamp delta, offset delta
	huge     = binary.AppendVarint(nil, math.MaxInt32)
	lowest   = binary.AppendVarint(nil, math.MinInt32)
	padded   = []byte{0x80, 0x80, 0x80, 0x80, 0x00}
	sixBytes = []byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x00}
	bits33   = []byte{0xff, 0xff, 0xff, 0xff, 0x1f}
)

func varint(v int64) []byte { return binary.AppendVarint(nil, v) }

func TestLyingRecordsAreRefusedWithoutAllocating(t *testing.T) {
	good := record(start, null, null, none)
	for name, c := range map[string]struct {
		count   int32
		records []byte
	}{
		"more records than bytes":            {math.MaxInt32, good},
		"-1 records":                         {-1, good},
		"one record less than there are":     {1, append(bytes.Clone(good), record([]byte{0, 0, 2}, null, null, none)...)},
		"one record more than there are":     {2, append(bytes.Clone(good), bytes.Repeat([]byte{0x80}, 20)...)},
		"a byte behind the last record":      {1, append(bytes.Clone(good), 0)},
		"a record longer than the batch":     {1, append(bytes.Clone(huge), make([]byte, 20)...)},
		"a record a byte too long":           {1, append([]byte{14}, good[1:]...)},
		"a record a byte too short":          {1, append([]byte{10}, good[1:]...)},
		"a record of length -1":              {1, append(varint(-1), make([]byte, 20)...)},
		"a record of the lowest length":      {1, append(bytes.Clone(lowest), make([]byte, 20)...)},
		"a record of no bytes":               {1, make([]byte, 20)},
		"a length of six bytes":              {1, append(bytes.Clone(sixBytes), make([]byte, 20)...)},
		"a length of 33 bits":                {1, append(bytes.Clone(bits33), make([]byte, 20)...)},
		"a length that never ends":           {1, bytes.Repeat([]byte{0x80}, 20)},
		"a length that the bytes end in":     {1, append(record(make([]byte, 60))[:0], bytes.Repeat([]byte{0xff}, 7)...)},
		"a timestamp of eleven bytes":        {1, record(none, bytes.Repeat([]byte{0x80}, 10), none, none, null, null, none)},
		"a timestamp of 65 bits":             {1, record(none, bytes.Repeat([]byte{0xff}, 9), []byte{2}, none, null, null, none)},
		"an offset of six bytes":             {1, record([]byte{0, 0}, sixBytes, null, null, none)},
		"an offset of 33 bits":               {1, record([]byte{0, 0}, bits33, null, null, none)},
		"an offset beyond the batch":         {1, record([]byte{0, 0, 2}, null, null, none)},
		"an offset below the batch":          {1, record([]byte{0, 0, 1}, null, null, none)},
		"an offset twice":                    {2, append(bytes.Clone(good), good...)},
		"offsets that descend":               {2, append(record([]byte{0, 0, 2}, null, null, none), good...)},
		"a key longer than the record":       {1, record(start, huge, null, none)},
		"a key a byte longer than is left":   {1, record(start, varint(3), null, none)},
		"a key of length -2":                 {1, record(start, varint(-2), null, none)},
		"a key length of six bytes":          {1, record(start, sixBytes, null, none)},
		"a value longer than the record":     {1, record(start, null, huge, none)},
		"a value of the lowest length":       {1, record(start, null, lowest, none)},
		"a value length of 33 bits":          {1, record(start, null, bits33, none)},
		"more headers than bytes":            {1, record(start, null, null, huge)},
		"one header more than bytes":         {1, record(start, null, null, varint(1), none)},
		"-1 headers":                         {1, record(start, null, null, varint(-1))},
		"a header count of six bytes":        {1, record(start, null, null, sixBytes)},
		"a header with a null key":           {1, record(start, null, null, varint(1), null, null)},
		"a header key longer than what is":   {1, record(start, null, null, varint(1), huge, null)},
		"a header value longer than what is": {1, record(start, null, null, varint(1), none, huge)},
		"a header value of length -2":        {1, record(start, null, null, varint(1), none, varint(-2))},
		"a byte behind the headers":          {1, record(start, null, null, none, none)},
		"a byte behind some headers":         {1, record(start, null, null, varint(1), none, null, none)},
		"a record that ends at its offset":   {1, record(start, nil)},
		"a record that ends at its key":      {1, record(start, null, nil)},
		"nothing at all":                     {1, nil},
	} {
		for _, compression := range []Compression{CompressionNone, CompressionSnappy} {
			t.Run(name+"/"+compression.String(), func(t *testing.T) {
				records := c.records
				if compression != CompressionNone {
					var err error
					if records, err = compressSnappy(nil, records); err != nil {
						t.Fatal(err)
					}
				}
				b := seal(compression, c.count, records)
				buf := new(DecodeBuffer)
				var err error
				n := allocated(func() { err = CheckRecords(b, buf) })
				requireCode(t, err, InvalidRecord)
				if n > 8<<10 { // the error's text and a little noise
					t.Errorf("%d bytes were allocated", n)
				}
			})
		}
	}
}

func TestBatchWithoutAWholeHeaderHasNoRecords(t *testing.T) {
	requireCode(t, CheckRecords(nil, nil), CorruptMessage)
	requireCode(t, CheckRecords(make(Batch, BatchHeaderSize-1), nil), CorruptMessage)
}

func TestUnknownRecordAttributesAreUnsupportedNotCorrupt(t *testing.T) {
	for bit := range 8 {
		b := seal(CompressionNone, 1, record([]byte{1 << bit, 0, 0}, null, null, none))
		requireCode(t, CheckRecords(b, nil), UnsupportedForMessageFormat)
	}
}

func TestPaddedVarintsAreReadAsKafkaReadsThem(t *testing.T) {
	b := seal(CompressionNone, 1, record(none, append(bytes.Repeat([]byte{0x80}, 9), 0), padded, padded, padded, padded))
	got, err := collect(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	requireRecords(t, got, []Record{{Key: []byte{}, Value: []byte{}}})
}

func TestHeadersBeyondTheLimitAreRefusedWithoutAllocating(t *testing.T) {
	header := []byte{0, 1} // empty key, null value
	most := seal(CompressionNone, 1, record(start, null, null, varint(MaxHeadersPerRecord), bytes.Repeat(header, MaxHeadersPerRecord)))
	if err := CheckRecords(most, nil); err != nil {
		t.Fatal(err)
	}
	more := seal(CompressionNone, 1, record(start, null, null, varint(MaxHeadersPerRecord+1), bytes.Repeat(header, MaxHeadersPerRecord+1)))
	var err error
	n := allocated(func() { err = CheckRecords(more, nil) })
	requireCode(t, err, RecordListTooLarge)
	if n > 8<<10 {
		t.Errorf("%d bytes were allocated", n)
	}
}

func TestReadingUncompressedRecordsAllocatesNothing(t *testing.T) {
	b := buildBatch(t, CompressionNone, sampleRecords())
	buf := new(DecodeBuffer)
	read := func() {
		n := 0
		for r, err := range b.Records(buf) {
			if err != nil {
				t.Fatal(err)
			}
			n += len(r.Value) + len(r.Headers)
		}
		if n != 1+3+8000 {
			t.Fatal(n)
		}
	}
	if allocs := testing.AllocsPerRun(100, read); allocs != 0 {
		t.Errorf("%v allocations per batch", allocs)
	}
}

func TestReadingCompressedRecordsAllocatesNothingOnceWarm(t *testing.T) {
	for _, c := range allCompressions[1:] {
		b := buildBatch(t, c, sampleRecords())
		buf := new(DecodeBuffer)
		if allocs := testing.AllocsPerRun(100, func() {
			if err := CheckRecords(b, buf); err != nil {
				t.Fatal(err)
			}
		}); allocs > 0 {
			t.Errorf("%s: %v allocations per batch", c, allocs)
		}
	}
}

func TestUncompressedRecordsAliasTheBatch(t *testing.T) {
	b := buildBatch(t, CompressionNone, []Record{{Value: []byte("x")}})
	for r, err := range b.Records(nil) {
		if err != nil {
			t.Fatal(err)
		}
		if &r.Value[0] != &b[len(b)-2] {
			t.Error("the value was copied")
		}
		if _ = append(r.Value, 'y'); b[len(b)-1] != 0 {
			t.Error("appending to a value wrote into the batch")
		}
	}
}

func TestReadingMayStopAnywhere(t *testing.T) {
	b := buildBatch(t, CompressionNone, sampleRecords())
	for stop := range 4 {
		n := 0
		for _, err := range b.Records(nil) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n > stop {
				break
			}
		}
		if n != stop+1 {
			t.Errorf("stopped after %d records, want %d", n, stop+1)
		}
	}
}
