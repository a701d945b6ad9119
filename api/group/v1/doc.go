// Package grouppb is the generated form of what the coordinators of consumer
// groups keep in the partitions of __consumer_offsets. group.proto says what
// each message means; package group is what reads and writes them.
package grouppb
