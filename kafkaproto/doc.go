// Package kafkaproto is the front door for Kafka clients: it reads Kafka's requests, asks a Broker what they mean, and writes the responses. A batch of records goes
// through as it is: none is decoded or encoded again.
//
// What each API does, and does not, stands at the head of its file; docs/kafka.md is made of these heads.
//
// # What it does not do
//
// It opens no listener: connections come to [Server.Serve] from whoever listens, after their TLS handshake if they had one. It does not know what a topic is, authorises
// nobody (the Broker does, with the Session that it is given), and keeps nothing when a connection ends.
//
// # A request's path
//
//	socket -> length, key, version, correlation id (12 bytes) -> offered? allowed to be so long? room for it? -> frame -> decode -> starter
//	                                                                                                                        |
//	socket <- one write <- encode <- answer <- queue of the connection, in the order of the requests <----------------------+
//
// The goroutine that reads calls the API's starter, which begins what has to be begun in the order of the requests (appends), and never waits for the outcome. The answer that it gives
// is called by the goroutine that writes, when all before it have been written: it waits for the outcome, or does the whole work. So responses are in the order of
// requests without any being held, and requests that read are handled one after the other, as clients expect it.
//
// # Goroutines
//
// Two for each connection: one reads, one answers and writes. Both end with it. There is none for a request, a partition, or anything that waits.
//
// # Limits
//
// What a client can make the server hold is bounded before it is known: see Limits, which says what happens at each. A connection that breaks the protocol is closed, with
// one line that says why in the log, and nobody else notices.
//
// # How an API is added
//
// A file that is named after it, which begins with its head (see docs_test.go for the form), has its starter ([inTurn] of a function, for nearly all) and a function that gives its row of the
// table; and a line in table.go. What it has to ask of the broker is added to [Broker], and to broker/kafka.go, which implements it.
//
// # Invariants
//
//  1. Nothing is allocated for a length or count that a client names before it was checked against a limit and against what is there.
//  2. Each request is answered once, or its connection is closed; the only one that is not answered is a produce request that wants no acknowledgement.
//  3. The memory of a batch belongs to the broker from the append on.
//  4. After Close no goroutine of the server is left.
package kafkaproto
