package shape_test

import (
	"encoding/json"
	"math"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/expr-lang/expr/types"
	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/shape"
)

type reading struct {
	At     time.Time          `json:"at"`
	For    duration.Text      `json:"for"`
	Count  int                `json:"count"`
	Load   float64            `json:"load"`
	Name   string             `json:"name"`
	OK     bool               `json:"ok"`
	Points []reading2         `json:"points"`
	Loads  map[string]float64 `json:"loads"`
	Any    any                `json:"any"`
	None   *time.Time         `json:"none,omitempty"`
}

type reading2 struct {
	X int `json:"x"`
}

const readingJSON = `{"at": "2030-01-01T12:00:00+02:00", "for": "-1d12h", "count": 3, "load": 2, "name": "a", "ok": true,
	"points": [{"x": 1}, null], "loads": {"cpu": 1}, "any": {"a": [1]}, "unknown": 5}`

func TestDecode(t *testing.T) {
	s := mustOf[reading](t)
	v := decode(t, readingJSON)
	got, err := s.Decode(v)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"at": time.Date(2030, 1, 1, 10, 0, 0, 0, time.UTC), "for": -36 * time.Hour, "count": 3, "load": 2.0, "name": "a",
		"ok": true, "points": []any{map[string]any{"x": 1}, nil}, "loads": map[string]any{"cpu": 1.0},
		"any": map[string]any{"a": []any{1.0}}, "none": nil, "unknown": 5.0,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if zone := got.(map[string]any)["at"].(time.Time).Location(); zone != time.UTC {
		t.Errorf("the time is in the zone %v", zone)
	}
	if diff := cmp.Diff(decode(t, readingJSON), v); diff != "" {
		t.Errorf("the value was changed: %s", diff)
	}
	again, err := s.Decode(got)
	if diff := cmp.Diff(got, again); err != nil || diff != "" {
		t.Errorf("what is decoded already is changed: %v %s", err, diff)
	}
}

func TestDecodeTakesEveryFormOfNumbers(t *testing.T) {
	for _, v := range []any{3, int64(3), 3.0, json.Number("3")} {
		if got, err := (&shape.Shape{Type: shape.Integer}).Decode(v); err != nil || got != 3 {
			t.Errorf("%T: got %v, %v", v, got, err)
		}
		if got, err := (&shape.Shape{Type: shape.Number}).Decode(v); err != nil || got != 3.0 {
			t.Errorf("%T: got %v, %v", v, got, err)
		}
	}
}

func TestDecodeNamesWhatDoesNotFit(t *testing.T) {
	s := mustOf[reading](t)
	for src, want := range map[string]string{
		`{"points": [{"x": 1}, {"x": 1.5}]}`: `points[1].x: must be a whole number, not 1.5`,
		`{"points": [{"x": 1e300}]}`:         `points[0].x: must be a whole number, not 1e+300`,
		`{"points": [{"x": 9223372036854775808}]}`: `points[0].x: must be a whole number, ` +
			`not 9.223372036854776e+18`,
		`{"at": "today"}`:       `at: bad time "today": write RFC 3339, such as 2030-01-31T12:00:00Z`,
		`{"at": 5}`:             `at: must be a time, not 5`,
		`{"for": 5}`:            `for: must be a duration, not 5`,
		`{"ok": "yes"}`:         `ok: must be true or false, not "yes"`,
		`{"loads": {"a": "b"}}`: `loads.a: must be a number, not "b"`,
		`{"loads": []}`:         `loads: must be a map, not a list`,
		`{"points": {}}`:        `points: must be a list, not a map`,
		`"x"`:                   `must be an object, not "x"`,
	} {
		t.Run(src, func(t *testing.T) {
			_, err := s.Decode(decode(t, src))
			if err == nil {
				t.Fatal("it was decoded")
			}
			if diff := cmp.Diff(want, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEncode(t *testing.T) {
	type named string
	type point struct {
		X int       `json:"x"`
		T time.Time `json:"t"`
	}
	at := time.Date(2030, 1, 1, 12, 0, 0, 123456789, time.FixedZone("", 7200))
	var missing *point
	var none map[string]any
	for _, tt := range []struct {
		name    string
		v, want any
	}{
		{"time", at, "2030-01-01T10:00:00.123456Z"},
		{"whole second", at.Truncate(time.Second), "2030-01-01T10:00:00Z"},
		{"duration", 36 * time.Hour, "1d12h"},
		{"map", map[string]any{"a": at, "b": []any{time.Minute, nil}},
			map[string]any{"a": "2030-01-01T10:00:00.123456Z", "b": []any{"1m", nil}}},
		{"typed map", map[string]time.Duration{"a": time.Minute}, map[string]any{"a": "1m"}},
		{"grouped", map[any][]any{1: {at}}, map[string]any{"1": []any{"2030-01-01T10:00:00.123456Z"}}},
		{"typed list", []time.Duration{time.Minute}, []any{"1m"}},
		{"ints", []int{1, 2}, []any{1, 2}},
		{"pairs", [][2]any{{"a", time.Minute}}, []any{[]any{"a", "1m"}}},
		{"named string", named("x"), "x"},
		{"month", time.March, 3},
		{"small int", int8(3), 3},
		{"small float", float32(0.5), 0.5},
		{"not a number", math.NaN(), nil},
		{"infinity", math.Inf(-1), nil},
		{"text", duration.Text(time.Minute), "1m"},
		{"address", netip.MustParseAddr("::1"), "::1"},
		{"bytes", []byte("hi"), "aGk="},
		{"struct", &point{X: 1, T: at}, map[string]any{"x": 1.0, "t": "2030-01-01T12:00:00.123456789+02:00"}},
		{"nil pointer", missing, nil},
		{"nil map", none, nil},
		{"nil list", []any(nil), nil},
		{"plain", []any{nil, true, "a", 1, 1.5}, []any{nil, true, "a", 1, 1.5}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := shape.Encode(tt.v)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if _, err := json.Marshal(got); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWhatIsDecodedIsEncodedAsItWas(t *testing.T) {
	s := mustOf[reading](t)
	src := decode(t, `{"at": "2030-01-01T10:00:00Z", "for": "1d12h", "count": 3, "load": 2.5, "name": "a", "ok": true,
		"points": [{"x": 1}], "loads": {"cpu": 1}, "any": null, "none": null}`)
	v, err := s.Decode(src)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(src, throughJSON(t, shape.Encode(v))); diff != "" {
		t.Error(diff)
	}
}

func TestExpr(t *testing.T) {
	want := types.Map{
		"at": types.TypeOf(time.Time{}), "for": types.TypeOf(time.Duration(0)), "count": types.Int, "load": types.Float64,
		"name": types.String, "ok": types.Bool, "points": types.Array(types.Map{"x": types.Int}),
		"loads": types.Map{types.Extra: types.Float64}, "any": types.Any, "none": types.TypeOf(time.Time{}),
	}
	if got := mustOf[reading](t).Expr(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func mustOf[T any](t *testing.T) *shape.Shape {
	t.Helper()
	s, err := shape.Of[T]()
	if err != nil {
		t.Fatal(err)
	}
	return s
}
