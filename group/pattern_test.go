package group

import (
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
