package filestore

import (
	"os"
	"testing"
)

// TestFileOfAnUnknownKindIsNotLocal is of one that the kernel makes up.
func TestFileOfAnUnknownKindIsNotLocal(t *testing.T) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	file := osFile{&directFile{File: f}}
	if local, err := file.Local(); local || err != nil {
		t.Errorf("%v, %v", local, err)
	}
	_ = f.Close()
	if _, err := file.Local(); err == nil {
		t.Error("a closed file is on something")
	}
}
