package client

import (
	"cmp"
	"slices"
	"strings"
)

// WalkSteps goes over the steps of a run as a tree, each after the one that it
// stands below (nil: it stands below none), the branches of a parallel one after
// the other.
func WalkSteps(steps []Step, visit func(s Step, above *Step, depth int)) {
	below := map[int][]int{} // -1: those that stand below none
	for i, s := range steps {
		parent := -1
		if s.Parent != nil {
			parent = *s.Parent
		}
		below[parent] = append(below[parent], i)
	}
	var walk func(parent, depth int)
	walk = func(parent, depth int) {
		list := below[parent]
		var above *Step
		if parent >= 0 {
			above = &steps[parent]
			if above.Action == "parallel" {
				slices.SortStableFunc(list, func(a, b int) int { return byBranch(steps[a], steps[b]) })
			}
		}
		for _, i := range list {
			visit(steps[i], above, depth)
			walk(i, depth+1)
		}
	}
	walk(-1, 0)
}

// byBranch orders steps of parallel by the attempt of the whole and by branch:
// "actions[0].parallel[10][2]" stands in the list "actions[0].parallel[10]".
func byBranch(a, b Step) int {
	number := func(x, y string) int { return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)) }
	branch := func(s Step) string { return s.Path[:strings.LastIndexByte(s.Path, '[')] }
	return cmp.Or(slices.CompareFunc(a.Iteration, b.Iteration, number), number(branch(a), branch(b)))
}
