package agent_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/internal/bundle"
	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

var update = flag.Bool("update", false, "record the frames of this agent; see TestRecordedFrames")

// recorded are the frames of an agent, as the tests of the core replay them.
const recorded = "agent-files.jsonl"

var uuids = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// byChance is the part of a heartbeat's times that is.
var byChance = regexp.MustCompile(`\d+\.\d{6,}`)

// TestRecordedFrames compares what this agent sends with what is recorded of it,
// which the core is to understand for ever. When it sends something else, what is
// recorded stays as it is, and this test goes on with a file of another name.
func TestRecordedFrames(t *testing.T) {
	var frames []string
	a, b := everyMinute("a", spec{Secret: "http"}), everyMinute("b", spec{Fail: "no route to host"})
	a.Collectors = []string{"http"}
	atWork(t, []protocol.Assignment{a, b}, func(t *testing.T, w *work) {
		s := newShop()
		w.mu.Lock()
		w.shop = s
		w.answer = func(r protocol.SecretsRequest) protocol.Secrets {
			return protocol.Secrets{RequestID: r.RequestID, Env: map[string]string{"TOKEN": "hunter2"}}
		}
		w.mu.Unlock()
		pass(70 * time.Second)
		hash := s.add(t, map[string]string{"run.sh": "exit 0"})
		w.push(hash)
		pass(time.Second)
		w.mu.Lock()
		defer w.mu.Unlock()
		replacer := strings.NewReplacer("the-id", "CLIENT", "the-token", "TOKEN", hash, "the-bundle", bundle.Digest([]byte("exit 0")), "the-blob")
		seen := map[string]int{}
		for _, frame := range w.live.frames {
			m, err := protocol.Decode([]byte(frame))
			if err != nil {
				t.Fatal(err)
			}
			if seen[m.Type()]++; m.Type() == "heartbeat" {
				if seen[m.Type()] > 1 {
					continue
				}
				frame = byChance.ReplaceAllString(frame, "10.5")
			}
			frames = append(frames, uuids.ReplaceAllString(replacer.Replace(frame), "00000000-0000-4000-8000-000000000001"))
		}
	})
	path := filepath.Join("..", "testdata", "frames", recorded)
	got := strings.Join(frames, "\n") + "\n"
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}
