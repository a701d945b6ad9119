package group

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// A pattern is held against every topic's name with the shard waiting: a short one must not make a long program.
func TestPatternIsBoundedByItsProgram(t *testing.T) {
	for pattern, ok := range map[string]bool{
		"orders-.*|billing-[a-z]{2,10}":                true,
		strings.Repeat("a|", 1000) + "b":               true,
		strings.Repeat("x", mq.MaxPatternBytes):        true,
		"(?i)(eu|us)-[0-9]{1,3}-(orders|returns)\\.v2": true,
		"[a-z]{1000}":                          true,
		"(.?){999}(.?){999}(.?){999}":          false,
		strings.Repeat("[a-z]{999}", 400):      false,
		"((a{10}){10}){10}b((a{10}){10}){10}":  true,
		strings.Repeat("(((a{9}){9}){9})", 20): false,
	} {
		if _, err := compile(pattern); (err == nil) != ok {
			t.Errorf("%.40s: %v", pattern, err)
		}
	}
	s := NewShard(DefaultConfig(), nil)
	s.SetTopics(start, NewTopics(1, nil))
	pattern := strings.Repeat("(.?){999}", 10)
	effects := s.Handle(start, 1, &HeartbeatRequest{Group: "g", Member: "m", RebalanceTimeout: time.Minute, Pattern: &pattern})
	if len(effects.Replies) != 1 || mq.CodeOf(effects.Replies[0].Err) != mq.InvalidRegularExpression {
		t.Errorf("%+v", effects.Replies)
	}
}

// An internal topic is for who names it: a pattern that means all topics does not mean these.
func TestPatternThatNamesAnInternalTopicFindsIt(t *testing.T) {
	s := NewShard(DefaultConfig(), nil)
	internal, orders := mq.TopicID{1}, mq.TopicID{2}
	s.SetTopics(start, NewTopics(1, []Topic{{Name: "__consumer_offsets", ID: internal, Partitions: 1, Internal: true}, {Name: "orders", ID: orders, Partitions: 1}}))
	for i, c := range []struct {
		pattern string
		want    []mq.TopicID
	}{{".*", []mq.TopicID{orders}}, {"__.*", nil}, {"orders|__consumer_offsets", []mq.TopicID{internal, orders}}} {
		group := fmt.Sprint("g", i)
		effects := s.Handle(start, Token(i), &HeartbeatRequest{Group: group, Member: "m", RebalanceTimeout: time.Minute, Pattern: &c.pattern})
		var got []mq.TopicID
		if r, ok := effects.Replies[0].Response.(*HeartbeatResponse); ok {
			for _, p := range r.Assigned {
				got = append(got, p.Topic)
			}
		}
		slices.SortFunc(got, func(a, b mq.TopicID) int { return bytes.Compare(a[:], b[:]) })
		if !slices.Equal(got, c.want) {
			t.Errorf("%q: %v, want %v (%v)", c.pattern, got, c.want, effects.Replies[0].Err)
		}
	}
}
