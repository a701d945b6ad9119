// Package server is the QUIC front door: it turns frames into calls of a Broker and back.
package server
