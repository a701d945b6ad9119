package kafkaproto

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"reflect"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/rustmq/rustmq/mq"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestApiVersionsTellsTheTable(t *testing.T) {
	r := newRig(t)
	for version := range int16(5) {
		q := kmsg.NewPtrApiVersionsRequest()
		q.Version, q.ClientSoftwareName, q.ClientSoftwareVersion = version, "test.er-1", "1.0"
		got := ask[*kmsg.ApiVersionsResponse](r.connect(), q)
		if got.ErrorCode != 0 || len(got.ApiKeys) != len(r.server.table) {
			t.Fatalf("version %d: code %d, %d of %d APIs", version, got.ErrorCode, len(got.ApiKeys), len(r.server.table))
		}
		for i, k := range got.ApiKeys {
			if a := r.server.table[i]; k.ApiKey != a.key.Int16() || k.MinVersion != a.min || k.MaxVersion != a.max {
				t.Errorf("version %d: %+v for %s", version, k, a.key.Name())
			}
		}
	}
}

func TestUnknownApiVersionsIsAnsweredInVersion0(t *testing.T) {
	r := newRig(t)
	p := r.connect()
	for _, version := range []int16{6, 99, -1} {
		// What follows the correlation id is nothing that anybody could read.
		b := binary.BigEndian.AppendUint32(nil, 8+3)
		b = binary.BigEndian.AppendUint16(b, 18)
		b = binary.BigEndian.AppendUint16(b, uint16(version))
		b = binary.BigEndian.AppendUint32(b, 77)
		p.raw(append(b, 0xff, 0xff, 0xff))
		correlation, rest, err := p.receive()
		want := []byte{0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 5}
		if err != nil || correlation != 77 || string(rest) != string(want) {
			t.Fatalf("version %d: %d, % x, %v", version, correlation, rest, err)
		}
	}
	// The connection goes on.
	ask[*kmsg.MetadataResponse](p, kmsg.NewPtrMetadataRequest())
}

func TestSoftwareNamesAreChecked(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"", "a b", "-a", "a\n"} {
		q := kmsg.NewPtrApiVersionsRequest()
		q.Version, q.ClientSoftwareName, q.ClientSoftwareVersion = 3, name, "1.0"
		if got := ask[*kmsg.ApiVersionsResponse](r.connect(), q); got.ErrorCode != int16(mq.InvalidRequest) {
			t.Errorf("name %q: code %d", name, got.ErrorCode)
		}
	}
}

func TestOldProduceRequestsAreUnsupportedAndNoFault(t *testing.T) {
	r := newRig(t)
	p := r.connect()
	for version := range int16(3) {
		got := ask[*kmsg.ProduceResponse](p, produceOf(version, 1, "t", 7, []byte("old")))
		if part := got.Topics[0].Partitions[0]; part.ErrorCode != unsupportedVersion || part.Partition != 7 {
			t.Fatalf("version %d: %+v", version, part)
		}
	}
}

func TestUnsupportedVersions(t *testing.T) {
	r := newRig(t)
	// Metadata has no place for an error of the whole.
	q := kmsg.NewPtrListOffsetsRequest()
	q.Version = 0
	p := r.connect()
	p.send(q)
	r.closed(p, "version 0 of ListOffsets")
}

func TestFaultsCloseTheConnectionWithOneLine(t *testing.T) {
	frames := map[string][]byte{
		"API 77 (":                     {0, 0, 0, 8, 0, 77, 0, 0, 0, 0, 0, 1},
		"its header has more":          {0, 0, 0, 7, 0, 3, 0, 0, 0, 0, 0, 1},
		"a request of -1 bytes":        {0xff, 0xff, 0xff, 0xff, 0, 3, 0, 0, 0, 0, 0, 1},
		"at most 1048576 are allowed":  {0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0, 0, 0, 0, 1},
		"at most 104857600":            {0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 3, 0, 0, 0, 1},
		"ends in its middle":           {0, 0, 0, 10, 0, 3, 0, 0, 0, 0, 0, 1, 0, 9},
		"does not decode":              {0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff},
		"Produce request of version 3": {0, 0, 0, 12, 0, 0, 0, 3, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff},
	}
	for words, b := range frames {
		r := newRig(t)
		p := r.connect()
		p.raw(b)
		r.closed(p, words)
	}
}

func TestClientThatGoesIsNoFault(t *testing.T) {
	r := newRig(t)
	p := r.connect()
	ask[*kmsg.MetadataResponse](p, kmsg.NewPtrMetadataRequest())
	p.raw([]byte{0, 0, 0}) // in the middle of something
	_ = p.conn.(*net.TCPConn).CloseWrite()
	r.closed(p, "")
}

func TestResponsesComeInTheOrderOfRequests(t *testing.T) {
	r := newRig(t)
	r.broker.make("t", 1)
	r.broker.hold = true
	p := r.connect()
	first := produceOf(9, -1, "t", 0, batchOf(t, 1, []byte("a")))
	second := kmsg.NewPtrMetadataRequest()
	third := produceOf(9, -1, "t", 0, batchOf(t, 2, []byte("b")))
	ids := []int32{p.send(first), p.send(second), p.send(third)}
	// Both appends are begun though nothing is answered.
	until(t, func() bool {
		r.broker.mu.Lock()
		defer r.broker.mu.Unlock()
		return len(r.broker.held) == 2
	})
	r.broker.release()
	if got := response[*kmsg.ProduceResponse](p, first, ids[0]); got.Topics[0].Partitions[0].BaseOffset != 0 {
		t.Errorf("first: %+v", got)
	}
	response[*kmsg.MetadataResponse](p, second, ids[1])
	if got := response[*kmsg.ProduceResponse](p, third, ids[2]); got.Topics[0].Partitions[0].BaseOffset != 1 {
		t.Errorf("third: %+v", got)
	}
}

func TestPipelineIsBounded(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.Pipeline = 4 })
	r.broker.make("t", 1)
	r.broker.hold = true
	p := r.connect()
	for range 20 {
		p.send(produceOf(9, -1, "t", 0, batchOf(t, 1, nil)))
	}
	held := func() int {
		r.broker.mu.Lock()
		defer r.broker.mu.Unlock()
		return len(r.broker.held)
	}
	until(t, func() bool { return held() >= 4 })
	time.Sleep(20 * time.Millisecond) // it would go on by now
	if n := held(); n > 4+2 {         // one that is being answered, one that waits for a place
		t.Fatalf("%d requests were begun, 4 may wait", n)
	}
	r.broker.mu.Lock()
	r.broker.hold = false
	r.broker.mu.Unlock()
	go func() {
		for held() > 0 {
			r.broker.release()
		}
	}()
	for i := range int32(20) {
		if got, _, err := p.receive(); err != nil || got != i+1 {
			t.Fatalf("response %d where %d belongs: %v", got, i+1, err)
		}
	}
}

func TestConnectionsPerAddressAreBounded(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.AddressesEach = 2 })
	first, second := r.connect(), r.connect()
	third := r.connect()
	if n, err := io.Copy(io.Discard, third.conn); n != 0 || err != nil && n != 0 {
		t.Fatal("a third connection was served")
	}
	ask[*kmsg.MetadataResponse](second, kmsg.NewPtrMetadataRequest())
	_ = first.conn.Close()
	until(t, func() bool { return r.server.Stats().Connections == 1 })
	ask[*kmsg.MetadataResponse](r.connect(), kmsg.NewPtrMetadataRequest())
	if s := r.server.Stats(); s.Refused != 1 || s.Faults != 0 {
		t.Errorf("%+v", s)
	}
}

func TestPlaintextIsWhereItMayBe(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Plaintext = PlaintextLoopback })
	ask[*kmsg.MetadataResponse](r.connect(), kmsg.NewPtrMetadataRequest()) // by loopback
	near, far := net.Pipe()                                                // has no address
	defer near.Close()
	r.server.Serve(far, nil, nil)
	if _, err := near.Read(make([]byte, 1)); err == nil {
		t.Fatal("a client from elsewhere was served without TLS")
	}
}

func TestIdleConnectionsAreClosedAndBusyOnesNot(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.IdleTimeout = 50 * time.Millisecond })
	r.broker.make("t", 1)
	idle, busy := r.connect(), r.connect()
	q := fetchOf(11, "t", 0, 0)
	q.MaxWaitMillis = 300
	got := ask[*kmsg.FetchResponse](busy, q)
	if got.ErrorCode != 0 {
		t.Fatalf("%+v", got)
	}
	r.closed(idle, "")
	if s := r.server.Stats(); s.Faults != 0 {
		t.Errorf("%+v", s)
	}
}

func TestRequestThatDoesNotComeToItsEnd(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.FrameTimeout = 50 * time.Millisecond })
	p := r.connect()
	p.raw([]byte{0, 0, 1, 0, 0, 3, 0, 0, 0, 0, 0, 1})
	r.closed(p, "did not come to its end")
}

func TestShutdownAnswersWhatWaits(t *testing.T) {
	r := newRig(t)
	r.broker.make("t", 1)
	r.broker.hold = true
	waiting, appending, idle := r.connect(), r.connect(), r.connect()
	q := fetchOf(11, "t", 0, 0)
	q.MaxWaitMillis, q.MinBytes = 15_000, 1000
	fetch := waiting.send(q)
	pq := produceOf(9, -1, "t", 0, batchOf(t, 1, nil))
	produce := appending.send(pq)
	until(t, func() bool { return r.server.Stats().Requests == 2 })
	done := make(chan error)
	go func() { done <- r.server.Shutdown(context.Background()) }()
	response[*kmsg.FetchResponse](waiting, q, fetch)
	if n, err := io.Copy(io.Discard, idle.conn); n != 0 || err != nil {
		t.Errorf("idle: %d, %v", n, err)
	}
	r.broker.release()
	if got := response[*kmsg.ProduceResponse](appending, pq, produce); got.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Errorf("%+v", got)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	late := r.connect()
	if n, _ := io.Copy(io.Discard, late.conn); n != 0 {
		t.Error("a connection was served after the shutdown")
	}
}

func TestShutdownEndsWithItsContext(t *testing.T) {
	r := newRig(t)
	r.broker.make("t", 1)
	r.broker.hold = true
	p := r.connect()
	p.send(produceOf(9, -1, "t", 0, batchOf(t, 1, nil)))
	until(t, func() bool { return r.server.Stats().Requests == 1 })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := r.server.Shutdown(ctx); mq.CodeOf(err) != mq.RequestTimedOut {
		t.Fatal(err)
	}
}

// What nothing was set in encodes no null where Kafka's schema has none: but for the fields that may be null, nil and empty are the same bytes.
func TestNilIsNoNull(t *testing.T) {
	for _, a := range table(DefaultLimits()) {
		for version := a.from; version <= a.max; version++ {
			r := a.key.Response()
			r.SetVersion(version)
			fill(r, false)
			unset := r.AppendTo(nil)
			fill(r, true)
			if set := r.AppendTo(nil); string(unset) != string(set) {
				t.Errorf("%s version %d: % x with nil, % x with empty slices", a.key.Name(), version, unset, set)
			}
		}
	}
}

func TestEveryCodeIsOneOfKafkas(t *testing.T) {
	for _, code := range mq.Codes() {
		err := error(&mq.Error{Code: code, Msg: "x"})
		for _, got := range []int16{codeOf(err), coordinatorCodeOf(err)} {
			if got >= 1000 || !mq.Code(got).Valid() {
				t.Errorf("%s is told as %d, which no Kafka client knows", code, got)
			}
			if (got == 0) != (code == mq.None) {
				t.Errorf("%s is told as %d", code, got)
			}
		}
		if code.Retriable() && code >= 1000 && !mq.Code(codeOf(err)).Retriable() {
			t.Errorf("%s can be retried, %s cannot", code, mq.Code(codeOf(err)))
		}
	}
}

func TestShutdownWaitsForAConnectionThatHasJustEntered(t *testing.T) {
	r := newRig(t)
	c, err := r.server.enter(&recording{Reader: bytes.NewReader(nil)}, nil, Anonymous)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- r.server.Shutdown(context.Background()) }()
	select {
	case err := <-done:
		t.Fatal("the server is shut down, and a connection is about to be served", err)
	case <-time.After(30 * time.Millisecond):
	}
	r.server.serve(c)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// A version that is not served is answered only where the response of that version has a place for the error: elsewhere it would say that all is well.
func TestUnsupportedVersionIsNoSuccess(t *testing.T) {
	for _, c := range []struct {
		key     kmsg.Key
		version int16
	}{{kmsg.Fetch, 0}, {kmsg.Fetch, 1}, {kmsg.Fetch, 2}, {kmsg.Fetch, 3}, {kmsg.OffsetCommit, 0}, {kmsg.OffsetCommit, 1}, {kmsg.OffsetFetch, 0}} {
		r := newRig(t)
		q := c.key.Request()
		q.SetVersion(c.version)
		p := r.connect()
		p.send(q)
		r.closed(p, fmt.Sprintf("version %d of %s", c.version, c.key.Name()))
	}
	r := newRig(t)
	for i := range r.server.table {
		a := &r.server.table[i]
		if a.from < a.min {
			t.Errorf("%s: version %d is not told, and served", a.key.Name(), a.from)
		}
		for version := range a.key.Response().MaxVersion() + 1 {
			if version >= a.from && version <= a.max || a.key == kmsg.ApiVersions || a.key == kmsg.Produce {
				continue
			}
			c := &call{head: head{version: version}, api: a}
			answer, err := c.refuse()
			if err != nil {
				continue
			}
			b, err := answer(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var o output
			b.appendTo(&o)
			got := a.key.Response()
			got.SetVersion(version)
			if err := got.ReadFrom(o.buf); err != nil {
				t.Fatalf("%s version %d: %v", a.key.Name(), version, err)
			}
			if code := reflect.ValueOf(got).Elem().FieldByName("ErrorCode").Int(); code != int64(unsupportedVersion) {
				t.Errorf("%s version %d is answered with code %d", a.key.Name(), version, code)
			}
		}
	}
}

// A client that has come to another node than it thinks is told so.
func TestMisroutedClientsAreTold(t *testing.T) {
	r := newRig(t)
	p := r.connect()
	cluster, node := r.broker.Identity()
	for _, c := range []struct {
		cluster *string
		node    int32
		want    int16
	}{
		{nil, -1, 0},
		{kmsg.StringPtr(cluster.String()), int32(node), 0},
		{kmsg.StringPtr(cluster.String()), int32(node) + 1, rebootstrapRequired},
		{kmsg.StringPtr("another"), int32(node), rebootstrapRequired},
		{nil, int32(node), int16(mq.InvalidRequest)},
	} {
		q := kmsg.NewPtrApiVersionsRequest()
		q.Version, q.ClientSoftwareName, q.ClientSoftwareVersion, q.ClusterID, q.NodeID = 5, "test", "1", c.cluster, c.node
		if got := ask[*kmsg.ApiVersionsResponse](p, q); got.ErrorCode != c.want || (len(got.ApiKeys) > 0) != (c.want == 0) {
			t.Errorf("%v, %d: %d, %d APIs", c.cluster, c.node, got.ErrorCode, len(got.ApiKeys))
		}
	}
}
