package mq

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"
)

// kmsgBatch encodes records with franz-go's generated code and nothing of ours.
func kmsgBatch(recs []Record, attributes int16, compress func([]byte) []byte) []byte {
	var body []byte
	maxTimestamp := recs[0].Timestamp
	for i, r := range recs {
		k := kmsg.Record{
			TimestampDelta64: r.Timestamp - recs[0].Timestamp,
			OffsetDelta:      int32(i),
			Key:              r.Key,
			Value:            r.Value,
		}
		for _, h := range r.Headers {
			k.Headers = append(k.Headers, kmsg.Header{Key: h.Key, Value: h.Value})
		}
		k.Length = int32(len(k.AppendTo(nil)) - 1) // a length of 0 took one byte
		body = k.AppendTo(body)
		maxTimestamp = max(maxTimestamp, r.Timestamp)
	}
	if compress != nil {
		body = compress(body)
	}
	k := kmsg.RecordBatch{
		Length:               int32(49 + len(body)),
		PartitionLeaderEpoch: -1,
		Magic:                2,
		Attributes:           attributes,
		LastOffsetDelta:      int32(len(recs) - 1),
		FirstTimestamp:       recs[0].Timestamp,
		MaxTimestamp:         maxTimestamp,
		ProducerID:           7,
		ProducerEpoch:        3,
		FirstSequence:        11,
		NumRecords:           int32(len(recs)),
		Records:              body,
	}
	b := k.AppendTo(nil)
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// kmsgRecords decodes with franz-go and nothing of ours.
func kmsgRecords(t testing.TB, b []byte) (recs []Record) {
	t.Helper()
	var k kmsg.RecordBatch
	if err := k.ReadFrom(b); err != nil {
		t.Fatal(err)
	}
	rest, err := kgo.DefaultDecompressor().Decompress(k.Records, kgo.CompressionCodecType(k.Attributes&7))
	if err != nil {
		t.Fatal(err)
	}
	for range k.NumRecords {
		length, n := binary.Varint(rest)
		var r kmsg.Record
		if err := r.ReadFrom(rest[:n+int(length)]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n+int(length):]
		rec := Record{
			Key: r.Key, Value: r.Value,
			Timestamp: k.FirstTimestamp + r.TimestampDelta64,
			Offset:    Offset(k.FirstOffset + int64(r.OffsetDelta)),
		}
		for _, h := range r.Headers {
			rec.Headers = append(rec.Headers, Header{h.Key, h.Value})
		}
		recs = append(recs, rec)
	}
	return recs
}

var kgoCodecs = map[Compression]kgo.CompressionCodec{
	CompressionGzip: kgo.GzipCompression(), CompressionSnappy: kgo.SnappyCompression(),
	CompressionLZ4: kgo.Lz4Compression(), CompressionZstd: kgo.ZstdCompression(),
}

func TestUncompressedBatchIsByteForByteWhatFranzGoEncodes(t *testing.T) {
	ours, theirs := buildBatch(t, CompressionNone, sampleRecords()), kmsgBatch(sampleRecords(), 0, nil)
	if !bytes.Equal(ours, theirs) {
		t.Fatalf("ours\n%stheirs\n%s", hex.Dump(ours), hex.Dump(theirs))
	}
	rapid.Check(t, func(t *rapid.T) {
		recs := rapid.SliceOfN(anyRecord(300), 1, 30).Draw(t, "records")
		w, _ := NewBatchBuilder(CompressionNone, 0)
		for _, r := range recs {
			if err := w.Append(r); err != nil {
				t.Fatal(err)
			}
		}
		ours, err := w.Build(nil, 7, 3, 11)
		if theirs := kmsgBatch(recs, 0, nil); err != nil || !bytes.Equal(ours, theirs) {
			t.Fatalf("%v: ours\n%stheirs\n%s", err, hex.Dump(ours), hex.Dump(theirs))
		}
	})
}

func TestFranzGoReadsEveryCodecOfOurs(t *testing.T) {
	for _, c := range allCompressions {
		t.Run(c.String(), func(t *testing.T) {
			b := buildBatch(t, c, sampleRecords())
			if b.Compression() != c {
				t.Fatalf("compression is %s", b.Compression())
			}
			requireRecords(t, kmsgRecords(t, b), numbered(sampleRecords()))
		})
	}
}

func TestEveryCodecOfFranzGoIsRead(t *testing.T) {
	for c, codec := range kgoCodecs {
		t.Run(c.String(), func(t *testing.T) {
			compressor, err := kgo.DefaultCompressor(codec)
			if err != nil {
				t.Fatal(err)
			}
			raw := kmsgBatch(sampleRecords(), int16(c), func(b []byte) []byte {
				out, used := compressor.Compress(new(bytes.Buffer), b)
				if Compression(used) != c {
					t.Fatalf("franz-go used codec %d", used)
				}
				return out
			})
			b, err := CheckBatch(raw, MaxBatchBytes)
			if err != nil {
				t.Fatal(err)
			}
			got, err := collect(b, nil)
			if err != nil {
				t.Fatal(err)
			}
			requireRecords(t, got, numbered(sampleRecords()))
		})
	}
}

// The files were written by Kafka's Java client; see Golden.java beside them.
func TestBatchesOfKafkasJavaClientAreRead(t *testing.T) {
	for _, c := range allCompressions {
		t.Run(c.String(), func(t *testing.T) {
			raw, err := os.ReadFile(filepath.Join("testdata/java", c.String()+".bin"))
			if err != nil {
				t.Fatal(err)
			}
			b, err := CheckBatch(raw, MaxBatchBytes)
			if err != nil {
				t.Fatal(err)
			}
			if b.Compression() != c {
				t.Fatalf("compression is %s", b.Compression())
			}
			got, err := collect(b, nil)
			if err != nil {
				t.Fatal(err)
			}
			requireRecords(t, got, numbered(sampleRecords()))
		})
	}
}

func TestUncompressedBatchIsByteForByteWhatJavaEncodes(t *testing.T) {
	theirs, err := os.ReadFile("testdata/java/none.bin")
	if err != nil {
		t.Fatal(err)
	}
	if ours := buildBatch(t, CompressionNone, sampleRecords()); !bytes.Equal(ours, theirs) {
		t.Fatalf("ours\n%stheirs\n%s", hex.Dump(ours), hex.Dump(theirs))
	}
}

func TestKafkasJavaClientReadsEveryCodecOfOurs(t *testing.T) {
	classpath := os.Getenv("MQ_KAFKA_CLASSPATH")
	if classpath == "" {
		t.Skip("needs MQ_KAFKA_CLASSPATH: see testdata/java/Golden.java")
	}
	for _, c := range allCompressions {
		t.Run(c.String(), func(t *testing.T) {
			// Long enough for several LZ4 blocks, one of them stored.
			recs := sampleRecords()
			noise := make([]byte, 100_000)
			for i, x := 0, uint32(1); i < len(noise); i++ {
				x = x*1664525 + 1013904223
				noise[i] = byte(x >> 24)
			}
			recs = append(recs, Record{Value: noise, Timestamp: 1}, Record{Value: make([]byte, 200_000), Timestamp: 2})
			b := buildBatch(t, c, recs)
			if b.Compression() != c {
				t.Fatalf("compression is %s", b.Compression())
			}
			file := filepath.Join(t.TempDir(), "batch.bin")
			if err := os.WriteFile(file, b, 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command("java", "-cp", classpath, "testdata/java/Golden.java", "read", file).Output()
			if err != nil {
				t.Fatal(err)
			}
			if string(out) != describeAll(numbered(recs)) {
				t.Fatalf("Java reads\n%.1000s", out)
			}
		})
	}
}
