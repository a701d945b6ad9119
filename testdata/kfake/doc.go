// Command kfake serves franz-go's broker in memory, which keeps nothing, until its input ends: what Kafka's protocol costs without a log. It prints where it listens.
package main
