package mq

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"pgregory.net/rapid"
)

// bombLimit is a limit that bombs are tried with, in bytes.
const bombLimit = 1 << 20

// encoders are the ways in which compressed records may come: ours, and what
// other clients' libraries make of a stream whose length they do not know.
func encoders(t testing.TB) map[string]struct {
	c        Compression
	compress compressFunc
} {
	t.Helper()
	stream := func(open func(io.Writer) io.WriteCloser) compressFunc {
		return func(dst, src []byte) ([]byte, error) {
			sink := byteSink(dst)
			w := open(&sink)
			for len(src) > 0 {
				n := min(len(src), 3000)
				if _, err := w.Write(src[:n]); err != nil {
					return nil, err
				}
				src = src[n:]
			}
			err := w.Close()
			return sink, err
		}
	}
	lz4With := func(options ...lz4.Option) compressFunc {
		return stream(func(out io.Writer) io.WriteCloser {
			w := lz4.NewWriter(out)
			if err := w.Apply(options...); err != nil {
				t.Fatal(err)
			}
			return w
		})
	}
	type encoder = struct {
		c        Compression
		compress compressFunc
	}
	all := map[string]encoder{
		"gzip stream": {CompressionGzip, stream(func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })},
		"gzip members": {CompressionGzip, func(dst, src []byte) ([]byte, error) {
			one, half := gzipCompressor(1), len(src)/2
			dst, err := one(dst, src[:half])
			if err != nil {
				return nil, err
			}
			return one(dst, src[half:])
		}},
		"snappy xerial":   {CompressionSnappy, xerial},
		"lz4 4MiB blocks": {CompressionLZ4, lz4With(lz4.BlockSizeOption(lz4.Block4Mb))},
		"lz4 with checksums and size": {CompressionLZ4, func(dst, src []byte) ([]byte, error) {
			return lz4With(lz4.BlockChecksumOption(true), lz4.ChecksumOption(true), lz4.SizeOption(uint64(len(src))))(dst, src)
		}},
		"zstd stream": {CompressionZstd, stream(func(w io.Writer) io.WriteCloser {
			z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
			if err != nil {
				t.Fatal(err)
			}
			return z
		})},
		"zstd frames": {CompressionZstd, func(dst, src []byte) ([]byte, error) {
			one, half := zstdCompressor(0), len(src)/2
			dst, err := one(dst, src[:half])
			if err != nil {
				return nil, err
			}
			return one(dst, src[half:])
		}},
	}
	for _, c := range allCompressions[1:] {
		compress, err := newCompressor(c, 0)
		if err != nil {
			t.Fatal(err)
		}
		all["our "+c.String()] = encoder{c, compress}
	}
	return all
}

// xerial frames blocks of 32 KiB as snappy-java does, in two streams.
func xerial(dst, src []byte) (_ []byte, err error) {
	for i := 0; len(src) > 0; i++ {
		if i == 0 || i == 3 {
			dst = append(dst, xerialMagic...)
			dst = append(dst, 0, 0, 0, 1, 0, 0, 0, 1)
		}
		n := min(len(src), 32<<10)
		block, err := compressSnappy(nil, src[:n])
		if err != nil {
			return nil, err
		}
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(block)))
		dst = append(dst, block...)
		src = src[n:]
	}
	return dst, nil
}

func TestDecompressionGivesWhatWasCompressed(t *testing.T) {
	buf := new(DecodeBuffer)
	for name, e := range encoders(t) {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				seed := rapid.Uint64().Draw(t, "seed")
				noise := rand.New(rand.NewPCG(seed, 0))
				var src []byte
				for range rapid.IntRange(1, 6).Draw(t, "parts") {
					part := make([]byte, rapid.IntRange(1, 40_000).Draw(t, "size"))
					if rapid.Bool().Draw(t, "noise") {
						for i := range part {
							part[i] = byte(noise.Uint32())
						}
					}
					src = append(src, part...)
				}
				packed, err := e.compress(nil, src)
				if err != nil {
					t.Fatal(err)
				}
				got, err := buf.decompress(e.c, packed)
				if err != nil || !bytes.Equal(got, src) {
					t.Fatalf("%d bytes became %d, %v", len(src), len(got), err)
				}
			})
		})
	}
}

func TestRecordsUpToTheLimitAreReadAndOneByteMoreIsNot(t *testing.T) {
	for name, e := range encoders(t) {
		t.Run(name, func(t *testing.T) {
			for _, limit := range []int{1000, 128 << 10, 300_000, bombLimit} {
				buf := NewDecodeBuffer(limit)
				buf.reserve(limit) // as another codec may have left it
				for over, want := range []Code{None, RecordListTooLarge} {
					packed, err := e.compress(nil, payloadOfSize(limit+over))
					if err != nil {
						t.Fatal(err)
					}
					err = CheckRecords(seal(e.c, 1, packed), buf)
					if CodeOf(err) != want {
						t.Errorf("%d bytes with limit %d: %v, want %s", limit+over, limit, err, want)
					}
				}
			}
		})
	}
}

func TestDecompressionBombIsRefusedBeforeMemoryPassesTheLimit(t *testing.T) {
	zeros := make([]byte, 16<<20)
	for name, e := range encoders(t) {
		t.Run(name, func(t *testing.T) {
			bomb, err := e.compress(nil, zeros)
			if err != nil {
				t.Fatal(err)
			}
			b := seal(e.c, 1, bomb)
			buf := NewDecodeBuffer(bombLimit)
			small, err := e.compress(nil, payloadOfSize(1000))
			if err != nil {
				t.Fatal(err)
			}
			if err := CheckRecords(seal(e.c, 1, small), buf); err != nil { // the decoder's own state
				t.Fatal(err)
			}
			n := allocated(func() { err = CheckRecords(b, buf) })
			requireCode(t, err, RecordListTooLarge)
			if room := cap(buf.data); room > bombLimit+zstdSlack {
				t.Errorf("the buffer grew to %d bytes", room)
			}
			// Growing by doubling takes twice the limit in all; for zstd see there.
			if n > 3*bombLimit {
				t.Errorf("%d bytes were allocated", n)
			}
		})
	}
}

func TestLyingSizesAreRefusedWithoutAllocating(t *testing.T) {
	le32 := func(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
	le64 := func(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	xerialHeader := join([]byte(xerialMagic), []byte{0, 0, 0, 1, 0, 0, 0, 1})
	// Frame header: single segment, content size of 8 bytes.
	zstdFrame := func(size uint64) []byte { return join(le32(0xfd2fb528), []byte{0xe0}, le64(size), []byte{1, 0, 0}) }
	lz4Size := func(size uint64) []byte {
		return join(le32(lz4Magic), []byte{0x68, 0x70}, le64(size), []byte{0}, le32(0))
	}
	for name, c := range map[string]struct {
		c    Compression
		src  []byte
		code Code
	}{
		"snappy of 4 GiB":             {CompressionSnappy, binary.AppendUvarint(nil, 1<<32-1), RecordListTooLarge},
		"snappy of more than 4 GiB":   {CompressionSnappy, binary.AppendUvarint(nil, 1<<40), InvalidRecord},
		"snappy of 64 MiB":            {CompressionSnappy, append(binary.AppendUvarint(nil, 64<<20), 0, 0), InvalidRecord},
		"snappy, overlong size":       {CompressionSnappy, bytes.Repeat([]byte{0x80}, 30), InvalidRecord},
		"xerial block of 4 GiB":       {CompressionSnappy, join(xerialHeader, []byte{0xff, 0xff, 0xff, 0xff}), InvalidRecord},
		"xerial block claims 64 MiB":  {CompressionSnappy, join(xerialHeader, []byte{0, 0, 0, 4}, binary.AppendUvarint(nil, 64<<20)), InvalidRecord},
		"xerial with half a size":     {CompressionSnappy, join(xerialHeader, []byte{0, 0}), InvalidRecord},
		"xerial of a later version":   {CompressionSnappy, join([]byte(xerialMagic), []byte{0, 0, 0, 2, 0, 0, 0, 2}), InvalidRecord},
		"lz4 content of 2^62":         {CompressionLZ4, lz4Size(1 << 62), RecordListTooLarge},
		"lz4 content of 2^63":         {CompressionLZ4, lz4Size(1 << 63), InvalidRecord},
		"lz4 content of 64 MiB":       {CompressionLZ4, lz4Size(64 << 20), InvalidRecord},
		"lz4 block of 4 GiB":          {CompressionLZ4, join([]byte(lz4Header), le32(1<<31-1)), InvalidRecord},
		"lz4 stored block of 2 GiB":   {CompressionLZ4, join([]byte(lz4Header), le32(1<<32-1)), InvalidRecord},
		"lz4 block beyond its class":  {CompressionLZ4, join([]byte(lz4Header), le32(lz4BlockSize+1), make([]byte, lz4BlockSize+1)), InvalidRecord},
		"lz4 byte in a 4 MiB class":   {CompressionLZ4, join(le32(lz4Magic), []byte{0x60, 0x70, 0}, le32(1), []byte{0}, le32(0)), InvalidRecord},
		"lz4 without an end":          {CompressionLZ4, []byte(lz4Header), InvalidRecord},
		"lz4 with bytes behind":       {CompressionLZ4, join([]byte(lz4Header), le32(0), none), InvalidRecord},
		"lz4 with a dictionary":       {CompressionLZ4, join(le32(lz4Magic), []byte{0x61, 0x40}, le32(1), []byte{0}, le32(0)), InvalidRecord},
		"lz4 of version 2":            {CompressionLZ4, join(le32(lz4Magic), []byte{0xa0, 0x40, 0}, le32(0)), InvalidRecord},
		"lz4 with a 32 KiB class":     {CompressionLZ4, join(le32(lz4Magic), []byte{0x60, 0x30, 0}, le32(0)), InvalidRecord},
		"lz4, legacy":                 {CompressionLZ4, join(le32(0x184c2102), le32(1<<31-1)), InvalidRecord},
		"lz4, only a magic":           {CompressionLZ4, le32(lz4Magic), InvalidRecord},
		"zstd frame of 2^63":          {CompressionZstd, zstdFrame(1 << 63), InvalidRecord},
		"zstd frame of 64 MiB":        {CompressionZstd, zstdFrame(64 << 20), InvalidRecord},
		"zstd frame of 1 byte more":   {CompressionZstd, zstdFrame(1), InvalidRecord},
		"zstd, only a magic":          {CompressionZstd, le32(0xfd2fb528), InvalidRecord},
		"gzip, half a header":         {CompressionGzip, []byte{0x1f, 0x8b, 8, 0}, InvalidRecord},
		"gzip, nothing":               {CompressionGzip, nil, InvalidRecord},
		"snappy, nothing":             {CompressionSnappy, nil, InvalidRecord},
		"lz4, nothing":                {CompressionLZ4, nil, InvalidRecord},
		"zstd, nothing":               {CompressionZstd, nil, InvalidRecord},
		"a codec that does not exist": {5, nil, UnsupportedCompression},
	} {
		t.Run(name, func(t *testing.T) {
			buf := new(DecodeBuffer)
			if c.c.Valid() {
				warm := buildBatch(t, c.c, sampleRecords())
				if err := CheckRecords(warm, buf); err != nil {
					t.Fatal(err)
				}
			}
			var err error
			n := allocated(func() { err = CheckRecords(seal(c.c, 1, c.src), buf) })
			requireCode(t, err, c.code)
			if n > 256<<10 { // seal's copy, an error, zstd's slack
				t.Errorf("%d bytes were allocated", n)
			}
		})
	}
}

// Blocks that refer to earlier ones, which Kafka's own clients do not write.
func TestDependentLZ4BlocksAreRead(t *testing.T) {
	blocks := []byte{8, 0, 0, 0x80} // stored
	blocks = append(blocks, "abcdefgh"...)
	blocks = append(blocks, 9, 0, 0, 0)
	blocks = append(blocks, 0x04, 8, 0) // a match of 8 bytes, 8 bytes back
	blocks = append(blocks, 0x50)       // 5 literals
	blocks = append(blocks, "12345"...)
	blocks = append(blocks, 0, 0, 0, 0)
	frame := func(flags byte) []byte {
		return append([]byte{4, 0x22, 0x4d, 0x18, flags, 0x40, 0}, blocks...)
	}
	buf := new(DecodeBuffer)
	got, err := buf.decompress(CompressionLZ4, frame(lz4FlagVersion1))
	if err != nil || string(got) != "abcdefghabcdefgh12345" {
		t.Fatalf("%q, %v", got, err)
	}
	_, err = buf.decompress(CompressionLZ4, frame(lz4FlagVersion1|lz4FlagIndependent))
	requireCode(t, err, InvalidRecord)
}

// A tiny frame may claim a window as large as the limit, as encoders of long
// streams do; that is no reason to allocate one.
func TestWindowThatAFrameClaimsIsNotAllocated(t *testing.T) {
	payload := payloadOfSize(100)
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 17 << 3} // a window of 2^27 bytes, no size
	frame = append(frame, byte(len(payload)<<3|1), byte(len(payload)>>5), 0)
	frame = append(frame, payload...)
	b := seal(CompressionZstd, 1, frame)
	buf := new(DecodeBuffer)
	if err := CheckRecords(buildBatch(t, CompressionZstd, sampleRecords()), buf); err != nil {
		t.Fatal(err)
	}
	var err error
	n := allocated(func() { err = CheckRecords(b, buf) })
	if err != nil || n > 64<<10 {
		t.Fatalf("%d bytes were allocated, %v", n, err)
	}
}

func TestCompressedRecordsThatWereCutAreRefused(t *testing.T) {
	for name, e := range encoders(t) {
		if name == "snappy xerial" || name == "zstd frames" || name == "gzip members" {
			continue // cut between their parts they are whole, and shorter
		}
		t.Run(name, func(t *testing.T) {
			packed, err := e.compress(nil, payloadOfSize(5000))
			if err != nil {
				t.Fatal(err)
			}
			buf := new(DecodeBuffer)
			for n := range packed {
				requireCode(t, CheckRecords(seal(e.c, 1, packed[:n]), buf), InvalidRecord)
			}
		})
	}
}

func TestHugeBatchIsNotPaidForEverAfter(t *testing.T) {
	buf := new(DecodeBuffer)
	for _, c := range allCompressions[1:] {
		if err := CheckRecords(buildBatch(t, c, []Record{{Value: make([]byte, 2*maxKeptDecodeBytes)}}), buf); err != nil {
			t.Fatal(err)
		}
		if err := CheckRecords(buildBatch(t, c, sampleRecords()), buf); err != nil {
			t.Fatal(err)
		}
		if room := cap(buf.data); room > maxKeptDecodeBytes {
			t.Errorf("%s: %d bytes are kept", c, room)
		}
	}
}
