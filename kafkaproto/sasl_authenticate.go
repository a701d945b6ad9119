// SASLAuthenticate (36), versions 0 to 2.
//
// ILLEGAL_SASL_STATE: no handshake can have come before it.
//
// Not supported: SASL.

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func saslAuthenticateAPI() api {
	return api{key: kmsg.SASLAuthenticate, min: 0, max: 2, start: inTurn(saslAuthenticate)}
}

func saslAuthenticate(_ context.Context, _ *call, _ *kmsg.SASLAuthenticateRequest, r *kmsg.SASLAuthenticateResponse) error {
	r.ErrorCode, r.ErrorMessage = failure(kafkaErrorf(illegalSASLState, "there was no handshake: no mechanism of SASL is offered"))
	return nil
}
