package secrets

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
)

// use is one time that somebody wanted a secret.
type use struct {
	bun.BaseModel `bun:"table:secret_uses"`

	ID     int64   `bun:"id,pk,autoincrement"`
	At     db.Time `bun:"at"`
	Name   string  `bun:"name"`
	By     string  `bun:"used_by"`
	Source string  `bun:"source"`
	Error  string  `bun:"error"` // empty: it was given
}

// maxText bounds what is kept of a text that others write.
const maxText = 500

func cut(text string) string { return text[:min(len(text), maxText)] }

// pruneEvery is how often old uses are removed.
const pruneEvery = time.Hour

// note puts a use on record, and now and then removes those that are too old.
func (p *Plugin) note(ctx context.Context, name, by, source string, failed error) error {
	now := p.host.Now()
	u := use{At: db.At(now), Name: cut(name), By: cut(by), Source: source}
	if failed != nil {
		u.Error = cut(failed.Error())
	}
	last := p.pruned.Load()
	prune := now.Sub(time.Unix(0, last)).Abs() > pruneEvery && p.pruned.CompareAndSwap(last, now.UnixNano())
	return p.host.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if prune {
			if _, err := tx.NewDelete().Model((*use)(nil)).Where("at < ?", db.At(now.Add(-p.config.KeepUses))).Exec(ctx); err != nil {
				return err
			}
		}
		_, err := tx.NewInsert().Model(&u).ExcludeColumn("id").Returning("NULL").Exec(ctx)
		return err
	})
}

// uses are the newest uses, of one secret or of all, before the one with an id.
func (p *Plugin) uses(ctx context.Context, name string, before int64, limit int) (list []use, err error) {
	q := p.host.Read().NewSelect().Model(&list).Order("id DESC").Limit(int64(limit))
	if name != "" {
		q = q.Where("name = ?", name)
	}
	if before > 0 {
		q = q.Where("id < ?", before)
	}
	err = q.Scan(ctx)
	return list, err
}
