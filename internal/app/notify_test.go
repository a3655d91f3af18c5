package app_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/engine/enginetest"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/plugins"
)

// example is the file of docs/how-to/notify-people.md.
func example(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/how-to/notify-people.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "```yaml\n")
	text, _, ok := strings.Cut(text, "```")
	if !ok {
		t.Fatal("the page has no example")
	}
	return text
}

func TestNotifierNamesAreChecked(t *testing.T) {
	text := example(t)
	for what, tt := range map[string]struct{ from, to, want string }{
		"the example":                           {},
		"a name that nobody has":                {"to: [oncall, team]", "to: [onacll, team]", "\"onacll\" is not in section notifiers\n              to: [onacll, team]\n                   ^\n    hint: did you mean \"oncall\"?"},
		"a service that nobody has":             {"slack://", "slak://", "url has an unknown service; did you mean \"slack\"?"},
		"a name that is known when it runs":     {"to: status-page", "to: ${{ event.payload.team }}", ""},
		"an address that nothing should be at":  {"https://hooks.example.com", "http://169.254.169.254", "is refused"},
		"something else than secrets in a URL":  {"${{ secrets.SLACK_HOOK }}", "${{ vars.hook }}", "only ${{ secrets.NAME }} can stand here"},
		"two targets of a name":                 {"name: team", "name: oncall", "duplicate item \"oncall\" in section notifiers"},
		"a target that is gone is missed":       {"- name: team", "- name: crew", "\"team\" is not in section notifiers"},
		"a secret where there is only a number": {"max_concurrent: 2", "max_concurrent: ${{ secrets.N }}", "must be a whole number"},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "notify.yaml"), []byte(strings.Replace(text, tt.from, tt.to, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			found, err := app.Check(t.Context(), dir)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v\nwant %q", err, tt.want)
			}
			if err == nil && (found.Rules != 2 || found.Warnings != nil) {
				t.Errorf("%+v", found)
			}
		})
	}
}

func TestNotify(t *testing.T) {
	const token = "s3cr3t-of-the-status-page"
	t.Setenv("FLIGHTRULES_SECRET_STATUS_TOKEN", token)
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, r.Header.Get("Authorization"), string(body))
	}))
	t.Cleanup(server.Close)
	e := enginetest.Start(t, enginetest.Options{
		Rules:   strings.Replace(example(t), "https://hooks.example.com", server.URL, 1),
		Plugins: func() []plugins.Plugin { return app.Plugins(app.PluginConfig{}) },
	})
	e.Emit("custom.disk_full", map[string]any{"host": "edge-1"})
	run := e.Runs("disk-is-full")[0]
	if run.Status != journal.RunSucceeded {
		t.Fatalf("%+v", run)
	}
	if diff := cmp.Diff([]string{"Bearer " + token, `{"message":"edge-1 has no room left.","title":"A disk is full"}`}, got); diff != "" {
		t.Error(diff)
	}
	for _, step := range e.Steps(run.ID) {
		kept := string(step.Input) + string(step.Output)
		if !strings.Contains(kept, `"status-page":"delivered"`) || strings.Contains(kept, token) {
			t.Errorf("kept of the step: %s", kept)
		}
	}
}
