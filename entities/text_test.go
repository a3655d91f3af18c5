package entities_test

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/entities"
)

// FuzzText holds the reading and writing of texts against encoding/json.
func FuzzText(f *testing.F) {
	for _, seed := range []string{
		`{}`, `[]`, ` { "a" : [ 1 , 2.5 , -0 , 1e3 , 1e-7 , 1e21 , 1e400 , 9007199254740993 , 9223372036854775808 ] } `,
		`{"a":null,"b":{"c":null},"d":[null,{"e":null}]}`, `{"a":1,"a":null}`, `{"a":null,"a":2}`,
		`"a\"b\\c\n<&>\u00e9\ud83d\ude80\ud800"`, "\"\x80\"", "\"\t\"", `"\q"`, `"open`, `tru`, `truefalse`, `01`, `+1`, `1.`, `.5`, `-`, `nan`,
		`{"a"}`, `{"a":1,}`, `[1,]`, `[1 2]`, `{1:2}`, `{} {}`, ``, `null`, `true`, `-12`, `0.1`, `"é"`, "\"\u2028\"",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want, wantErr := reference(text)
		got, err := entities.ParseText([]byte(text))
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("read %q: %v; encoding/json: %v", text, err, wantErr)
		}
		if err != nil {
			return
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("read %q (-encoding/json +here):\n%s", text, diff)
		}
		written, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(written), string(entities.TextOf(got))); diff != "" {
			t.Fatalf("write %q (-encoding/json +here):\n%s", text, diff)
		}
	})
}

// reference reads a text by way of encoding/json.
func reference(text string) (any, error) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, io.ErrNoProgress
	}
	return normal(v), nil
}

func normal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, one := range v {
			if v[name] = normal(one); one == nil {
				delete(v, name)
			}
		}
	case []any:
		for i := range v {
			v[i] = normal(v[i])
		}
	case json.Number:
		if whole, err := v.Int64(); err == nil {
			return whole
		}
		f, err := v.Float64()
		switch {
		case err != nil:
			return v.String()
		case f == math.Trunc(f) && math.Abs(f) < 1<<53:
			return int64(f)
		}
		return f
	}
	return v
}

func TestText(t *testing.T) {
	t.Run("what is nested too deep is an error and not the end of the process", func(t *testing.T) {
		if _, err := entities.ParseText(bytes.Repeat([]byte("["), 1<<20)); err == nil {
			t.Error("it was read")
		}
	})
	t.Run("a change is a pair of values for each field", func(t *testing.T) {
		text := string(entities.TextOf(entities.Delta{"b": {nil, "x"}, "a": {int64(1), 2.5}}))
		if want := `{"a":[1,2.5],"b":[null,"x"]}`; text != want {
			t.Errorf("%s, want %s", text, want)
		}
	})
}
