package cli

import (
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/rustmq/rustmq/mq"
)

// format is a compiled -f: pieces that append themselves to a line.
type format []func(dst []byte, topic string, partition int32, r *mq.Record) []byte

const formatHelp = "%s value, %S its length (-1 for null), %R its length in 4 bytes big-endian, %k key, %K its length, %h headers, " +
	"%T timestamp in ms, %t topic, %p partition, %o offset, %%, and \\n \\t \\r \\0 \\\\ \\xHH"

// parseFormat reads kcat's format strings.
func parseFormat(text string) (format, error) {
	var f format
	var plain []byte
	flush := func() {
		if len(plain) == 0 {
			return
		}
		piece := string(plain)
		plain = nil
		f = append(f, func(dst []byte, _ string, _ int32, _ *mq.Record) []byte { return append(dst, piece...) })
	}
	for i := 0; i < len(text); i++ {
		if (text[i] == '%' || text[i] == '\\') && i+1 == len(text) {
			return nil, usagef("the format ends with a lone %q: double it to mean itself", text[i])
		}
		switch text[i] {
		case '%':
			i++
			if text[i] == '%' {
				plain = append(plain, '%')
				continue
			}
			piece, ok := directives[text[i]]
			if !ok {
				return nil, usagef("the format has no directive %q: there are %s", text[i-1:i+1], formatHelp)
			}
			flush()
			f = append(f, piece)
		case '\\':
			literal, used, ok := unescape(text[i+1:])
			if !ok {
				return nil, usagef("the format has no escape %q: there are %s", text[i:i+2], formatHelp)
			}
			plain = append(plain, literal)
			i += used
		default:
			plain = append(plain, text[i])
		}
	}
	flush()
	return f, nil
}

// unescape is the byte that the text behind a backslash means, and how much of the
// text that is.
func unescape(text string) (literal byte, used int, ok bool) {
	if i := strings.IndexByte(`nrt0\'"abfve`, text[0]); i >= 0 {
		return "\n\r\t\x00\\'\"\a\b\f\v\x1b"[i], 1, true
	}
	if text[0] != 'x' {
		return 0, 0, false
	}
	end := 1
	for end < len(text) && end < 3 && strings.IndexByte("0123456789abcdefABCDEF", text[end]) >= 0 {
		end++
	}
	n, err := strconv.ParseUint(text[1:end], 16, 8)
	return byte(n), end, err == nil
}

var directives = map[byte]func(dst []byte, topic string, partition int32, r *mq.Record) []byte{
	's': func(dst []byte, _ string, _ int32, r *mq.Record) []byte { return append(dst, r.Value...) },
	'S': func(dst []byte, _ string, _ int32, r *mq.Record) []byte {
		return strconv.AppendInt(dst, int64(length(r.Value)), 10)
	},
	'R': func(dst []byte, _ string, _ int32, r *mq.Record) []byte {
		return binary.BigEndian.AppendUint32(dst, uint32(length(r.Value)))
	},
	'k': func(dst []byte, _ string, _ int32, r *mq.Record) []byte { return append(dst, r.Key...) },
	'K': func(dst []byte, _ string, _ int32, r *mq.Record) []byte {
		return strconv.AppendInt(dst, int64(length(r.Key)), 10)
	},
	'h': func(dst []byte, _ string, _ int32, r *mq.Record) []byte { return appendHeaders(dst, r.Headers) },
	'T': func(dst []byte, _ string, _ int32, r *mq.Record) []byte {
		return strconv.AppendInt(dst, r.Timestamp, 10)
	},
	't': func(dst []byte, topic string, _ int32, _ *mq.Record) []byte { return append(dst, topic...) },
	'p': func(dst []byte, _ string, partition int32, _ *mq.Record) []byte {
		return strconv.AppendInt(dst, int64(partition), 10)
	},
	'o': func(dst []byte, _ string, _ int32, r *mq.Record) []byte {
		return strconv.AppendInt(dst, int64(r.Offset), 10)
	},
}

// length is that of a value, -1 for null.
func length(b []byte) int {
	if b == nil {
		return -1
	}
	return len(b)
}

func appendHeaders(dst []byte, headers []mq.Header) []byte {
	for i, h := range headers {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(dst, h.Key...), '=')
		if h.Value == nil {
			dst = append(dst, "NULL"...)
		} else {
			dst = append(dst, h.Value...)
		}
	}
	return dst
}
