// Package quicproto is RustMQ's native protocol: frames on streams, and their codec.
package quicproto
