package group

import (
	"regexp"
	"regexp/syntax"

	"github.com/rustmq/rustmq/mq"
)

// compile makes a pattern of whole names.
func compile(pattern string) (*regexp.Regexp, error) {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, err // also what is a pattern in parentheses only
	}
	if steps(parsed) > mq.MaxPatternBytes {
		return nil, mq.Errorf(mq.InvalidRegularExpression, "written out it has more than %d steps", mq.MaxPatternBytes)
	}
	return regexp.Compile("^(?:" + pattern + ")$")
}

// steps is about how long a pattern's program is: a few bytes that say how often something is repeated make a long one.
func steps(re *syntax.Regexp) int {
	n := max(1, len(re.Sub))
	switch re.Op {
	case syntax.OpLiteral:
		n = len(re.Rune)
	case syntax.OpRepeat:
		n = 0 // only what it repeats
	}
	for _, sub := range re.Sub {
		n += steps(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return min(n, mq.MaxPatternBytes+1)
}
