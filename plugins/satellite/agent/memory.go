package agent

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

const (
	// MaxBuffered bounds the results that are kept until the core has them, in
	// bytes, and MaxBufferedFor their age. The oldest are lost first.
	MaxBuffered    = 64 << 20
	MaxBufferedFor = 7 * 24 * time.Hour

	// itemOverhead is what a result takes beside its text, in bytes, or a little
	// less.
	itemOverhead = 32
	// maxBatch bounds the results of one message, in bytes.
	maxBatch = protocol.MaxFrame / 2
)

//go:embed migrations/*.sql
var files embed.FS

// memory is what an agent keeps on disk: results until the core has taken them,
// and what there is to do, so that it goes on when the agent is started while
// the core is away.
type memory struct {
	db     *db.DB
	log    *slog.Logger
	stream string
	count  atomic.Int64 // of results
	size   atomic.Int64 // of results, in bytes
	most   int64        // of size
}

// head is the row of the memory.
type head struct {
	bun.BaseModel `bun:"table:memory"`

	ID          int     `bun:"id,pk"`
	Stream      string  `bun:"stream"`
	LastSeq     int64   `bun:"last_seq"`
	Dropped     int64   `bun:"dropped"`
	Assignments db.JSON `bun:"assignments"`
}

type kept struct {
	bun.BaseModel `bun:"table:results"`

	Seq  int64   `bun:"seq,pk"`
	At   db.Time `bun:"at"`
	Item db.JSON `bun:"item"`
	Sum  int64   `bun:"sum"` // see sumOf
}

// sumOf tells a result from one that the disk has changed.
func sumOf(seq int64, item []byte) int64 {
	return int64(crc32.ChecksumIEEE(fmt.Appendf(nil, "%d %s", seq, item)))
}

// openMemory opens the memory in a folder, which is made where it is not there.
// One that cannot be read is put aside, and another begun: what it held is lost,
// and never a wrong result delivered.
func openMemory(ctx context.Context, dir string, log *slog.Logger) (*memory, error) {
	// Scripts that run as another user find their files below it; the memory is
	// for nobody else.
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "memory.db")
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	m, err := readMemory(ctx, path, log)
	if err == nil || !db.Corrupt(err) {
		return m, err
	}
	aside := path + ".corrupt"
	log.Error("what this satellite has not delivered cannot be read and is lost", "error", err, "kept_as", aside)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Rename(path+suffix, aside+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	return readMemory(ctx, path, log)
}

func readMemory(ctx context.Context, path string, log *slog.Logger) (m *memory, err error) {
	m = &memory{log: log, most: MaxBuffered}
	if m.db, err = db.Open(ctx, "sqlite:"+path, db.Options{MaxConns: 1, CacheKiB: 2000}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.db.Close())
		}
	}()
	if err := m.db.Migrate(ctx, db.MigrationsIn("satellite.agent", files)); err != nil {
		return nil, err
	}
	if err := m.db.Check(ctx); err != nil {
		return nil, err
	}
	first := head{ID: 1, Stream: uuid.NewString(), Assignments: db.JSON("[]")}
	if err := m.db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewInsert().Model(&first).On("CONFLICT (id) DO NOTHING").Returning("NULL").Exec(ctx)
		return err
	}); err != nil {
		return nil, err
	}
	h, err := m.head(ctx, m.db.Read())
	if err != nil {
		return nil, err
	}
	m.stream = h.Stream
	var count, size int64
	if err := m.db.Read().NewSelect().Model((*kept)(nil)).ColumnExpr("COUNT(*), COALESCE(SUM(LENGTH(item) + ?), 0)", itemOverhead).
		Scan(ctx, &count, &size); err != nil {
		return nil, err
	}
	m.count.Store(count)
	m.size.Store(size)
	return m, nil
}

func (m *memory) close() error { return m.db.Close() }

func (m *memory) head(ctx context.Context, idb bun.IDB) (h head, err error) {
	err = idb.NewSelect().Model(&h).Where("id = 1").Scan(ctx)
	return h, err
}

// add keeps a result until it is delivered. What is too old, or too much, goes.
func (m *memory) add(ctx context.Context, now time.Time, item protocol.Item) error {
	text, err := json.Marshal(item)
	if err != nil {
		return err
	}
	var gone, freed int64
	added := int64(len(text)) + itemOverhead
	err = m.db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		gone, freed = 0, 0
		h, err := m.head(ctx, tx)
		if err != nil {
			return err
		}
		h.LastSeq++
		one := kept{Seq: h.LastSeq, At: db.At(now), Item: db.JSON(text), Sum: sumOf(h.LastSeq, text)}
		if _, err := tx.NewInsert().Model(&one).Returning("NULL").Exec(ctx); err != nil {
			return err
		}
		if gone, freed, err = m.dropOldest(ctx, tx, now, m.size.Load()+added-m.most); err != nil {
			return err
		}
		_, err = tx.NewUpdate().Model((*head)(nil)).Set("last_seq = ?, dropped = dropped + ?", h.LastSeq, gone).Where("id = 1").Exec(ctx)
		return err
	})
	if err != nil {
		return err
	}
	m.count.Add(1 - gone)
	m.size.Add(added - freed)
	if gone > 0 {
		m.log.Warn("results were lost: the core has been away for too long", "count", gone)
	}
	return nil
}

// dropOldest makes room for excess bytes, and drops what is too old. Results are
// in the order of their age but for a clock that was set back; then they stay a
// little longer.
func (m *memory) dropOldest(ctx context.Context, tx bun.Tx, now time.Time, excess int64) (gone, freed int64, err error) {
	for {
		var oldest []struct {
			Seq  int64
			At   db.Time
			Size int64
		}
		if err := tx.NewSelect().Model((*kept)(nil)).ColumnExpr("seq, at, LENGTH(item) + ? AS size", itemOverhead).
			Order("seq").Limit(100).Scan(ctx, &oldest); err != nil {
			return gone, freed, err
		}
		last := int64(0)
		for _, o := range oldest {
			if freed >= excess && now.Sub(o.At.Time) <= MaxBufferedFor {
				break
			}
			last, gone, freed = o.Seq, gone+1, freed+o.Size
		}
		if last == 0 {
			return gone, freed, nil
		}
		if _, err := tx.NewDelete().Model((*kept)(nil)).Where("seq <= ?", last).Exec(ctx); err != nil {
			return gone, freed, err
		}
		if last < oldest[len(oldest)-1].Seq {
			return gone, freed, nil
		}
	}
}

// batch are the oldest results, as they are sent; without items when there are
// none.
func (m *memory) batch(ctx context.Context) (protocol.Results, error) {
	var rows []kept
	if err := m.db.Read().NewSelect().Model(&rows).Order("seq").Limit(protocol.MaxItems).Scan(ctx); err != nil {
		return protocol.Results{}, err
	}
	h, err := m.head(ctx, m.db.Read())
	if err != nil {
		return protocol.Results{}, err
	}
	out, size := protocol.Results{Stream: m.stream, Dropped: h.Dropped}, 0
	for _, r := range rows {
		var item protocol.Item
		if r.Sum != sumOf(r.Seq, r.Item) || json.Unmarshal(r.Item, &item) != nil {
			if err := m.dropDamaged(ctx, r); err != nil {
				return protocol.Results{}, err
			}
			return m.batch(ctx)
		}
		if len(out.Items) == 0 {
			out.Seq = r.Seq
		}
		if size += len(r.Item); len(out.Items) > 0 && (size > maxBatch || r.Seq != out.Seq+int64(len(out.Items))) {
			break
		}
		out.Items = append(out.Items, item)
	}
	return out, nil
}

// dropDamaged drops a result that the disk has changed.
func (m *memory) dropDamaged(ctx context.Context, r kept) error {
	m.log.Error("a result was damaged on disk and is lost", "seq", r.Seq)
	err := m.db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewDelete().Model(&r).WherePK().Exec(ctx); err != nil {
			return err
		}
		_, err := tx.NewUpdate().Model((*head)(nil)).Set("dropped = dropped + 1").Where("id = 1").Exec(ctx)
		return err
	})
	if err == nil {
		m.count.Add(-1)
		m.size.Add(-int64(len(r.Item)) - itemOverhead)
	}
	return err
}

// delivered forgets the results that the core has taken.
func (m *memory) delivered(ctx context.Context, stream string, seq int64) error {
	if stream != m.stream {
		return nil
	}
	var count, size int64
	err := m.db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := tx.NewSelect().Model((*kept)(nil)).ColumnExpr("COUNT(*), COALESCE(SUM(LENGTH(item) + ?), 0)", itemOverhead).
			Where("seq <= ?", seq).Scan(ctx, &count, &size); err != nil {
			return err
		}
		_, err := tx.NewDelete().Model((*kept)(nil)).Where("seq <= ?", seq).Exec(ctx)
		return err
	})
	if err == nil {
		m.count.Add(-count)
		m.size.Add(-size)
	}
	return err
}

// assigned keeps what there is to do.
func (m *memory) assigned(ctx context.Context, list []protocol.Assignment) error {
	return m.db.Write(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().Model((*head)(nil)).Set("assignments = ?", db.ToJSON(list)).Where("id = 1").Exec(ctx)
		return err
	})
}

// assignments are what there was to do last.
func (m *memory) assignments(ctx context.Context) (list []protocol.Assignment, err error) {
	h, err := m.head(ctx, m.db.Read())
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	return list, json.Unmarshal(h.Assignments, &list)
}
