package raft

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/rustmq/rustmq/mq"
)

// FuzzMembers: a membership comes with a snapshot, out of another member's state machine. Bytes are refused, or read as what writes back alike.
func FuzzMembers(f *testing.F) {
	good, err := membersOf(&raftpb.ConfState{Voters: []uint64{1, 2, 3}, Learners: []uint64{4}}, 9).encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{0xc0, 0x3e, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMembers(b)
		if err != nil {
			if mq.CodeOf(err) != mq.Corrupt {
				t.Fatal(err)
			}
			return
		}
		encoded, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeMembers(encoded)
		if err != nil || again.highest != m.highest || !proto.Equal(again.conf, m.conf) {
			t.Fatalf("%v, %+v, then %+v", err, m, again)
		}
		for _, id := range m.conf.GetVoters() {
			if id > m.highest {
				t.Fatalf("id %d is above the highest ever, %d", id, m.highest)
			}
		}
	})
}
