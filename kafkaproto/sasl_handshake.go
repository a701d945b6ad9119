// SASLHandshake (17), versions 0 to 1.
//
// UNSUPPORTED_SASL_MECHANISM, with an empty list: clients are known by their certificates.
//
// Not supported: SASL.

package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func saslHandshakeAPI() api {
	return api{key: kmsg.SASLHandshake, min: 0, max: 1, start: inTurn(saslHandshake)}
}

func saslHandshake(_ context.Context, _ *call, _ *kmsg.SASLHandshakeRequest, r *kmsg.SASLHandshakeResponse) error {
	r.ErrorCode = unsupportedSASLMechanism
	return nil
}
