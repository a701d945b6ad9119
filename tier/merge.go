package tier

// mergePolicy is what the compactor plans by.
type mergePolicy struct {
	// target is how many bytes a merged range has, if it can.
	target int64
	// count is how many ranges of one age are merged though they do not make a target.
	count int
	// most is how many ranges become one, at most.
	most int
}

const (
	// fewRanges is how many ranges between two that stay as they are can stay as well.
	fewRanges = 3
	// settledShare is the part of the target, 1/settledShare, that makes a range that was merged once large enough for ever.
	settledShare = 64
)

// isSettled says whether a range stays as it is: it is large, or not so small and was written again once.
func (l mergePolicy) isSettled(r *Range) bool {
	return r.Bytes >= l.target/2 || r.Rewrites > 0 && r.Bytes >= l.target/settledShare
}

// plan chooses which ranges of one partition, given in order, become one. Between those that are settled these are
//
//   - as many as make a target;
//   - count of them that were rewritten equally often: a partition with little in it must not have thousands;
//   - what is left, if nothing will come to it any more, and more than a few.
//
// So a byte is written again once, and a second time only when count ranges together were less than target/settledShare: of a partition that gets so
// little that this takes more than a day. settled is how many ranges, from the first on, need not be looked at any more.
func (l mergePolicy) plan(ranges []Range) (runs [][]Range, settled int) {
	settling := true // all so far is settled
	for from := 0; from < len(ranges); {
		to := from + 1
		if !l.isSettled(&ranges[from]) {
			for to < len(ranges) && !l.isSettled(&ranges[to]) && ranges[to].First == ranges[to-1].End {
				to++
			}
			open := to == len(ranges)
			found := l.planStretch(ranges[from:to], open)
			runs = append(runs, found...)
			settling = settling && !open && len(found) == 0
		}
		if settling {
			settled = to
		}
		from = to
	}
	return runs, settled
}

// planStretch plans ranges of which none is settled. open: more may come behind them.
func (l mergePolicy) planStretch(ranges []Range, open bool) (runs [][]Range) {
	begin, bytes := 0, int64(0)
	for i := range ranges {
		bytes += ranges[i].Bytes
		if bytes >= l.target || i+1-begin == l.most {
			runs = append(runs, ranges[begin:i+1])
			begin, bytes = i+1, 0
		}
	}
	rest := ranges[begin:]
	if !open {
		if len(rest) > fewRanges {
			runs = append(runs, rest)
		}
		return runs
	}
	for begin := 0; begin < len(rest); {
		end := begin + 1
		for end < len(rest) && end-begin < l.count && rest[end].Rewrites == rest[begin].Rewrites {
			end++
		}
		if end-begin == l.count {
			runs = append(runs, rest[begin:end])
		}
		begin = end
	}
	return runs
}

// bytesOf is how many bytes of batches some ranges have.
func bytesOf(ranges []Range) (bytes int64) {
	for i := range ranges {
		bytes += ranges[i].Bytes
	}
	return bytes
}
