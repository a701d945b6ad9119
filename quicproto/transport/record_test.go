package transport

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/rustmq/rustmq/mq"
)

func sampleRecords() map[string][]byte {
	secret := [secretSize]byte{1, 2, 3, 31: 32}
	return map[string][]byte{
		"data":   append(appendHeader(nil, kindData, 3), "abc"...),
		"end":    appendRecord(nil, kindEnd),
		"reset":  resetRecord(mq.Canceled),
		"begin":  appendRecord(nil, kindBegin, begin{idle: 15 * time.Second}.body()...),
		"begun":  appendRecord(nil, kindBegun, begun{id: 0x0102030405060708, secret: secret, idle: 30 * time.Second, streams: 64}.body()...),
		"attach": appendRecord(nil, kindAttach, attach{id: 0x0102030405060708, secret: secret}.body()...),
		"close":  appendRecord(nil, kindClose, codeBody(mq.ShuttingDown, "bye")...),
		"ping":   appendRecord(nil, kindPing, fields64(7)...),
		"pong":   appendRecord(nil, kindPong, fields64(7)...),
	}
}

func TestBytesOfEachRecordAreThese(t *testing.T) {
	var b strings.Builder
	records := sampleRecords()
	for _, name := range []string{"data", "end", "reset", "begin", "begun", "attach", "close", "ping", "pong"} {
		fmt.Fprintf(&b, "%s %x\n", name, records[name])
	}
	want, err := os.ReadFile("testdata/records.golden")
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("got\n%s", b.String())
	}
}

func TestRecordsAreReadOneByteAtATime(t *testing.T) {
	var all []byte
	records := sampleRecords()
	for _, name := range []string{"begin", "data", "end", "close"} {
		all = append(all, records[name]...)
	}
	in := input{r: iotest.OneByteReader(bytes.NewReader(all))}
	for _, want := range []kind{kindBegin, kindData, kindEnd, kindClose} {
		k, _, err := in.next()
		if err != nil || k != want {
			t.Fatalf("kind %d, %v, want %d", k, err, want)
		}
		for in.left > 0 {
			if _, err := in.read(make([]byte, 10)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, _, err := in.next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last one: %v", err)
	}
}

func TestReasonsFitIntoTheirRecord(t *testing.T) {
	body := codeBody(mq.Internal, strings.Repeat("ä", maxReason))
	if _, reason, err := parseCode(body, true); err != nil || len(body) > maxBody || !strings.HasPrefix(reason, "ää") {
		t.Errorf("%d bytes, %v", len(body), err)
	}
}

// FuzzFirst gives any bytes to who reads what a connection is to be.
func FuzzFirst(f *testing.F) {
	for _, r := range sampleRecords() {
		f.Add(r)
		f.Add(r[:len(r)/2])
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		in := input{r: bytes.NewReader(data)}
		k, body, err := in.next()
		if err != nil {
			return
		}
		b, at, err := parseFirst(k, body)
		if err != nil {
			if c := mq.CodeOf(err); c != mq.ProtocolViolation && c != mq.UnsupportedVersion {
				t.Fatal(err)
			}
			return
		}
		var again []byte
		if b != nil {
			again = appendRecord(nil, kindBegin, b.body()...)
		} else {
			again = appendRecord(nil, kindAttach, at.body()...)
		}
		if !bytes.HasPrefix(data, again) {
			t.Fatalf("%x was decoded, and encoded as %x", data, again)
		}
	})
}

// FuzzRecords gives any bytes to who reads records after that.
func FuzzRecords(f *testing.F) {
	var all []byte
	for _, r := range sampleRecords() {
		f.Add(r)
		all = append(all, r...)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, data []byte) {
		in := input{r: bytes.NewReader(data)}
		for {
			k, body, err := in.next()
			if err != nil {
				return
			}
			switch k {
			case kindBegun:
				_, _ = parseBegun(body)
			case kindReset, kindClose:
				_, _, _ = parseCode(body, k == kindClose)
			case kindPing, kindPong:
				_, _ = parseNumber(body)
			}
			for in.left > 0 {
				if n, err := in.read(make([]byte, 100)); err != nil || n == 0 {
					return
				}
			}
		}
	})
}
