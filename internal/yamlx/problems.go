package yamlx

import (
	"cmp"
	"slices"
)

// Problems collects the mistakes of any number of files. The zero value is ready. It is not safe for concurrent use.
type Problems struct {
	rule string
	list []Problem
	seen map[Problem]bool

	warnings []Problem
}

// Add records a problem at the start of a node. Without a hint, hint is "".
func (ps *Problems) Add(at Node, message, hint string) {
	file, line, column := at.Place()
	ps.add(Problem{File: file, Line: line, Column: column, Message: message, Hint: hint, Source: at.file.line(line)})
}

// Warn records what is allowed and probably a mistake. Warnings refuse nothing.
func (ps *Problems) Warn(at Node, message, hint string) {
	file, line, column := at.Place()
	ps.warnings = append(ps.warnings, Problem{File: file, Line: line, Column: column, Rule: ps.rule, Message: message, Hint: hint, Source: at.file.line(line)})
}

// Warnings returns the warnings in the order of All.
func (ps *Problems) Warnings() []Problem { return sorted(ps.warnings) }

// AddInside records a problem inside a scalar; offset counts bytes of its decoded value. The place is found in quoted
// texts and in block texts too; where it cannot be found, it is the start of the node.
func (ps *Problems) AddInside(at Node, offset int, message, hint string) {
	line, column, ok := at.inside(offset)
	if !ok {
		ps.Add(at, message, hint)
		return
	}
	ps.add(Problem{File: at.file.name, Line: line, Column: column, Message: message, Hint: hint, Source: at.file.line(line)})
}

// AddFile records a problem of a whole file, such as one that cannot be read.
func (ps *Problems) AddFile(file, message, hint string) {
	ps.add(Problem{File: file, Line: 1, Column: 1, Message: message, Hint: hint})
}

// SetRule makes every problem that is added from now on carry the id of a rule; "" ends that.
func (ps *Problems) SetRule(id string) { ps.rule = id }

// Rule is the id that SetRule was last given.
func (ps *Problems) Rule() string { return ps.rule }

// All returns the problems sorted by file, line and column; those of one place in the order in which they were added.
func (ps *Problems) All() []Problem { return sorted(ps.list) }

func sorted(list []Problem) []Problem {
	all := slices.Clone(list)
	slices.SortStableFunc(all, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return all
}

// Len returns the number of problems.
func (ps *Problems) Len() int { return len(ps.list) }

// Err returns nil when there is no problem, and otherwise an *Error with all of them.
func (ps *Problems) Err() error {
	if len(ps.list) == 0 {
		return nil
	}
	return &Error{Problems: ps.All()}
}

// add keeps a problem once: a value that is looked at twice, or used by several aliases, has its mistake only once.
func (ps *Problems) add(p Problem) {
	p.Rule = ps.rule
	if ps.seen[p] {
		return
	}
	if ps.seen == nil {
		ps.seen = make(map[Problem]bool)
	}
	ps.seen[p] = true
	ps.list = append(ps.list, p)
}
