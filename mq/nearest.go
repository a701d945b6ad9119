package mq

import "slices"

// maxNearestBytes bounds what [Nearest] compares of a name, bytes: names come from outside, and the work is their product.
const maxNearestBytes = 64

// Nearest is the name with the fewest edits away from what was written; of
// equals the first in the alphabet, and "" if there are no names. It is for "did you mean".
func Nearest(written string, names []string) string {
	best, bestDistance := "", -1
	for _, name := range slices.Sorted(slices.Values(names)) {
		if d := editDistance(written, name); bestDistance < 0 || d < bestDistance {
			best, bestDistance = name, d
		}
	}
	return best
}

// editDistance is Levenshtein's, over the first bytes.
func editDistance(a, b string) int {
	a, b = a[:min(len(a), maxNearestBytes)], b[:min(len(b), maxNearestBytes)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(diagonal+cost, row[j]+1, row[j+1]+1)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
