// Package api holds the .proto files of RustMQ, of which rustmq/v1 is the public API and the others are between nodes, and, below it, the Go code generated from them.
//
// Generated code is committed, so that nothing but Go is needed to build. To generate again, in this directory:
//
//	buf lint && buf generate, then gofumpt -w on *.connect.go
//
// buf is in tools/go.mod (task generate runs both), runs protoc-gen-go from the tool line of go.mod, and needs no network.
//
// # What it does not do
//
// It holds no code of its own: what a command does is in package metadata.
//
// # Invariants
//
//  1. Field and oneof numbers are never reused: removed ones are reserved.
//  2. What uses rustmq.v1, the public API, or the code generated from it, goes on to: rustmq/v1/baseline.binpb has what there was, and CI compares.
//  3. The generated code is what these files and those programs give, byte for byte.
package api
