package replication

import (
	"bytes"
	"errors"
	"net"
	"testing"

	replicationpb "github.com/rustmq/rustmq/api/replication/v1"
	"github.com/rustmq/rustmq/mq"
)

// pieces is a connection that notes what each call writes, and fails from the call after the last on, if that is not 0.
type pieces struct {
	heard
	written [][]byte
	last    int
}

func (p *pieces) Write(b []byte) (int, error) {
	if p.last > 0 && len(p.written) >= p.last {
		return 0, net.ErrClosed
	}
	p.written = append(p.written, bytes.Clone(b))
	return len(b), nil
}

// plain is a TLS connection without TLS: it writes to what it goes over in pieces that are as large as a record.
type plain struct{ net.Conn }

func (p plain) NetConn() net.Conn { return p.Conn }

func (p plain) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		var m int
		m, err = p.Conn.Write(b[:min(len(b), keptBytes)])
		n, b = n+m, b[m:]
	}
	return n, err
}

func TestRecordsOfAMessageAreGathered(t *testing.T) {
	for _, c := range []struct{ batch, most int }{{10, 1}, {keptBytes, 1}, {3 * keptBytes, 1}, {10 * keptBytes, 3}} {
		out := &pieces{}
		s := leaderStream{newStream(plain{Gather(out)})}
		m := part(1, 1, 0, mq.Batch(bytes.Repeat([]byte{7}, c.batch)))
		for range 3 {
			out.written = nil
			if err := s.Send(m); err != nil {
				t.Fatal(err)
			}
			if got := bytes.Join(out.written, nil); !bytes.Equal(got, written(t, m)) {
				t.Errorf("a batch of %d bytes: other bytes than without", c.batch)
			}
			if len(out.written) > c.most {
				t.Errorf("a batch of %d bytes is written by %d calls, want %d", c.batch, len(out.written), c.most)
			}
		}
	}
}

func TestWhatIsGatheredAndNotWrittenIsAnError(t *testing.T) {
	s := leaderStream{newStream(plain{Gather(&pieces{last: 1})})}
	m := part(1, 1, 0, make([]byte, 5*keptBytes))
	if err := s.Send(m); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	s = leaderStream{newStream(plain{Gather(&pieces{last: 1})})}
	for range 2 {
		m = saying(&replicationpb.ReplicateRequest{})
		err := s.Send(m)
		if errors.Is(err, net.ErrClosed) {
			return
		}
	}
	t.Error("a message that was not written")
}
