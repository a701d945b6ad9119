// Package client is the Go client of RustMQ.
package client
