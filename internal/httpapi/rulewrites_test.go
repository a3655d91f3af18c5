package httpapi_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/plugins"
)

const withInputs = `rules:
  - id: deploy
    triggers:
      - manual: true
        inputs: {version: {type: string}, count: {type: integer, default: 1}}
    actions:
      - log: deploy
`

type ruleBody struct {
	ID     string
	Paused *struct {
		At         time.Time
		By, Reason string
		Tripped    bool
	}
}

func TestPauseAndResume(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		read := func() (rule ruleBody) {
			t.Helper()
			f.as(plugins.Viewer, "GET", "/api/v1/rules/off", "").want(200).into(&rule)
			var list struct{ Items []ruleBody }
			f.as(plugins.Viewer, "GET", "/api/v1/rules?limit=1", "").want(200).into(&list)
			if diff := cmp.Diff([]ruleBody{rule}, list.Items); diff != "" {
				t.Errorf("the list has another state (-one +list):\n%s", diff)
			}
			return rule
		}

		t.Run("a pause says by whom and why", func(t *testing.T) {
			golden(t, "rule-paused", f.as(plugins.Operator, "POST", "/api/v1/rules/off/pause", `{"reason":"it pages too much"}`).want(200).Body.Bytes())
			if got := read().Paused; got == nil || got.By != "token:operator" || got.Reason != "it pages too much" || !got.At.Equal(start) || got.Tripped {
				t.Errorf("paused %+v", got)
			}
		})

		t.Run("it ends when it is resumed", func(t *testing.T) {
			var rule ruleBody
			f.as(plugins.Operator, "POST", "/api/v1/rules/off/resume", "").want(200).into(&rule)
			if rule.Paused != nil || read().Paused != nil {
				t.Errorf("rule %+v", rule)
			}
		})

		t.Run("a reason is not wanted", func(t *testing.T) {
			f.as(plugins.Operator, "POST", "/api/v1/rules/off/pause", "").want(200)
			if read().Paused == nil {
				t.Error("it is not paused")
			}
		})

		t.Run("a rule that was tripped says so", func(t *testing.T) {
			f.insert(&journal.RuleState{Rule: "page-when-lost", PausedAt: db.At(start), PausedBy: "system", Tripped: true, Reason: "too many"})
			var rule ruleBody
			f.as(plugins.Viewer, "GET", "/api/v1/rules/page-when-lost", "").want(200).into(&rule)
			if rule.Paused == nil || !rule.Paused.Tripped {
				t.Errorf("rule %+v", rule)
			}
		})

		t.Run("what is no rule, or no reason, is refused", func(t *testing.T) {
			for _, verb := range []string{"pause", "resume", "run"} {
				f.as(plugins.Operator, "POST", "/api/v1/rules/none/"+verb, "{}").problem(404, "not_found")
			}
			p := f.as(plugins.Operator, "POST", "/api/v1/rules/off/pause", `{"reason":"a\u0000"}`).problem(422, "unprocessable_entity")
			if p.Errors[0].Location != "body.reason" {
				t.Errorf("errors %+v", p.Errors)
			}
		})
	})
}

func TestRunByHand(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		f.load(withInputs)
		post := func(body string) answer { return f.as(plugins.Operator, "POST", "/api/v1/rules/deploy/run", body) }

		t.Run("it is an event with the inputs, by the caller", func(t *testing.T) {
			var got struct {
				ID, Name, Actor string
				Entity          struct{ Kind, ID string }
				Payload         map[string]any
			}
			post(`{"inputs":{"version":"1.2"}}`).want(202).into(&got)
			if got.ID == "" || got.Actor != "token:operator" || got.Entity.ID != "deploy" {
				t.Errorf("event %+v", got)
			}
			if diff := cmp.Diff(map[string]any{"version": "1.2", "count": 1.0}, got.Payload); diff != "" {
				t.Error(diff)
			}
			f.as(plugins.Viewer, "GET", "/api/v1/events/"+got.ID, "").want(200)
		})

		t.Run("a number arrives as exact as it was sent", func(t *testing.T) {
			if a := post(`{"inputs":{"version":"1","count":9007199254740993}}`).want(202); !strings.Contains(a.Body.String(), "9007199254740993") {
				t.Errorf("event %s", a.Body)
			}
		})

		for name, body := range map[string]string{
			"an unknown input":   `{"inputs":{"version":"1","verison":"2"}}`,
			"another type":       `{"inputs":{"version":"1","count":"many"}}`,
			"what is no object":  `{"inputs":[1]}`,
			"a number all alone": `{"inputs":1}`,
		} {
			t.Run(name+" is refused with its place", func(t *testing.T) {
				p := post(body).problem(422, "invalid_inputs")
				if len(p.Errors) != 1 || !strings.HasPrefix(p.Errors[0].Location, "body.inputs") {
					t.Errorf("errors %+v", p.Errors)
				}
			})
		}
	})
}
