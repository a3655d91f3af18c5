package satellite_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

// TestEarlierAgents sends the frames of agents of earlier versions over a real
// socket: the core understands them. Files are added, and never changed. Those of
// the first two versions were written by hand after what these agents encode; the
// others are recorded, by a test of the agent.
func TestEarlierAgents(t *testing.T) {
	for file, answers := range map[string][]string{
		// Before there were assignments.
		"agent-heartbeats.jsonl": {"authenticated"},
		"agent-work.jsonl":       {"authenticated", "results_ack", "secrets", "bundle_manifest", "blob"},
		// Recorded since there were files.
		"agent-files.jsonl": {"authenticated", "secrets", "results_ack", "results_ack", "bundle_manifest", "blob"},
	} {
		t.Run(file, func(t *testing.T) {
			w := working(t, dbtest.SQLite(t))
			k := w.create("edge-1")
			secretive := probe("a")
			secretive.Secrets = map[string]map[string]string{"http": {"TOKEN": "DB_PASSWORD"}}
			must(t, w.assign(k, secretive, plugins.Assignment{ID: "b", Interval: 1e9, Timeout: 1e9}))
			must(t, w.db.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				return w.prober.remote.SetBundle(ctx, tx, k.id, bundleHash)
			}))
			text, err := os.ReadFile(filepath.Join("testdata", "frames", file))
			must(t, err)
			frames := strings.Split(strings.TrimSpace(strings.NewReplacer("CLIENT", k.id, "TOKEN", k.token).Replace(string(text))), "\n")
			conn := w.dialled()
			for _, frame := range frames {
				must(t, conn.Write(t.Context(), websocket.MessageText, []byte(frame)))
			}
			var got []string
			for len(got) < len(answers) {
				_, frame, err := conn.Read(t.Context())
				must(t, err)
				m, err := protocol.Decode(frame)
				must(t, err)
				if strings.Contains(string(frame), `"error"`) {
					t.Errorf("answered %s", frame)
				}
				got = append(got, m.Type())
			}
			if !slices.Equal(got, answers) {
				t.Errorf("answered %v, want %v", got, answers)
			}
			if want := len(answers) > 1; want && len(w.taken()) != 2 {
				t.Errorf("taken %v", w.taken())
			}
			must(t, conn.Close(websocket.StatusNormalClosure, "goodbye"))
		})
	}
}
