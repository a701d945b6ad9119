package control

import (
	"errors"
	"testing"

	"connectrpc.com/connect"
)

// A controller that is not a member yet answers 404: another one is asked, for nothing was carried out.
func TestWhoHasNoSuchServiceHasCarriedOutNothing(t *testing.T) {
	f := failureOf(connect.NewError(connect.CodeUnimplemented, errors.New("404 Not Found")))
	if !f.elsewhere || f.unknown || f.answered {
		t.Errorf("%+v", f)
	}
}
