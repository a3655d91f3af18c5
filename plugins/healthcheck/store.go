package healthcheck

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
)

// errUnknown is returned for a check that does not exist.
var errUnknown = errors.New("no such check")

// Where a check is written.
const (
	inFile = "file"
	byAPI  = "api"
)

// check is one as it is stored.
type check struct {
	bun.BaseModel `bun:"table:checks"`

	ID         string  `bun:"id,pk"`
	Source     string  `bun:"source"`
	Definition db.JSON `bun:"definition"`
	Status     string  `bun:"status"`
	Since      db.Time `bun:"since"`
	CreatedAt  db.Time `bun:"created_at"`
	UpdatedAt  db.Time `bun:"updated_at"`
}

func (c check) decode() (d Definition, err error) {
	if err := json.Unmarshal(c.Definition, &d); err != nil {
		return d, fmt.Errorf("definition of check %s: %w", c.ID, err)
	}
	return d, nil
}

// local stands for the core among observers.
const localObserver = "local"

// observer is one who looks at a check, and what he thinks of it.
type observer struct {
	bun.BaseModel `bun:"table:check_observers"`

	CheckID  string `bun:"check_id,pk"`
	Observer string `bun:"observer,pk"`
	Name     string `bun:"name"`
	Region   string `bun:"region"`
	opinion
	Latency  int64   `bun:"latency"` // microseconds
	Message  string  `bun:"message"`
	ResultAt db.Time `bun:"result_at"`
}

// checksOf are those of the checks that exist.
func checksOf(ctx context.Context, idb bun.IDB, ids []string) (list []check, err error) {
	err = idb.NewSelect().Model(&list).Where("id IN (?)", bun.List(ids)).Scan(ctx)
	return list, err
}

func allChecks(ctx context.Context, idb bun.IDB) (list []check, err error) {
	err = idb.NewSelect().Model(&list).Order("id").Scan(ctx)
	return list, err
}

func checkOf(ctx context.Context, idb bun.IDB, id string) (check, error) {
	c := check{ID: id}
	err := idb.NewSelect().Model(&c).WherePK().Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		err = fmt.Errorf("%w: %s", errUnknown, id)
	}
	return c, err
}

// observersOf are the observers of checks, by check, by their names.
func observersOf(ctx context.Context, idb bun.IDB, ids []string) (map[string][]observer, error) {
	var list []observer
	if err := idb.NewSelect().Model(&list).Where("check_id IN (?)", bun.List(ids)).Order("check_id", "name", "observer").Scan(ctx); err != nil {
		return nil, err
	}
	of := map[string][]observer{}
	for _, o := range list {
		of[o.CheckID] = append(of[o.CheckID], o)
	}
	return of, nil
}
