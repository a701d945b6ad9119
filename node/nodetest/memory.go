package nodetest

import "os"

// inMemory is where Linux has files in memory.
const inMemory = "/dev/shm"

// KeepInMemory has temporary files in memory where there is a place for them, unless TMPDIR says where they are: for TestMain, before anything makes one. The databases of many nodes sync there
// without a disk that all of them would wait for. What a disk loses is for another file system to show (wal/crashfs).
func KeepInMemory() {
	if info, err := os.Stat(inMemory); err == nil && info.IsDir() && os.Getenv("TMPDIR") == "" {
		_ = os.Setenv("TMPDIR", inMemory)
	}
}
