package tier

import (
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
)

// objectsDir is where the objects of a cluster are, by its prefix.
func objectsDir(prefix string) string { return prefix + "objects/" }

// objectKey is a key that nobody else has, even if somebody else had the id.
// Keys sort by id; 4,096 share a directory.
func objectKey(prefix string, id uint64) string {
	return fmt.Sprintf("%s%013x/%016x-%s.rmq", objectsDir(prefix), id>>12, id, strings.ToLower(rand.Text()[:13]))
}

// KeyID is the object's id in a key under a cluster's prefix; ok is false for what is no key of an object there.
func KeyID(prefix, key string) (id uint64, ok bool) {
	name, ok := strings.CutPrefix(key, objectsDir(prefix))
	_, name, dir := strings.Cut(name, "/")
	digits, _, random := strings.Cut(name, "-")
	if !ok || !dir || !random || len(digits) != 16 || !strings.HasSuffix(name, ".rmq") {
		return 0, false
	}
	id, err := strconv.ParseUint(digits, 16, 64)
	return id, err == nil && id != 0
}

// Holds says whether a key is that of an object under a cluster's prefix.
func Holds(prefix, key string) bool { return strings.HasPrefix(key, objectsDir(prefix)) }
