// Package suggest finds the known name that somebody probably meant by an unknown one.
package suggest

import "strings"

// Closest returns the known name nearest to name, and whether one is near enough to be what was meant: at most a third of
// its letters differ (counting a swap of neighbours as one), and at least one letter may. Of equally near names the first
// one wins. Upper and lower case are not told apart.
func Closest(name string, known []string) (string, bool) {
	best, bestDistance := "", 0
	for _, candidate := range known {
		limit := max(1, min(len(name), len(candidate))/3)
		d := distance(strings.ToLower(name), strings.ToLower(candidate), limit)
		if d <= limit && (best == "" || d < bestDistance) {
			best, bestDistance = candidate, d
		}
	}
	return best, best != ""
}

// distance is the Damerau-Levenshtein distance in its restricted form (optimal string alignment), or more than limit
// when it is more than limit.
func distance(from, to string, limit int) int {
	a, b := []rune(from), []rune(to)
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
