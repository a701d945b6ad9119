package cli

import (
	"context"
	"io"
)

// Main runs one command line, args[0] being the program's name, and returns the
// exit status: 0 done, 1 the operation failed, 2 usage.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return 0
}
