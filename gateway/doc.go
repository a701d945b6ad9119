// Package gateway is the front door for everyone who does not speak the native protocol: the services of rustmq.v1 over Connect, gRPC and, for curl, JSON.
//
// # How it works
//
// A gateway is a client of the cluster inside a broker's process: what is asked of it goes on through package client, like the requests of any other client, to whichever
// broker leads or coordinates what they are about. So any node serves everything, and routing, retries, idempotence and groups are those of the client. Each operation
// passes the authorisation of the broker that carries it out, as the principal that who asks would be there: the HTTP listener knows nobody, and the
// client shows no certificate, so that is "anonymous".
//
//	Produce, ProduceStream  -> client.Produce of one client that all requests share
//	Fetch, Consume, Ack     -> a client.Consumer for each
//	topics, groups, cluster -> the client's administration
//
// A request comes in through a [call]: it counts the bytes of what is read, knows the way to its connection's deadlines, and is what Shutdown ends.
//
// # What it does not do
//
// It opens no listener: package admin serves it. It authenticates nobody. It keeps no state beyond its streams: which of them an Ack is about is all that it
// knows of anybody.
//
// # Invariants
//
//  1. What is acknowledged to a producer is what the broker acknowledged. Where that is not known the answer says so.
//  2. Nothing is committed for a group that was not sent on the member's stream; with Ack nothing that the client has not acknowledged. What is acknowledged of a
//     partition does not go back while the member has it.
//  3. What a caller can make the node hold is bounded: bytes of requests that are being read, records in flight, streams, and what is read ahead for
//     each ([Limits]). Of the first two one address has a share only ([shares]).
//  4. Every mq.Code has a Connect code, and travels in a detail of the error ([rustmqpb.Error]).
//  5. Shutdown returns when no goroutine and no connection of the gateway is left.
package gateway
