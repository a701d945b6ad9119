package filestore

import (
	"path"
	"path/filepath"
	"strings"
	"testing"
)

func FuzzKeyNeverLeavesDirectory(f *testing.F) {
	for _, key := range []string{
		"objects/0/00ab.rmq", "..", "../x", "/etc/passwd", "a//b", ".tmp/x", "A", "%2e", "%", "a/..", "x/../../y", "\x00", "☺", "a/", "lost+found",
		"\\..\\x", "c:\\x", "nul", strings.Repeat("x", 255), strings.Repeat("X", 255),
	} {
		f.Add(key, "other")
	}
	f.Fuzz(func(t *testing.T, key, other string) {
		name, ok := pathOf(key)
		if !ok {
			return
		}
		if !filepath.IsLocal(name) || path.Clean(name) != name {
			t.Fatalf("key %q has path %q", key, name)
		}
		if strings.ToLower(name) != name {
			t.Fatalf("key %q has path %q, which a case-insensitive file system can mix up", key, name)
		}
		components := strings.Split(name, "/")
		for i, c := range components {
			if strings.HasPrefix(c, ".") || len(c) > maxComponentBytes {
				t.Fatalf("key %q has component %q", key, c)
			}
			back, ok := unescape(c)
			if !ok {
				t.Fatalf("component %q of key %q is not understood", c, key)
			}
			components[i] = back
		}
		if back := strings.Join(components, "/"); back != key {
			t.Fatalf("key %q comes back as %q", key, back)
		}
		if otherName, ok := pathOf(other); ok && otherName == name && other != key {
			t.Fatalf("keys %q and %q have one path %q", key, other, name)
		}
	})
}

func TestForeignFileNamesAreNotKeys(t *testing.T) {
	for _, name := range []string{"lost+found", ".tmp", ".hidden", "UPPER", "a b", "%41%", "%zz", "%4", "%61", "%2E", "x.tmp~"} {
		if key, ok := unescape(name); ok {
			t.Errorf("file name %q was taken for key %q", name, key)
		}
	}
}
