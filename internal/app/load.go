package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/rules"
)

// extend lets the files hold what the plugins bring.
func (c *Core) extend() {
	for _, s := range c.Plugins.Sections() {
		c.Compiler.Sections = append(c.Compiler.Sections, rules.Section{
			Name: s.Name, Doc: s.Doc, Item: s.Item, Decode: s.Decode, Key: s.Key, Check: s.Check,
		})
	}
	for _, f := range c.Plugins.Functions() {
		c.Compiler.Functions = append(c.Compiler.Functions, rules.Function{Name: f.Name, Doc: f.Doc, Fn: f.Fn})
	}
}

// Load reads the files again and applies them as a whole. With problems what
// was in force stays, and they are kept for Problems.
func (c *Core) Load(ctx context.Context) error {
	err := c.load(ctx)
	if err == nil {
		c.problems.Store(nil)
		c.refused.Set(0)
		return nil
	}
	found := []yamlx.Problem{{File: c.config.Dir, Message: err.Error()}}
	var list *yamlx.Error
	if errors.As(err, &list) {
		found = list.Problems
	}
	c.problems.Store(&found)
	c.refused.Set(float64(len(found)))
	return fmt.Errorf("load rules: %w", err)
}

func (c *Core) load(ctx context.Context) error {
	if c.config.Set != nil {
		return c.Apply(ctx, c.config.Set)
	}
	files := c.config.Files
	if files == nil {
		if c.config.Dir == "" {
			return c.Apply(ctx, rules.NewSet(nil))
		}
		files = os.DirFS(c.config.Dir)
	}
	set, err := c.Compiler.Load(files, c.config.Dir)
	if err != nil {
		return err
	}
	return c.Apply(ctx, set)
}

// Apply puts a set in force with the kinds and events that it declares and the
// items of the plugins' sections. What does not fit what is stored, or what a
// plugin refuses, is a *yamlx.Error; with an error everything stays as it was.
func (c *Core) Apply(ctx context.Context, set *rules.Set) error {
	c.applying.Lock()
	defer c.applying.Unlock()
	if err := c.Events.CheckDeclared(set.Events); err != nil {
		return err
	}
	var inForce func()
	err := c.DB.Write(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		if inForce, err = c.Entities.DeclareTx(ctx, tx, set.Kinds); err != nil {
			return err
		}
		return c.Plugins.Reconcile(ctx, tx, set.Sections)
	})
	if err != nil {
		return placed(set, err)
	}
	inForce()
	if err := c.Events.Declare(set.Events); err != nil {
		return err
	}
	// The files are in force from here on: a plugin that panics is to blame, and
	// does not take them back.
	if err := c.Plugins.Apply(set.Sections); err != nil {
		c.Log.Error("a section of the files is not in force", "error", err)
	}
	for _, w := range set.Warnings {
		c.Log.Warn("a rule may not do what it is meant to", "file", w.File, "line", w.Line, "rule", w.Rule, "warning", w.Message)
	}
	c.Engine.SetRules(set)
	return nil
}

// placed makes problems with their places of what is wrong with a set; an error
// of another kind stays what it is.
func placed(set *rules.Set, err error) error {
	var problems []yamlx.Problem
	for _, one := range separate(err) {
		var kind *entities.DeclareError
		var section *plugins.SectionError
		switch {
		case errors.As(one, &kind):
			hint := ""
			if unfit := (*entities.Unfit)(nil); errors.As(kind, &unfit) {
				hint = "bring the states in line first, or leave the fields as they were"
			}
			problems = append(problems, set.KindProblem(kind.Kind, "kind "+kind.Kind+": "+firstLine(kind.Err), hint))
		case errors.As(one, &section):
			problems = append(problems, set.SectionProblem(section.Section, firstLine(section), ""))
		default:
			return err
		}
	}
	return &yamlx.Error{Problems: problems}
}

// separate takes joined errors apart.
func separate(err error) []error {
	several, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var list []error
	for _, one := range several.Unwrap() {
		list = append(list, separate(one)...)
	}
	return list
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// Problems are those of the last load, nil when its rules are in force.
func (c *Core) Problems() []yamlx.Problem {
	if p := c.problems.Load(); p != nil {
		return *p
	}
	return nil
}
