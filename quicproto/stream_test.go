package quicproto

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/rustmq/rustmq/mq"
)

// allFrames is every sample on one stream, with a large batch in the middle and a large body at the end.
func allFrames(t *testing.T) ([]Frame, []byte) {
	frames := sampleFrames()
	big := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	frames = append(frames, &Produce{Request: 1, Batch: big}, &Records{Batches: big}, &Request{API: 1, Body: big}, &Unassign{Handle: 9})
	var stream bytes.Buffer
	w := NewFrameWriter(&stream)
	for _, f := range frames {
		var err error
		switch f := f.(type) {
		case *Produce:
			err = w.WriteProduce(f)
		case *Records:
			err = w.WriteRecords(f, [][]byte{f.Batches[:3], f.Batches[3:]})
		default:
			err = w.Write(f)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return frames, stream.Bytes()
}

func TestFramesSurviveAnyFragmentation(t *testing.T) {
	frames, stream := allFrames(t)
	for name, r := range map[string]io.Reader{
		"whole":       bytes.NewReader(stream),
		"single byte": iotest.OneByteReader(bytes.NewReader(stream)),
		"halves":      iotest.HalfReader(bytes.NewReader(stream)),
		"with EOF":    iotest.DataErrReader(bytes.NewReader(stream)),
		"random":      &raggedReader{bytes.NewReader(stream), rand.New(rand.NewPCG(1, 2))},
	} {
		t.Run(name, func(t *testing.T) {
			in := NewFrameReader(r, MaxBatchBytes)
			for i, want := range frames {
				got, err := in.Read()
				if err != nil {
					t.Fatalf("frame %d: %v", i, err)
				}
				if !sameValue(got, want) {
					t.Fatalf("frame %d: got %.100s, want %.100s", i, fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want))
				}
			}
			if _, err := in.Read(); !errors.Is(err, io.EOF) {
				t.Errorf("at the end: %v", err)
			}
		})
	}
}

type raggedReader struct {
	r   io.Reader
	rnd *rand.Rand
}

func (r *raggedReader) Read(p []byte) (int, error) {
	return r.r.Read(p[:1+r.rnd.IntN(len(p))])
}

func TestAStreamThatEndsInsideAFrameIsNotAnEndOfStream(t *testing.T) {
	whole := AppendFrame(nil, &Bind{Handle: 1, Topic: strings.Repeat("t", 200)})
	for n := 1; n < len(whole); n++ {
		_, err := NewFrameReader(bytes.NewReader(whole[:n]), MaxBatchBytes).Read()
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
}

func TestNextSkipsWhatWasNotRead(t *testing.T) {
	_, stream := allFrames(t)
	in := NewFrameReader(iotest.HalfReader(bytes.NewReader(stream)), MaxBatchBytes)
	var types []Type
	for {
		typ, n, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		types = append(types, typ)
		if err := in.ReadFull(make([]byte, n/2)); err != nil {
			t.Fatal(err)
		}
	}
	if len(types) != len(sampleFrames())+4 {
		t.Errorf("saw %v", types)
	}
}

func TestTooLongFramesAreRefusedBeforeTheyAreRead(t *testing.T) {
	for _, c := range []struct {
		typ  Type
		n    uint32
		code mq.Code
	}{
		{TypeProduce, ProducePrefixSize + 1000, mq.None},
		{TypeProduce, ProducePrefixSize + 1001, mq.MessageTooLarge},
		{TypeRecords, RecordsPrefixSize + 1001, mq.MessageTooLarge},
		{TypeHello, maxSmallPayload + 1, mq.MessageTooLarge},
		{TypeResponse, MaxResponseBytes + 1, mq.MessageTooLarge},
		{TypeBind, 1<<32 - 1, mq.MessageTooLarge},
		{0, 0, mq.UnsupportedVersion},
		{0x7f, 1<<32 - 1, mq.UnsupportedVersion},
		{0x93, 1, mq.UnsupportedVersion},
	} {
		in := NewFrameReader(bytes.NewReader(AppendHeader(nil, c.typ, int(c.n))), 1000)
		if _, _, err := in.Next(); mq.CodeOf(err) != c.code {
			t.Errorf("%v of %d bytes: %v", c.typ, c.n, err)
		}
	}
}

func TestAnAnnouncedLengthAllocatesOnlyWhatArrives(t *testing.T) {
	header := append(AppendHeader(nil, TypeResponse, MaxResponseBytes), make([]byte, 1000)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		if _, err := NewFrameReader(bytes.NewReader(header), 0).Read(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / 100; got > 3*firstPiece {
		t.Errorf("%d bytes allocated for a frame of which 1000 arrived", got)
	}
}

func TestReadingABatchCopiesItOnce(t *testing.T) {
	batch := make([]byte, 64<<10)
	frame := AppendFrame(nil, &Produce{Request: 1, Batch: batch})
	src := bytes.NewReader(frame)
	in := NewFrameReader(src, MaxBatchBytes)
	allocs := testing.AllocsPerRun(100, func() {
		src.Reset(frame)
		_, n, err := in.Next()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := in.Prefix(ProducePrefixSize); err != nil {
			t.Fatal(err)
		}
		if err := in.ReadFull(batch[:n-ProducePrefixSize]); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations for a frame", allocs)
	}
}

func TestWriterWritesInLargePieces(t *testing.T) {
	var pieces []int
	w := NewFrameWriter(writerFunc(func(p []byte) (int, error) {
		pieces = append(pieces, len(p))
		return len(p), nil
	}))
	for range 1000 {
		if err := w.WriteRecords(&Records{}, [][]byte{make([]byte, 500), make([]byte, 500)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if len(pieces) > 17 {
		t.Errorf("1 MB in %d writes: %v", len(pieces), pieces)
	}
	w.Release()
	if cap(w.buf) > keepBuffer {
		t.Errorf("an idle writer holds %d bytes", cap(w.buf))
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestWriterReportsAFailedStream(t *testing.T) {
	broken := errors.New("broken")
	w := NewFrameWriter(writerFunc(func([]byte) (int, error) { return 0, broken }))
	if err := w.Write(&Unassign{}); err != nil {
		t.Errorf("gathering failed: %v", err)
	}
	if err := w.Flush(); !errors.Is(err, broken) {
		t.Errorf("flush: %v", err)
	}
	if err := w.WriteProduce(&Produce{Batch: make([]byte, writeThrough)}); !errors.Is(err, broken) {
		t.Errorf("write through: %v", err)
	}
}
