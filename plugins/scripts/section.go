package scripts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/plugins"
)

// Target says which satellites are to have scripts: an item of `scripts:`.
type Target struct {
	Name       string            `json:"name" maxLength:"63" doc:"Under which they are published, and the folder in which satellites have them."`
	Satellites *plugins.Selector `json:"satellites" doc:"The satellites that are to have them; {}: all."`
	Version    string            `json:"version,omitempty" doc:"The hash of a version, or its first 12 digits at least; default: the newest."`
}

func (p *Plugin) addSection() error {
	return plugins.AddSection(p.host, plugins.SectionSpec[Target]{
		Name: "scripts", Doc: "Which satellites have copies of which published folders: flightrules scripts publish NAME DIR.",
		Key: func(t Target) string { return t.Name }, Check: Target.check, Reconcile: p.reconcile,
	})
}

var (
	namePattern    = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)
	versionPattern = regexp.MustCompile(`^[0-9a-f]{12,64}$`)
)

var errName = errors.New("write at most 63 lower case letters, digits, hyphens and underscores, with a letter or digit first")

// check says what is wrong; the error begins with the name of the field.
func (t Target) check() error {
	switch {
	case !namePattern.MatchString(t.Name):
		return fmt.Errorf("name: %w", errName)
	case t.Satellites == nil:
		return errors.New("satellites: it must not be null; {} are all")
	case t.Version != "" && !versionPattern.MatchString(t.Version):
		return errors.New("version: write at least 12 hexadecimal digits, as flightrules scripts list shows them")
	}
	return nil
}

// target is a Target as it is stored.
type target struct {
	bun.BaseModel `bun:"table:script_targets"`

	Name     string  `bun:"name,pk"`
	Version  string  `bun:"version"`
	Selector db.JSON `bun:"selector"`
}

func (t target) selects(s plugins.RemoteSatellite) (bool, error) {
	var selector plugins.Selector
	if err := json.Unmarshal(t.Selector, &selector); err != nil {
		return false, fmt.Errorf("satellites of scripts %s: %w", t.Name, err)
	}
	return selector.Selects(s), nil
}

func allTargets(ctx context.Context, idb bun.IDB) (list []target, err error) {
	err = idb.NewSelect().Model(&list).Order("name").Scan(ctx)
	return list, err
}

// reconcile stores what the files say.
func (p *Plugin) reconcile(ctx context.Context, tx bun.Tx, items []Target) error {
	list, err := allTargets(ctx, tx)
	if err != nil {
		return err
	}
	before := map[string]target{}
	for _, t := range list {
		before[t.Name] = t
	}
	changed := false
	for _, item := range items {
		t := target{Name: item.Name, Version: item.Version, Selector: db.ToJSON(item.Satellites)}
		was, there := before[t.Name]
		delete(before, t.Name)
		if there && was.Version == t.Version && string(was.Selector) == string(t.Selector) {
			continue
		}
		changed = true
		if _, err := tx.NewInsert().Model(&t).On("CONFLICT (name) DO UPDATE").
			Set("version = EXCLUDED.version, selector = EXCLUDED.selector").Returning("NULL").Exec(ctx); err != nil {
			return err
		}
	}
	for _, t := range before {
		changed = true
		if _, err := tx.NewDelete().Model(&t).WherePK().Exec(ctx); err != nil {
			return err
		}
	}
	if !changed {
		return nil
	}
	return p.assignLater(ctx, tx, everySatellite)
}
