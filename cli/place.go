package cli

import (
	"strconv"
	"strings"
	"time"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// place is where reading starts or stops: start, end, an offset or a time.
type place struct {
	client.Position
	offset   mq.Offset
	isOffset bool
	isEnd    bool
}

// timeLayouts are those of a TIMESTAMP; without a zone it is local time.
var timeLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02"}

// parsePlace reads start, end, an offset, a time in RFC 3339 or as @milliseconds, or a time ago such as -1h.
func parsePlace(flag, text string, now time.Time) (place, error) {
	switch text {
	case "start", "beginning", "earliest":
		return place{Position: client.Start()}, nil
	case "end", "latest":
		return place{Position: client.End(), isEnd: true}, nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 {
		return place{Position: client.At(mq.Offset(n)), offset: mq.Offset(n), isOffset: true}, nil
	}
	if ms, ok := strings.CutPrefix(text, "@"); ok {
		if n, err := strconv.ParseInt(ms, 10, 64); err == nil && n >= 0 {
			return place{Position: client.AtTime(time.UnixMilli(n))}, nil
		}
	}
	if ago, ok := strings.CutPrefix(text, "-"); ok {
		if d, err := time.ParseDuration(ago); err == nil && d >= 0 {
			return place{Position: client.AtTime(now.Add(-d))}, nil
		}
	}
	for _, layout := range timeLayouts {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return place{Position: client.AtTime(t)}, nil
		}
	}
	return place{}, usagef("--%s %q: write start, end, an offset, a time such as 2026-11-24T08:00:00Z or @1795507200000, or a time ago such as -1h", flag, text)
}
