// Command kafka-clients has one of Kafka's Go clients do all that people do with it: make topics, produce with every codec, consume in a group, seek by time, read
// partitions, administer. It looks at the outcome itself, and ends with status 1 when something is wrong.
//
// It prints a line "disturb TOPIC" where whoever reads its output is to kill the leader of partition 0 of that topic, and to start it again.
//
// It is a module of its own, so that RustMQ's does not depend on what it is tested with.
package main
