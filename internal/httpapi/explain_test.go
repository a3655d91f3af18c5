package httpapi_test

import (
	"testing"

	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/plugins"
)

func TestExplainTellsWhatSaidNo(t *testing.T) {
	f := newFixture(t, dbtest.SQLite(t))
	f.load(`
rules:
  - id: page
    triggers: [{event: custom.x, where: event.payload.n > 3}]
    actions: [{log: hi}]
`)
	var event struct {
		ID string `json:"id"`
	}
	f.as(plugins.Admin, "POST", "/api/v1/events", `{"name": "custom.x", "payload": {"n": 1}}`).want(201).into(&event)
	var got struct {
		Triggers []struct {
			Matched bool   `json:"matched"`
			Gate    string `json:"gate"`
			Where   struct {
				Value any `json:"value"`
				Parts []struct {
					Text  string `json:"text"`
					Value any    `json:"value"`
				} `json:"parts"`
			} `json:"where"`
		} `json:"triggers"`
	}
	f.as(plugins.Viewer, "GET", "/api/v1/rules/page/explain?event="+event.ID, "").want(200).into(&got)
	if one := got.Triggers[0]; one.Matched || one.Gate != "where" || one.Where.Value != false ||
		len(one.Where.Parts) != 1 || one.Where.Parts[0].Text != "event.payload.n" || one.Where.Parts[0].Value != 1.0 {
		t.Errorf("%+v", got)
	}
	f.as(plugins.Viewer, "GET", "/api/v1/rules/nobody/explain?event="+event.ID, "").want(404)
	f.as(plugins.Viewer, "GET", "/api/v1/rules/page/explain?event=nothing", "").want(404)
	f.as(plugins.Viewer, "GET", "/api/v1/rules/page/explain", "").want(422)
}
