package cli

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/rustmq/rustmq/mq"
)

// Every failure ends with status 1 and one line that names its code, but for the options that the client refuses: these are usage.
func TestEveryCodeHasAnExitStatus(t *testing.T) {
	usage := map[mq.Code]bool{mq.InvalidConfig: true, mq.InvalidRequiredAcks: true, mq.UnsupportedCompression: true}
	for _, code := range mq.Codes() {
		if code == mq.None {
			continue
		}
		err := error(mq.Errorf(code, "first line\nsecond line"))
		status, line := ending(err)
		if status != exitFailed || !strings.Contains(line, code.String()) {
			t.Errorf("%s: status %d, %q", code, status, line)
		}
		if status, line = ending(fmt.Errorf("produce: %w", errors.Join(err, err))); status != exitFailed || !strings.Contains(line, code.String()) {
			t.Errorf("%s, wrapped: status %d, %q", code, status, line)
		}
		want := exitFailed
		if usage[code] {
			want = exitUsage
		}
		if status, line = ending(usageIfInvalid(err)); status != want || !strings.Contains(line, code.String()) {
			t.Errorf("%s, of the client's options: status %d, %q", code, status, line)
		}
	}
}

// ending is the status that err ends a command with, and what is on stderr.
func ending(err error) (status int, line string) {
	var stderr bytes.Buffer
	status = (&app{stderr: &stderr}).status(err)
	if n := strings.Count(stderr.String(), "\n"); n != 1 {
		return status, fmt.Sprintf("%d lines: %s", n, &stderr)
	}
	return status, stderr.String()
}
