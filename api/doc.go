// Package api holds the .proto files of RustMQ and, below it, the Go code generated from them.
//
// Generated code is committed, so that nothing but Go is needed to build. To generate again, in this directory:
//
//	buf lint && buf generate
//
// buf runs protoc-gen-go from the tool line of go.mod and needs no network. Field and oneof numbers are never
// reused: removed ones are reserved.
package api
