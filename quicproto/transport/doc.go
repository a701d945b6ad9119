// Package transport is what sessions of the native protocol go over: QUIC, or TLS 1.3 on TCP. A [Conn] is a session's connection and
// a [Stream] one of its streams; above them nothing differs. Package quicproto/server accepts Conns, package client dials them.
//
// It does not know the frames of package quicproto, and judges nobody: the server says who a certificate is.
//
// # Errors
//
// Both give the errors of quic-go, so that whoever reads them need not know which of the two it was: *quic.ApplicationError for a session that one
// side closed, *quic.StreamError for a stream that one side gave up, *quic.IdleTimeoutError for a peer that fell silent, *quic.TransportError
// for a TLS handshake that failed. A connection of one TCP stream that breaks is a reset of that stream with code zero; if it is that of the control
// stream, the session is lost.
//
// # TCP
//
// A stream is a TLS connection (ALPN "rustmq/1", no 0-RTT, no resumption: whoever connects is judged anew), one at a time: when both sides have ended a stream
// in order, its connection may carry another one, so that a request costs no handshake. What goes over it are records, at most one write each:
//
//	0      1               4            4 + length
//	+------+---------------+-----------+
//	| kind | length u24    | body      |
//	+------+---------------+-----------+
//
//	1 data     bytes of the stream, at least one
//	2 end      (empty)                                 the sender has no more to say on this stream
//	3 reset    code u16                                the sender gives up the stream, both ways, and closes the connection
//	4 begin    magic "RMQT" | version u8, 1 | zero u8 | idle u32 ms                            client: first record of a session's first connection
//	5 begun    session id u64 | secret 32 bytes | idle u32 ms | streams u32                    server: first record of its answer
//	6 attach   magic "RMQT" | version u8, 1 | zero u8 | session id u64 | secret 32 bytes       client: first record of any other connection
//	7 close    code u16 | reason: the rest, UTF-8      the sender closes the session; on the first connection only
//	8 ping     number u64                              on the first connection only
//	9 pong     number u64                              on the first connection only
//
// The first connection carries the control stream and is the session: it ends when that connection does, and all its streams with it. It cannot carry a second
// stream. A connection that is to be attached shows the secret, and the certificate of the principal that the session has.
//
// The client pings each third of the idle timeout, which is the smaller one of those that both named; who hears nothing on the first connection for that
// long gives up the session. On other connections TCP's own keep-alives, and on Linux TCP_USER_TIMEOUT, do the same.
//
// The last record of a connection is followed by the end of the sender's half, and the connection is closed when the peer has closed it as well, or after
// [lingerTime]: closed at once while bytes are unread, TCP would drop what is on its way.
//
// # Invariants
//
// Nothing is allocated for a length that a peer names. No lock is held while a socket is read or written: turns are channels, and TLS writes into memory.
package transport
