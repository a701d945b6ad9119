// Package rpcerr carries mq's errors over Connect and back.
//
// # Purpose
//
// [ToConnect] is what a handler answers with, [FromConnect] what a client makes of an answer. The mq.Code travels as a number in
// the header [CodeHeader] of the error (a trailer where the protocol has those), the text as the error's message. The number decides; Connect's
// own code is for peers that know nothing of ours, and says no more than the number does.
//
// # What it does not do
//
// It does not say whether a request that failed was carried out: that depends on the request, and who makes it must know. It retries
// nothing.
//
// # Invariants
//
//   - Every code that there is comes back as it was, and with it whether the same request may succeed later. A number from a newer
//     peer comes back as that number.
//   - No error that a peer sends is taken for success: its code is never None.
//   - An error without our header is the transport's. It gets a code by Connect's own; what broke on the way is NetworkException, which says
//     nothing about whether the request was carried out.
package rpcerr
