package wal

import (
	"slices"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// Check reads a log's directory as Open would, and changes nothing. The error
// is for what is no log or cannot be read; damage is in the Recovery. On a
// running log what is just being written at its end is counted as torn.
func Check(fs FS, dir string) (*Recovery, error) {
	return Scan(fs, dir, func() func(Entry) error { return nil })
}

// Scan is Check that also gives a visitor the entries, as Open would. begin
// makes the visitor: once and, when a running log freed and used again what
// was being read, once more for another attempt.
func Scan(fs FS, dir string, begin func() func(Entry) error) (*Recovery, error) {
	for try := 0; ; try++ {
		before, err := segmentNames(fs, dir)
		if err != nil {
			return nil, err
		}
		report, err := scanOnce(fs, dir, begin())
		after, listErr := segmentNames(fs, dir)
		if listErr != nil {
			return nil, listErr
		}
		if try < 3 && (err != nil || len(report.Damage) > 0) && !slices.Equal(before, after) {
			continue
		}
		return report, mq.Wrapf(err, "check wal %s", dir)
	}
}

func scanOnce(fs FS, dir string, visit func(Entry) error) (*Recovery, error) {
	start := time.Now()
	opts, err := Options{FS: fs, Dir: dir, SegmentBytes: MinSegmentBytes}.withDefaults()
	if err != nil {
		return nil, err
	}
	found, err := recoverLog(&opts, visit, true)
	if err != nil {
		return nil, err
	}
	// A log that nobody writes to: it has no goroutines, and is only read.
	err = newLog(opts, found).replayCopied(found, visit)
	found.report.Elapsed = time.Since(start)
	if closeErr := found.close(); err == nil {
		err = closeErr
	}
	return found.report, err
}

func segmentNames(fs FS, dir string) ([]string, error) {
	names, err := fs.ReadDir(dir)
	if err != nil {
		return nil, mq.Errorf(mq.KafkaStorageError, "list the segments in %s: %w", dir, err)
	}
	return slices.DeleteFunc(names, func(name string) bool {
		_, ok := parseSegmentName(name)
		return !ok
	}), nil
}
