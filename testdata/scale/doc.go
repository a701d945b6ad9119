// Command scale measures what many idle things cost a node: it starts `rustmq serve` as a process of its own, makes
// connections, topics and partitions with the public protocol, and reads the server's memory and processor time from the
// system. Linux only. From the repository's root:
//
//	go run ./testdata/scale            # everything; some minutes
//	go run ./testdata/scale idle connections
//
// "members" is a consumer group of 100: what it costs while nothing happens, commits, and a member that vanishes.
//
// It exits with 1 when a figure misses its aim.
package main
