package httpapi_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/internal/httpapi"
	"github.com/flightrules/flightrules/plugins"
)

const withHooks = `rules:
  - id: push
    triggers:
      - webhook: hub
        secret: ${{ secrets.HUB }}
    actions: [{log: pushed}]
  - id: pull
    triggers:
      - webhook: open
        methods: [POST, GET]
        schema: {type: object, required: [id], properties: {id: {type: integer}, "a/b": {type: string}}}
      - webhook: sleeping
        enabled: false
    actions: [{log: pulled}]
  - id: lost
    triggers:
      - webhook: lost
        secret: ${{ secrets.GONE }}
      - webhook: plain
    actions: [{log: lost}]
  - id: off
    enabled: false
    triggers:
      - webhook: off
    actions: [{log: off}]
`

// mac is the HMAC-SHA256 of a text.
func mac(key, text string) []byte {
	h := hmac.New(sha256.New, []byte(key))
	_, _ = io.WriteString(h, text)
	return h.Sum(nil)
}

func hub(key, body string) string { return "sha256=" + hex.EncodeToString(mac(key, body)) }

// standard are the headers of Standard Webhooks.
func standard(key, id string, at time.Time, body string) []string {
	seconds := strconv.FormatInt(at.Unix(), 10)
	signature := "v1," + base64.StdEncoding.EncodeToString(mac(key, id+"."+seconds+"."+body))
	return []string{"webhook-id", id, "webhook-timestamp", seconds, "webhook-signature", "v1,AAAA v1a,x " + signature}
}

type deliveredBody struct {
	ID        string
	Duplicate bool
}

// taken are the events of a webhook, oldest first.
func taken(f *fixture, name string) (payloads []string) {
	f.t.Helper()
	var list struct {
		Items []struct{ Payload json.RawMessage }
	}
	f.as(plugins.Viewer, "GET", "/api/v1/events?name=webhook."+name, "").want(200).into(&list)
	for _, e := range list.Items {
		payloads = append([]string{string(e.Payload)}, payloads...)
	}
	return payloads
}

func TestSignedDeliveries(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		f.load(withHooks)
		const path, body = "/hooks/hub", `{"ref": "main", "n": 9007199254740993}`
		deliver := func(body string, headers ...string) answer {
			return f.do("POST", path+"?a=1&a=2", body, append([]string{"Content-Type", "application/json; charset=utf-8"}, headers...)...)
		}

		t.Run("a delivery is an event with what came, and without what lets in", func(t *testing.T) {
			var got deliveredBody
			deliver(body, "X-Hub-Signature-256", hub(hubSecret, body), "Cookie", "c=1", "Authorization", "Basic eDp5", "X-GitHub-Event", "push").want(202).into(&got)
			var e struct {
				Name, Actor string
				Payload     json.RawMessage
			}
			f.as(plugins.Viewer, "GET", "/api/v1/events/"+got.ID, "").want(200).into(&e)
			want := `{"body":{"ref":"main","n":9007199254740993},"headers":{"content-type":"application/json; charset=utf-8","x-github-event":"push"},"query":{"a":"1"}}`
			if diff := cmp.Diff(want, string(e.Payload)); diff != "" || e.Name != "webhook.hub" || e.Actor != "webhook:hub" || got.Duplicate {
				t.Errorf("event %+v\n%s", e, diff)
			}
		})

		t.Run("a delivery that comes again happens once", func(t *testing.T) {
			for _, name := range []string{"X-GitHub-Delivery", "X-Delivery-Id", "webhook-id", "Idempotency-Key"} {
				before := len(taken(f, "hub"))
				var first, second deliveredBody
				deliver(body, "X-Signature-256", hub(hubSecret, body), name, "of "+name).want(202).into(&first)
				f.pass(time.Hour)
				deliver(body, "X-Signature-256", hub(hubSecret, body), name, "of "+name).want(200).into(&second)
				if diff := cmp.Diff(deliveredBody{first.ID, true}, second); diff != "" || first.Duplicate || len(taken(f, "hub")) != before+1 {
					t.Errorf("%s: first %+v, second %+v", name, first, second)
				}
			}
		})

		t.Run("Standard Webhooks sign the id and the time too", func(t *testing.T) {
			good := standard(hubSecret, "msg_1", f.clock(), body)
			deliver(body, good...).want(202)
			// Another id that nobody signed makes no other delivery of it.
			deliver(body, append(good, "X-GitHub-Delivery", "other")...).want(200)
			deliver(body, append(good, "webhook-id", "msg_2")...).problem(401, "unauthorized")
			deliver(body, append(good, "webhook-timestamp", strconv.FormatInt(f.clock().Unix()+1, 10))...).problem(401, "unauthorized")
			deliver(body, append(good, "webhook-id", "")...).problem(401, "unauthorized")
			deliver(body, append(good, "webhook-signature", "v1,AAAA", "X-Signature-256", hub(hubSecret, body))...).problem(401, "unauthorized")
		})

		t.Run("what was sent at another time is refused", func(t *testing.T) {
			before := len(taken(f, "hub"))
			for _, off := range []time.Duration{-5*time.Minute - time.Second, 5*time.Minute + time.Second} {
				at := f.clock().Add(off)
				deliver(body, standard(hubSecret, fmt.Sprint("late", off), at, body)...).problem(409, "stale_delivery")
				deliver(body, "X-Signature-256", hub(hubSecret, body), "X-Timestamp", strconv.FormatInt(at.Unix(), 10)).problem(409, "stale_delivery")
			}
			for _, off := range []time.Duration{-5 * time.Minute, 5 * time.Minute} {
				deliver(body, standard(hubSecret, fmt.Sprint("early", off), f.clock().Add(off), body)...).want(202)
			}
			deliver(body, "X-Signature-256", hub(hubSecret, body), "X-Timestamp", "noon").problem(400, "bad_request")
			if got := len(taken(f, "hub")) - before; got != 2 {
				t.Errorf("%d events more, want 2", got)
			}
		})

		t.Run("a signature that is none is refused, and a token does not stand for it", func(t *testing.T) {
			before := len(taken(f, "hub"))
			f.pass(time.Hour)
			for _, headers := range [][]string{
				nil,
				{"Authorization", "Bearer " + f.tokens[plugins.Admin]},
				{"X-Signature-256", hub("another", body)},
				{"X-Signature-256", hub(hubSecret, body+" ")},
				{"X-Signature-256", strings.TrimPrefix(hub(hubSecret, body), "sha256=")},
				{"X-Signature-256", hub(hubSecret, body)[:20]},
				{"X-Signature-256", "sha256="},
				{"X-Signature-256", "sha256=zz"},
			} {
				a := deliver(body, headers...)
				if a.problem(401, "unauthorized"); a.Header().Get("WWW-Authenticate") == "" {
					t.Error("no WWW-Authenticate")
				}
			}
			if len(taken(f, "hub")) != before {
				t.Error("one of them happened")
			}
		})

		t.Run("an address that fails too often has to wait, and good deliveries from it do not", func(t *testing.T) {
			for range 20 {
				deliver(body)
			}
			deliver(body).problem(429, "too_many_requests")
			f.do("POST", "/hooks/none", "").problem(429, "too_many_requests")
			deliver(body, "X-Signature-256", hub(hubSecret, body)).want(202)
			f.pass(time.Hour)
		})

		t.Run("a secret that is missing is the engine's fault, and in its log", func(t *testing.T) {
			f.do("POST", "/hooks/lost", body, "X-Signature-256", hub("", body)).problem(503, "no_secret")
			if !strings.Contains(f.log.String(), "GONE") || strings.Contains(f.log.String(), hubSecret) {
				t.Errorf("log %s", f.log)
			}
		})
	})
}

func TestStandardWebhooksSecret(t *testing.T) {
	f := newFixture(t, dbtest.SQLite(t))
	// The example of the specification's libraries.
	f.load(`rules:
  - id: a
    triggers: [{webhook: hub, secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw}]
    actions: [{log: a}]
`)
	f.mu.Lock()
	f.now = time.Unix(1614265330, 0)
	f.mu.Unlock()
	f.do("POST", "/hooks/hub", `{"test": 2432232314}`, "webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp", "1614265330",
		"webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=").want(202)
}

func TestDeliveriesWithAToken(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		f.load(withHooks)

		t.Run("who may deliver may, and who may only read may not", func(t *testing.T) {
			for role, want := range map[plugins.Role]int{httpapi.Hook: 202, plugins.Operator: 202, plugins.Admin: 202, plugins.Viewer: 403, "": 401} {
				f.as(role, "POST", "/hooks/plain", "x").want(want)
			}
			f.do("POST", "/hooks/plain", "x", "X-Signature-256", hub("", "x")).problem(401, "unauthorized")
		})

		t.Run("every write is audited, and strangers' are not", func(t *testing.T) {
			seen := map[auditEntry]int{}
			for _, e := range audited(f) {
				seen[e]++
			}
			const remote = "192.0.2.1:1234"
			want := map[auditEntry]int{
				{"token:hook", "POST", "/hooks/plain", remote, 202}:     1,
				{"token:operator", "POST", "/hooks/plain", remote, 202}: 1,
				{"token:admin", "POST", "/hooks/plain", remote, 202}:    1,
				{"token:viewer", "POST", "/hooks/plain", remote, 403}:   1,
			}
			if diff := cmp.Diff(want, seen); diff != "" {
				t.Errorf("audit (-want +got):\n%s", diff)
			}
		})

		t.Run("what is not sent as JSON is a text", func(t *testing.T) {
			f.as(httpapi.Hook, "POST", "/hooks/plain", `{"a":1}`, "Content-Type", "text/plain").want(202)
			f.as(httpapi.Hook, "POST", "/hooks/plain", ``, "Content-Type", "application/vnd.x+json").want(202)
			list := taken(f, "plain")
			want := []string{
				`{"body":"{\"a\":1}","headers":{"content-type":"text/plain"},"query":{}}`,
				`{"body":null,"headers":{"content-type":"application/vnd.x+json"},"query":{}}`,
			}
			if diff := cmp.Diff(want, list[len(list)-2:]); diff != "" {
				t.Error(diff)
			}
			f.as(httpapi.Hook, "POST", "/hooks/plain", "\xff").problem(415, "unsupported_media_type")
			f.as(httpapi.Hook, "POST", "/hooks/plain", "{", "Content-Type", "application/json").problem(400, "bad_request")
		})

		t.Run("a body that does not fit the schema is refused with the places", func(t *testing.T) {
			send := func(body string) answer {
				return f.as(httpapi.Hook, "POST", "/hooks/open", body, "Content-Type", "application/json")
			}
			send(`{"id":7}`).want(202)
			golden(t, "problem-hook", send(`{"id":"seven","a/b":1}`).want(422).Body.Bytes())
			p := send(`{}`).problem(422, "invalid_body")
			if len(p.Errors) != 1 || p.Errors[0].Location != "body" || !strings.Contains(p.Errors[0].Message, "id") {
				t.Errorf("errors %+v", p.Errors)
			}
			f.as(httpapi.Hook, "GET", "/hooks/open", "").problem(422, "invalid_body")
			if n := len(taken(f, "open")); n != 1 {
				t.Errorf("%d events, want 1", n)
			}
		})

		t.Run("a method that the trigger does not list is refused", func(t *testing.T) {
			a := f.as(httpapi.Hook, "PUT", "/hooks/open", "{}")
			if a.problem(405, "method_not_allowed"); a.Header().Get("Allow") != "POST, GET" {
				t.Errorf("Allow %q", a.Header().Get("Allow"))
			}
		})

		t.Run("what nothing waits for is not there", func(t *testing.T) {
			for _, name := range []string{"none", "off", "sleeping"} {
				f.as(httpapi.Hook, "POST", "/hooks/"+name, "").problem(404, "not_found")
			}
		})

		t.Run("a body has a bound, and so has an id", func(t *testing.T) {
			f.as(httpapi.Hook, "POST", "/hooks/plain", strings.Repeat("x", 1<<20)).want(202)
			f.as(httpapi.Hook, "POST", "/hooks/plain", strings.Repeat("x", 1<<20+1)).problem(413, "request_entity_too_large")
			f.as(httpapi.Hook, "POST", "/hooks/plain", "", "X-Delivery-Id", strings.Repeat("x", 501)).problem(400, "bad_request")
		})

		t.Run("a token for it is made like others", func(t *testing.T) {
			f.as(plugins.Admin, "POST", "/api/v1/tokens", `{"name":"ci","role":"hook"}`).want(201)
		})
	})
}
