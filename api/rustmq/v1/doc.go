// Package rustmqpb is the public API of RustMQ over Connect, gRPC and JSON, generated from the .proto files beside it.
package rustmqpb
