package mq

import "math"

// A producer numbers its records per partition from 0 to 2^31-1 and then goes
// on from 0. Sequences are therefore compared by distance, never by size.

// AddSequence is the sequence n records after seq. Both must be >= 0.
func AddSequence(seq, n int32) int32 {
	return int32((uint32(seq) + uint32(n)) & math.MaxInt32)
}

// SequenceDistance is how many records lie between from and to, going upwards
// and wrapping: AddSequence(from, SequenceDistance(from, to)) == to. Both must
// be >= 0. A result of 2^30 or more is better read as "to lies before from".
func SequenceDistance(from, to int32) int32 {
	return int32((uint32(to) - uint32(from)) & math.MaxInt32)
}
