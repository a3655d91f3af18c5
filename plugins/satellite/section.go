package satellite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/plugins"
)

// Where a satellite is written.
const (
	inFile = "file"
	byAPI  = "api"
)

// errInFile is returned for a change of a satellite that a file has.
var errInFile = errors.New("the satellite is written in a file, and can only be changed there")

// Declaration is a satellite as it is written: an item of `satellites:`.
type Declaration struct {
	Name             string            `json:"name" maxLength:"63" doc:"Unique; letters, digits, dots, underscores and hyphens."`
	Region           string            `json:"region,omitempty" maxLength:"63"`
	Tags             map[string]string `json:"tags,omitempty" doc:"Labels, which rules and checks select satellites by."`
	OfflineThreshold duration.Text     `json:"offline_threshold,omitempty" doc:"Silence after which it is lost; default: the engine's, 45s."`
}

func (p *Plugin) addSection() error {
	return plugins.AddSection(p.host, plugins.SectionSpec[Declaration]{
		Name: "satellites", Doc: "Satellites. Each gets its token from flightrules satellite token NAME; one that leaves the files is removed.",
		Key: func(d Declaration) string { return d.Name }, Check: p.config.checkDeclaration, Reconcile: p.reconcile,
	})
}

func (c Config) checkDeclaration(d Declaration) error {
	if err := checkName(d.Name); err != nil {
		return fmt.Errorf("name: %w", err)
	}
	if !oneLine.MatchString(d.Region) {
		return errors.New("region: write a text in one line")
	}
	if len(d.Tags) > maxTags {
		return fmt.Errorf("tags: there are %d, and %d are possible", len(d.Tags), maxTags)
	}
	if d.OfflineThreshold != 0 {
		if err := c.checkThreshold(time.Duration(d.OfflineThreshold)); err != nil {
			return fmt.Errorf("offline_threshold: %w", err)
		}
	}
	return nil
}

// declaration is a Declaration as it is stored.
type declaration struct {
	bun.BaseModel `bun:"table:satellite_declarations"`

	Name             string  `bun:"name,pk"`
	Region           string  `bun:"region"`
	Tags             db.JSON `bun:"tags"`
	OfflineThreshold int64   `bun:"offline_threshold,nullzero"` // microseconds; 0: the default
}

func (d declaration) same(other declaration) bool {
	return d.Name == other.Name && d.Region == other.Region && d.OfflineThreshold == other.OfflineThreshold && bytes.Equal(d.Tags, other.Tags)
}

// declareTimer has a satellite brought in line with its declaration; its key is
// the name. A change of an entity is a transaction of its own, so it comes after
// the one in which the files were taken.
const declareTimer = "satellite.declare"

// reconcile stores what the files declare.
func (p *Plugin) reconcile(ctx context.Context, tx bun.Tx, items []Declaration) error {
	var list []declaration
	if err := tx.NewSelect().Model(&list).Order("name").Scan(ctx); err != nil {
		return err
	}
	before := map[string]declaration{}
	for _, d := range list {
		before[d.Name] = d
	}
	now := db.At(p.host.Now())
	var timers []timer.Timer
	for _, item := range items {
		d := declaration{
			Name: item.Name, Region: item.Region, Tags: tagsJSON(item.Tags), OfflineThreshold: time.Duration(item.OfflineThreshold).Microseconds(),
		}
		same := d.same(before[d.Name])
		delete(before, d.Name)
		if same {
			continue
		}
		timers = append(timers, timer.Timer{Kind: declareTimer, Key: d.Name, DueAt: now})
		if _, err := tx.NewInsert().Model(&d).On("CONFLICT (name) DO UPDATE").
			Set("region = EXCLUDED.region, tags = EXCLUDED.tags, offline_threshold = EXCLUDED.offline_threshold").
			Returning("NULL").Exec(ctx); err != nil {
			return err
		}
	}
	for name, d := range before {
		timers = append(timers, timer.Timer{Kind: declareTimer, Key: name, DueAt: now})
		if _, err := tx.NewDelete().Model(&d).WherePK().Exec(ctx); err != nil {
			return err
		}
	}
	return p.host.SetTimers(ctx, tx, timers...)
}

// declareAll brings satellites in line with their declarations. One that fails
// does not stop the others, and is tried again.
func (p *Plugin) declareAll(ctx context.Context, due []timer.Timer) error {
	var errs []error
	for _, t := range due {
		err := p.followFiles(entities.WithCause(ctx, entities.Cause{Actor: entities.System}), t.Key)
		if err == nil {
			err = p.host.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
				_, err := timer.Take(ctx, tx, t)
				return err
			})
		}
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return err
		}
		errs = append(errs, p.host.Timers().Defer(ctx, t, err))
	}
	return errors.Join(errs...)
}

// followFiles makes a satellite what the files say of it. Done twice it is done
// once. One that was made over the API becomes the files'.
func (p *Plugin) followFiles(ctx context.Context, name string) error {
	d, declared, err := declarationOf(ctx, p.host.Read(), name)
	if err != nil {
		return err
	}
	r, err := p.byRef(ctx, p.host.Read(), name)
	there := err == nil
	if err != nil && !errors.Is(err, errUnknown) {
		return err
	}
	switch {
	case declared && there:
		return p.update(ctx, r.ID, func(ctx context.Context, tx bun.Tx, q *bun.UpdateQuery, at db.Time) (*bun.UpdateQuery, error) {
			threshold := bun.NullZero(d.OfflineThreshold)
			return q.Set("source = ?, region = ?, tags = ?", inFile, d.Region, d.Tags).
				Set("threshold_at = CASE WHEN COALESCE(offline_threshold, 0) = ? THEN threshold_at ELSE ? END", d.OfflineThreshold, at).
				Set("offline_threshold = ?", threshold), nil
		})
	case declared:
		id, err := p.newID(name)
		if err != nil {
			return err
		}
		fresh := newRow(id, settings{Name: name, Region: d.Region}, time.Duration(d.OfflineThreshold)*time.Microsecond, noToken, p.host.Now())
		fresh.Tags, fresh.Source = d.Tags, inFile
		return p.create(ctx, fresh)
	case there && r.Source == inFile:
		return p.remove(ctx, r.ID)
	default:
		return nil
	}
}

func declarationOf(ctx context.Context, idb bun.IDB, name string) (d declaration, declared bool, err error) {
	err = idb.NewSelect().Model(&d).Where("name = ?", name).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return d, false, nil
	}
	return d, err == nil, err
}

// newID is the id of a new satellite. In a simulation it is the name, which a
// test knows.
func (p *Plugin) newID(name string) (string, error) {
	if p.outside != nil {
		return name, nil
	}
	id, err := uuid.NewV7()
	return id.String(), err
}
