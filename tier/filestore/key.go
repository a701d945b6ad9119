package filestore

import (
	"strings"
	"unicode/utf8"
)

const (
	// maxComponentBytes is what file systems take as a file name (NAME_MAX).
	maxComponentBytes = 255
	// maxKeyBytes is the longest key, as with S3.
	maxKeyBytes = 1024

	hexDigits = "0123456789abcdef"
)

// plainByte says whether b stands for itself in a file name.
func plainByte(b byte) bool {
	return 'a' <= b && b <= 'z' || '0' <= b && b <= '9' || strings.IndexByte("-_.=,@", b) >= 0
}

// pathOf is the relative slash-separated path of a key's file; ok is false for
// a key that cannot be stored.
func pathOf(key string) (path string, ok bool) {
	if key == "" || len(key) > maxKeyBytes || !utf8.ValidString(key) {
		return "", false
	}
	components := strings.Split(key, "/")
	for i, c := range components {
		components[i] = escape(c)
		if len(components[i]) > maxComponentBytes {
			return "", false
		}
	}
	return strings.Join(components, "/"), true
}

func escape(component string) string {
	if component == "" {
		return "%"
	}
	var b strings.Builder
	for i := range len(component) {
		c := component[i]
		if plainByte(c) && (c != '.' || i > 0) {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hexDigits[c>>4])
		b.WriteByte(hexDigits[c&15])
	}
	return b.String()
}

// unescape is the inverse of escape; ok is false for names that escape does not
// make.
func unescape(name string) (component string, ok bool) {
	if name == "%" {
		return "", true
	}
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] != '%' {
			b.WriteByte(name[i])
			continue
		}
		if i+2 >= len(name) {
			return "", false
		}
		hi, lo := strings.IndexByte(hexDigits, name[i+1]), strings.IndexByte(hexDigits, name[i+2])
		if hi < 0 || lo < 0 {
			return "", false
		}
		b.WriteByte(byte(hi<<4 | lo))
		i += 2
	}
	component = b.String()
	return component, component != "" && escape(component) == name
}
