package server

import (
	"slices"
	"testing"

	"github.com/rustmq/rustmq/quicproto"
)

// What a member was assigned and was not told yet is told, though its epoch is another one by now.
func TestAssignmentThatIsNotWrittenYetIsNotForgotten(t *testing.T) {
	g := &groupStream{wake: make(chan struct{}, 1)}
	g.Assigned(&quicproto.Assignment{Epoch: 5, Changed: true, Partitions: []quicproto.GroupPartitions{{Topic: "t", Partitions: []int32{1}}}})
	g.Assigned(&quicproto.Assignment{Epoch: 6})
	next, _ := g.take()
	if next.Epoch != 6 || !next.Changed || len(next.Partitions) != 1 || !slices.Equal(next.Partitions[0].Partitions, []int32{1}) {
		t.Errorf("%+v", next)
	}
	g.Assigned(&quicproto.Assignment{Epoch: 7})
	if next, _ := g.take(); next.Epoch != 7 || next.Changed {
		t.Errorf("%+v", next)
	}
}
