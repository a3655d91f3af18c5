package agent

import (
	"context"
	"log/slog"
	"time"

	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

// Memory is what an agent keeps on disk.
type Memory struct{ *memory }

// OpenMemory opens the memory in a folder. most bounds it; 0: as usual.
func OpenMemory(ctx context.Context, dir string, most int64) (Memory, error) {
	m, err := openMemory(ctx, dir, slog.New(slog.DiscardHandler))
	if err == nil && most > 0 {
		m.most = most
	}
	return Memory{m}, err
}

// Add keeps a result.
func (m Memory) Add(ctx context.Context, now time.Time, item protocol.Item) error {
	return m.add(ctx, now, item)
}

// Batch are the oldest results.
func (m Memory) Batch(ctx context.Context) (protocol.Results, error) { return m.batch(ctx) }

// Delivered forgets results.
func (m Memory) Delivered(ctx context.Context, stream string, seq int64) error {
	return m.delivered(ctx, stream, seq)
}

// Size is how many results there are, and how many bytes they have.
func (m Memory) Size() (count, size int64) { return m.count.Load(), m.size.Load() }

// Close closes it.
func (m Memory) Close() error { return m.close() }
