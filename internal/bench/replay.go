package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/replay"
	"github.com/flightrules/flightrules/plugins"
)

// replayRules are how many rules the replay has.
const replayRules = 100

// replayed measures how fast a recorded log is replayed. The baseline reads the
// rows of the transitions, and does nothing with them.
func replayed(ctx context.Context, o Options) (results []Result, err error) {
	name := fmt.Sprintf("replay/%d", o.Log)
	o.tell(name, 0)
	url := "sqlite:" + filepath.Join(o.Dir, "replay.db")
	if err := writeLog(ctx, url, o.Log, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)); err != nil {
		return nil, err
	}
	source, err := db.OpenReadOnly(ctx, url)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	baseline, err := readRaw(ctx, source)
	if err != nil {
		return nil, err
	}
	resetPeak()
	var took []time.Duration
	begin := time.Now()
	last := begin
	report, err := replay.Run(ctx, replay.Options{
		Source: source, Files: ruleFiles(replayRules), Plugins: func() []plugins.Plugin { return []plugins.Plugin{&meters{}} },
		Progress: func(part float64) {
			now := time.Now()
			took, last = append(took, now.Sub(last)), now
			o.tell(name, part)
		},
	})
	if err != nil {
		return nil, err
	}
	r := result(name, took, time.Since(begin))
	_, would, did := report.Totals()
	if would == 0 || did > 0 || int(report.Transitions) != o.Log {
		return nil, fmt.Errorf("of %d transitions %d were replayed, and %d matches would have fired", o.Log, report.Transitions, would)
	}
	r.Ops, r.PerSecond = o.Log, float64(o.Log)/r.Seconds
	r = r.against(float64(o.Log) / baseline.Seconds())
	r.Detail = fmt.Sprintf("ops are transitions of 1,000 meters, with %d rules of five sorts on a tenth of them, that would have fired %d times; p50 and p99 are of pages of the log; the baseline reads the rows with SQL and does nothing with them",
		replayRules, would)
	return []Result{r}, nil
}

// logStep is how far apart the changes of a log are.
const logStep = 10 * time.Millisecond

// writeLog makes a log of so many changes of meters from a time on, logStep
// apart. Every tenth value is above 90.
func writeLog(ctx context.Context, url string, n int, from time.Time) (err error) {
	d, err := db.Open(ctx, url, db.Options{NoSync: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.Migrate(ctx, engine.Migrations()...); err != nil {
		return err
	}
	return d.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.Tx.ExecContext(ctx, logOfMeters, n, from.UnixMicro()); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO entities (kind, id, version, updated_at) SELECT kind, entity_id, MAX(version), MAX(at) FROM transitions GROUP BY kind, entity_id")
		return err
	})
}

const logOfMeters = `
WITH RECURSIVE
	numbers(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i < ? - 1),
	readings AS (SELECT i, i % 1000 AS meter, i / 1000 AS version, ((i % 1000) * 31 + (i / 1000 + 1) * 7919) % 1000 AS now, ((i % 1000) * 31 + (i / 1000) * 7919) % 1000 AS before FROM numbers),
	told AS (SELECT *, CASE WHEN now > 900 THEN 'high' ELSE 'low' END AS status, CASE WHEN before > 900 THEN 'high' ELSE 'low' END AS was FROM readings)
INSERT INTO transitions (kind, entity_id, version, delta, next, actor, depth, at)
SELECT 'meter', 'meter-' || meter, version + 1,
	CASE
		WHEN version = 0 THEN printf('{"status":[null,"%s"],"value":[null,%.1f],"unit":[null,"celsius"],"region":[null,"eu-west-1"],"count":[null,7]}', status, now / 10.0)
		WHEN status <> was THEN printf('{"status":["%s","%s"],"value":[%.1f,%.1f]}', was, status, before / 10.0, now / 10.0)
		ELSE printf('{"value":[%.1f,%.1f]}', before / 10.0, now / 10.0)
	END,
	printf('{"status":"%s","value":%.1f,"unit":"celsius","region":"eu-west-1","count":7}', status, now / 10.0),
	'system', 0, ? + i * 10000
FROM told`

// readRaw is how long it takes to read the rows.
func readRaw(ctx context.Context, from *db.DB) (took time.Duration, err error) {
	begin := time.Now()
	rows, err := from.Read().QueryContext(ctx, "SELECT seq, kind, entity_id, version, delta, next, actor, run_id, depth, at FROM transitions ORDER BY seq")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	values, into := make([]any, 10), make([]any, 10)
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return 0, err
		}
	}
	return time.Since(begin), rows.Err()
}
