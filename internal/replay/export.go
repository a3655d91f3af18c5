package replay

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
)

// An export is NDJSON. Its first line is {"flightrules_export": 1}; every other
// one is a row, {"TABLE": {COLUMN: VALUE, ...}}, with times in microseconds since
// 1970 and JSON as it is. Columns that are null are left out.

// exportVersion is that of the form.
const exportVersion = 1

// table is what of a table stands in an export.
type table struct {
	name    string
	columns []string
	json    []string // columns that are JSON
	order   string
	since   string // which rows belong to an export from a time on, which is ?; "": all
	fixed   string // further columns of a row that is imported, and their values
}

var tables = []table{
	{name: "rule_versions", columns: []string{"version", "rule", "text", "created_at"}, json: []string{"text"}, order: "created_at, version"},
	{name: "rule_states", columns: []string{"rule", "loaded_at", "version", "paused_at", "paused_by", "tripped", "reason"}, order: "rule"},
	{name: "rule_changes", columns: []string{"seq", "rule", "change", "version", "actor", "reason", "at"}, order: "seq"},
	{name: "silences", columns: []string{"id", "matcher", "starts_at", "ends_at", "reason", "author", "file", "created_at", "ended_at"}, order: "created_at, id"},
	{
		name:    "transitions",
		columns: []string{"seq", "kind", "entity_id", "version", "delta", "next", "actor", "run_id", "depth", "at"}, json: []string{"delta", "next"}, order: "seq",
		// And of each entity the one in force then.
		since: "t.at >= ?0 OR NOT EXISTS (SELECT 1 FROM transitions AS n WHERE n.kind = t.kind AND n.entity_id = t.entity_id AND n.version > t.version AND n.at < ?0)",
	},
	{
		name:    "events",
		columns: []string{"seq", "id", "name", "kind", "entity_id", "payload", "transition_seq", "about_seq", "actor", "run_id", "depth", "at"}, json: []string{"payload"}, order: "seq",
		since: "t.at >= ?0 OR EXISTS (SELECT 1 FROM decisions AS d WHERE d.event_id = t.id AND d.at >= ?0)",
	},
	{
		name:    "decisions",
		columns: []string{"seq", "rule", "version", "trigger_id", "event_id", "key", "outcome", "detail", "run_id", "at"}, order: "seq", since: "t.at >= ?0",
	},
	{
		name:    "runs",
		columns: []string{"id", "rule", "version", "trigger_id", "event_id", "key", "status", "depth", "attempt", "error", "created_at", "started_at", "finished_at"}, order: "id",
		since: "t.finished_at IS NULL OR t.finished_at >= ?0", fixed: "ready = FALSE, epoch = 0",
	},
	{
		name:    "steps",
		columns: []string{"run_id", "path", "iteration", "position", "action", "status", "attempt", "input", "error", "started_at", "finished_at"}, json: []string{"input"}, order: "run_id, position, iteration",
		since: "EXISTS (SELECT 1 FROM runs AS r WHERE r.id = t.run_id AND (r.finished_at IS NULL OR r.finished_at >= ?0))",
	},
}

// Export writes what a replay needs of a database, as it is at one moment; with
// since, what is as old at most, and the states that were in force then.
func Export(ctx context.Context, source *db.DB, since time.Time, w io.Writer) (err error) {
	if err := source.Migrated(ctx, sets()...); err != nil {
		return fmt.Errorf("%w: %w", ErrOldSource, err)
	}
	var options *sql.TxOptions
	if source.Postgres() {
		options = &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	}
	tx, err := source.Read().BeginTx(ctx, options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	out := bufio.NewWriterSize(w, 1<<20)
	if _, err := fmt.Fprintf(out, "{\"flightrules_export\": %d}\n", exportVersion); err != nil {
		return err
	}
	for _, t := range tables {
		if err := t.export(ctx, tx, since, out); err != nil {
			return fmt.Errorf("export %s: %w", t.name, err)
		}
	}
	return out.Flush()
}

func (t table) export(ctx context.Context, tx bun.Tx, since time.Time, w io.Writer) (err error) {
	q := tx.NewSelect().TableExpr("? AS t", bun.Ident(t.name)).OrderExpr(t.order)
	for _, column := range t.columns {
		q = q.Column("t." + column)
	}
	if !since.IsZero() && t.since != "" {
		q = q.Where(t.since, db.At(since))
	}
	rows, err := q.Rows(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	values, into := make([]any, len(t.columns)), make([]any, len(t.columns))
	for i := range values {
		into[i] = &values[i]
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		row := map[string]any{}
		for i, column := range t.columns {
			value := values[i]
			if text, ok := value.([]byte); ok {
				value = string(text)
			}
			if text, ok := value.(string); ok && slices.Contains(t.json, column) {
				value = json.RawMessage(text)
			}
			if value != nil {
				row[column] = value
			}
		}
		if err := encoder.Encode(map[string]any{t.name: row}); err != nil {
			return err
		}
	}
	return rows.Err()
}

// ErrExport is returned for what is no export.
var ErrExport = errors.New("this is no export of flightrules")

// maxLine bounds a line of an export.
const maxLine = 64 << 20

// Import reads an export into a database of its own, in a folder for temporary
// files. done closes and removes it.
func Import(ctx context.Context, r io.Reader) (source *db.DB, done func() error, err error) {
	dir, err := os.MkdirTemp("", "flightrules-replay-")
	if err != nil {
		return nil, nil, err
	}
	source, err = db.Open(ctx, "sqlite:"+filepath.Join(dir, "export.db"), db.Options{NoSync: true})
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	done = func() error { return errors.Join(source.Close(), os.RemoveAll(dir)) }
	if err := load(ctx, source, r); err != nil {
		return nil, nil, errors.Join(err, done())
	}
	return source, done, nil
}

func load(ctx context.Context, into *db.DB, r io.Reader) error {
	if err := into.Migrate(ctx, sets()...); err != nil {
		return err
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 1<<20), maxLine)
	var head struct {
		Version int `json:"flightrules_export"`
	}
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &head) != nil || head.Version == 0 {
		return errors.Join(ErrExport, lines.Err())
	}
	if head.Version != exportVersion {
		return fmt.Errorf("%w that this program reads: it is of version %d", ErrExport, head.Version)
	}
	for n, more := 2, true; more; {
		if err := into.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
			for range 5000 {
				if more = lines.Scan(); !more {
					return nil
				}
				if err := insertLine(ctx, tx, lines.Bytes()); err != nil {
					return fmt.Errorf("line %d: %w", n, err)
				}
				n++
			}
			return nil
		}); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return into.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO entities (kind, id, version, updated_at) SELECT kind, entity_id, MAX(version), MAX(at) FROM transitions GROUP BY kind, entity_id")
		return err
	})
}

// insertLine inserts a row. What a newer program has written more than this one
// knows is left out.
func insertLine(ctx context.Context, tx bun.Tx, line []byte) error {
	var rows map[string]map[string]json.RawMessage
	if err := json.Unmarshal(line, &rows); err != nil {
		return fmt.Errorf("%w: %w", ErrExport, err)
	}
	for name, row := range rows {
		i := slices.IndexFunc(tables, func(t table) bool { return t.name == name })
		if i < 0 {
			continue
		}
		if err := tables[i].insert(ctx, tx, row); err != nil {
			return err
		}
	}
	return nil
}

func (t table) insert(ctx context.Context, tx bun.Tx, row map[string]json.RawMessage) error {
	var columns, marks []string
	var args []any
	for _, column := range t.columns {
		raw, ok := row[column]
		if !ok {
			continue
		}
		var value any = string(raw)
		if !slices.Contains(t.json, column) {
			decoder := json.NewDecoder(strings.NewReader(string(raw)))
			decoder.UseNumber()
			if err := decoder.Decode(&value); err != nil {
				return fmt.Errorf("%w: %s: %w", ErrExport, column, err)
			}
			if n, ok := value.(json.Number); ok {
				whole, err := n.Int64()
				if err != nil {
					return fmt.Errorf("%w: %s: %w", ErrExport, column, err)
				}
				value = whole
			}
		}
		columns, marks, args = append(columns, column), append(marks, "?"), append(args, value)
	}
	for _, one := range strings.Split(t.fixed, ", ") {
		if column, value, ok := strings.Cut(one, " = "); ok {
			columns, marks = append(columns, column), append(marks, value)
		}
	}
	// The names are those of the table above; the statement is below bun, which
	// would write the values into its text.
	_, err := tx.Tx.ExecContext(ctx, "INSERT INTO "+t.name+" ("+strings.Join(columns, ", ")+") VALUES ("+strings.Join(marks, ", ")+")", args...)
	return err
}
