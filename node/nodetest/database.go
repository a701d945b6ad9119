package nodetest

import (
	"io"
	"os"
)

const (
	// databasePage is at most what bbolt takes as a page on machines that we know.
	databasePage = 64 << 10
	// databaseBytes is the length that bbolt would give the file at its first commit, with a sync of the machine's disk.
	databaseBytes = 32 << 20
)

// readDatabase reads what is in use of a database. bbolt makes files larger than they need be; behind the last page that it
// ever wrote all is zero, and before that no page is.
func readDatabase(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var data []byte
	page := make([]byte, databasePage)
	for {
		n, err := io.ReadFull(f, page)
		if used := page[:n]; allZero(used) {
			return data, nil
		} else if data = append(data, used...); err != nil {
			return data, nil
		}
	}
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func writeDatabase(f *os.File, data []byte) error {
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Truncate(databaseBytes)
}
