package httpcall

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/flightrules/flightrules/engine/action"
)

const (
	defaultBody = 1 << 20
	// mostBody is what a step may allow. An answer is kept with the run, and is
	// in memory several times on its way there.
	mostBody = 16 << 20
	// mostTold is how long an answer may be that stands in an error. A longer one
	// is left out and not cut: a secret that is cut through cannot be masked.
	mostTold = 512
)

var decodings = []string{"", "auto", "json", "text", "base64"}

func oneOf(list []string, text string) bool { return slices.Contains(list, text) }

func checkDecode(text string) error {
	if !oneOf(decodings, text) {
		return errors.New("decode is one of auto, json, text and base64")
	}
	return nil
}

// answer reads the answer and says whether it is a success.
func answer(req *http.Request, res *http.Response, c Config) (Output, error) {
	text, err := read(res.Body, c.MaxBody)
	if err != nil {
		return Output{}, fmt.Errorf("%s %s: %w", req.Method, shown(req.URL), err)
	}
	if ok, err := expected(c.Expect, res.StatusCode); err != nil || !ok {
		return Output{}, errors.Join(err, fmt.Errorf("%s %s answered %s%s", req.Method, shown(req.URL), res.Status, told(res, text)))
	}
	out := Output{Status: res.StatusCode, Headers: map[string]string{}}
	for name := range res.Header {
		out.Headers[strings.ToLower(name)] = res.Header.Get(name)
	}
	if out.Body, err = decoded(c.Decode, res.Header.Get("Content-Type"), text); err != nil {
		return Output{}, fmt.Errorf("%s %s: %w", req.Method, shown(req.URL), err)
	}
	return out, nil
}

// simulated is what a step makes of an answer that a simulation gives.
func simulated(c Config, out Output) (Output, error) {
	if out.Headers == nil {
		out.Headers = map[string]string{}
	}
	ok, err := expected(c.Expect, out.Status)
	if err != nil || ok {
		return out, err
	}
	req, err := request(context.Background(), action.Call{}, c)
	if err != nil {
		return Output{}, err
	}
	text, isText := out.Body.(string)
	if !isText && out.Body != nil {
		body, err := json.Marshal(out.Body)
		if err != nil {
			return Output{}, err
		}
		text = string(body)
	}
	res := &http.Response{StatusCode: out.Status, Header: http.Header{}, Request: req}
	for name, value := range out.Headers {
		res.Header.Set(name, value)
	}
	return Output{}, fmt.Errorf("%s %s answered %d %s%s", req.Method, shown(req.URL), out.Status, http.StatusText(out.Status), told(res, []byte(text)))
}

func read(body io.Reader, limit int) ([]byte, error) {
	if limit == 0 {
		limit = defaultBody
	}
	text, err := io.ReadAll(io.LimitReader(body, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if len(text) > limit {
		return nil, fmt.Errorf("the answer is longer than %d bytes", limit)
	}
	return text, nil
}

// told is what an error says of an answer besides its status.
func told(res *http.Response, text []byte) string {
	if at, err := res.Location(); err == nil && res.StatusCode/100 == 3 {
		return fmt.Sprintf(", which leads to %s (say redirects: 1 to follow it)", shown(at))
	}
	if len(text) == 0 || len(text) > mostTold || !utf8.Valid(text) {
		return ""
	}
	return ": " + strings.Join(strings.Fields(string(text)), " ")
}

func decoded(as, contentType string, text []byte) (any, error) {
	switch {
	case as == "base64":
		return base64.StdEncoding.EncodeToString(text), nil
	case as == "text" || as != "json" && !strings.Contains(contentType, "json"):
		return string(text), nil
	}
	var v any
	err := json.Unmarshal(text, &v)
	switch {
	case err == nil:
		return v, nil
	case as == "json":
		return nil, errors.New("the answer is not JSON")
	}
	return string(text), nil // it says that it is JSON, and is not
}

// expected says whether a status is among those of expect.
func expected(expect []any, status int) (bool, error) {
	if len(expect) == 0 {
		return status >= 200 && status <= 299, nil
	}
	found := false
	for _, one := range expect {
		text := fmt.Sprint(one)
		from, to, isRange := strings.Cut(text, "..")
		if !isRange {
			to = from
		}
		first, err1 := strconv.Atoi(from)
		last, err2 := strconv.Atoi(to)
		if err1 != nil || err2 != nil || first < 100 || last > 599 || first > last {
			return false, fmt.Errorf("expect: %q is neither a status nor a range such as 200..299", text)
		}
		found = found || status >= first && status <= last
	}
	return found, nil
}
