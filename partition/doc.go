// Package partition is one topic-partition: its log, hot tail, marks, producers and epochs, as leader and as follower.
package partition
