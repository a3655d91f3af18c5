package ruletest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/rules"
)

// Coverage is how much of the rules was used by tests.
type Coverage struct {
	Rules    Share   `json:"rules"`    // that began a run
	Triggers Share   `json:"triggers"` // that fired
	Branches Share   `json:"branches"` // of choose, that were taken
	Steps    Share   `json:"steps"`    // that began
	Missing  []Place `json:"missing"`  // what was not, in the order of the files
}

// Share is how many of some things were used.
type Share struct {
	Used int `json:"used"`
	All  int `json:"all"`
}

// Percent is 100 where there is nothing.
func (s Share) Percent() float64 {
	if s.All == 0 {
		return 100
	}
	return 100 * float64(s.Used) / float64(s.All)
}

// Total is the share of all together.
func (c Coverage) Total() Share {
	var all Share
	for _, s := range []Share{c.Rules, c.Triggers, c.Branches, c.Steps} {
		all.Used, all.All = all.Used+s.Used, all.All+s.All
	}
	return all
}

// Place is a part of a rule.
type Place struct {
	File string `json:"file"`
	Line int    `json:"line"` // where the rule begins
	Rule string `json:"rule"`
	Part string `json:"part"` // "trigger lost", "actions[0].choose[1]"; "": the rule itself
}

// part names a part of a rule; path is "" of the rule itself.
type part struct{ rule, path string }

func triggerPart(rule, id string) part { return part{rule, "trigger " + id} }

func branchPart(rule, step string, i int) part {
	return part{rule, fmt.Sprintf("%s.choose[%d]", step, i)}
}

func elsePart(rule, step string) part { return part{rule, step + ".else"} }

// covered are the parts that were used.
type covered map[part]bool

// gathering is what a trigger decides that has not fired, or not yet.
var gathering = []journal.Outcome{journal.Held, journal.Cancelled, journal.Counted, journal.Grouped, journal.Failed}

// covered are the parts of the rules, as they are in the files, that were used in
// the simulation.
func (p *player) covered(ctx context.Context) (covered, error) {
	used := covered{}
	set := p.lab.Set
	current := func(rule, version string) bool {
		r := set.Rule(rule)
		return r != nil && r.Version == version
	}
	decisions, err := journal.Decisions(ctx, p.DB.Read(), journal.Filter{})
	if err != nil {
		return nil, err
	}
	for _, d := range decisions {
		if current(d.Rule, d.Version) && !slices.Contains(gathering, d.Outcome) {
			used[triggerPart(d.Rule, d.Trigger)] = true
		}
	}
	runs, err := journal.Runs(ctx, p.DB.Read(), journal.Filter{})
	if err != nil {
		return nil, err
	}
	rule := map[string]string{} // by run
	var ids []string
	for _, r := range runs {
		if current(r.Rule, r.Version) {
			rule[r.ID] = r.Rule
			ids = append(ids, r.ID)
			used[part{rule: r.Rule}] = true
		}
	}
	steps, err := journal.StepsOf(ctx, p.DB.Read(), ids...)
	if err != nil {
		return nil, err
	}
	for id, list := range steps {
		for _, s := range list {
			if s.Status == journal.StepSkipped {
				continue
			}
			used[part{rule[id], s.Path}] = true
			if s.Action != "choose" {
				continue
			}
			var taken struct {
				Branch *int
				Else   bool
			}
			if s.Output != nil && json.Unmarshal(s.Output, &taken) != nil {
				continue
			}
			if taken.Branch != nil {
				used[branchPart(rule[id], s.Path, *taken.Branch)] = true
			}
			if taken.Else {
				used[elsePart(rule[id], s.Path)] = true
			}
		}
	}
	return used, nil
}

// coverage compares what was used with what there is.
func coverage(set *rules.Set, used covered) *Coverage {
	c := &Coverage{Missing: []Place{}}
	for _, r := range set.Rules {
		if !r.Enabled {
			continue
		}
		count := func(share *Share, one part) {
			share.All++
			if used[one] {
				share.Used++
				return
			}
			c.Missing = append(c.Missing, Place{r.File, r.Line, r.ID, one.path})
		}
		count(&c.Rules, part{rule: r.ID})
		for _, t := range r.Triggers {
			if t.Enabled {
				count(&c.Triggers, triggerPart(r.ID, t.ID))
			}
		}
		r.Each(func(s *rules.Step) {
			count(&c.Steps, part{r.ID, s.Path})
			if do, ok := s.Do.(rules.Choose); ok {
				for i := range do.Branches {
					count(&c.Branches, branchPart(r.ID, s.Path, i))
				}
				if do.Else != nil {
					count(&c.Branches, elsePart(r.ID, s.Path))
				}
			}
		})
	}
	return c
}

// String is a share as people read it.
func (s Share) String() string {
	return fmt.Sprintf("%d of %d (%s %%)", s.Used, s.All, strconv.FormatFloat(s.Percent(), 'f', 1, 64))
}
