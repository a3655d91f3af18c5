package engine

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

// latchName names a latch of a key.
type latchName struct{ rule, trigger string }

// nameOf is the latch of a trigger, or of one of its parts.
func nameOf(m match, role rules.Role) latchName {
	if role > 0 {
		return latchName{m.rule.ID, fmt.Sprintf("%s#%d", m.trigger.ID, role)}
	}
	return latchName{m.rule.ID, m.trigger.ID}
}

// readLatches reads all latches of a key, once in a batch.
func (b *batch) readLatches(ctx context.Context, tx bun.Tx, key string) error {
	if b.latches[key] != nil {
		return nil
	}
	var rows []journal.Latch
	if err := tx.NewSelect().Model(&rows).Where("key = ?", key).Scan(ctx); err != nil {
		return err
	}
	b.latches[key] = map[latchName]triggers.Latch{}
	for _, row := range rows {
		b.latches[key][latchName{row.Rule, row.Trigger}] = triggers.Latch(row.Value)
	}
	return nil
}

func (b *batch) latch(m match, role rules.Role) triggers.Latch {
	return b.latches[m.entity()][nameOf(m, role)]
}

func (b *batch) setLatch(m match, role rules.Role, value triggers.Latch) {
	b.latches[m.entity()][nameOf(m, role)] = value
	b.dirtyLatches = append(b.dirtyLatches, journal.Latch{
		Rule: m.rule.ID, Trigger: nameOf(m, role).trigger, Key: m.entity(), Value: int(value),
	})
}

// writeLatches writes what changed: the last value of each.
func (b *batch) writeLatches(ctx context.Context, tx bun.Tx) error {
	last := map[journal.Latch]int{}
	for _, row := range b.dirtyLatches {
		value := row.Value
		row.Value = 0
		last[row] = value
	}
	for row, value := range last {
		row.Value = value
		if err := putLatch(ctx, tx, row); err != nil {
			return err
		}
	}
	return nil
}

// putLatch keeps a latch; Forgotten is kept by not being there.
func putLatch(ctx context.Context, tx bun.Tx, row journal.Latch) error {
	if row.Value == int(triggers.Forgotten) {
		_, err := tx.NewDelete().Model(&row).WherePK().Exec(ctx)
		return err
	}
	_, err := tx.NewInsert().Model(&row).On("CONFLICT (rule, trigger_id, key) DO UPDATE").Set("value = EXCLUDED.value").Returning("NULL").Exec(ctx)
	return err
}
