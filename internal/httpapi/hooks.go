package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/rules"
	"github.com/flightrules/flightrules/triggers"
)

const (
	// hookPatience bounds how long the body of a delivery may take.
	hookPatience = 10 * time.Second
	// hookAge bounds how far the time of a delivery may be from the clock.
	hookAge = 5 * time.Minute
	// maxDelivery bounds the id of a delivery.
	maxDelivery = 500
)

// delivery is what came to a webhook.
type delivery struct {
	hook     *rules.Webhook
	schemas  []*jsonschema.Schema
	request  *http.Request
	body     []byte
	standard bool    // it is signed as Standard Webhooks are
	caller   *Caller // nil: it is signed
}

// hookPayload is the payload of the event of a webhook.
type hookPayload struct {
	Body    json.RawMessage   `json:"body"`
	Headers map[string]string `json:"headers"`
	Query   map[string]string `json:"query"`
}

type delivered struct {
	ID        string `json:"id"`
	Duplicate bool   `json:"duplicate"`
}

// hook takes a delivery to /hooks/NAME. It passes the gates that operations
// pass, in their order; who it is from is told by a signature, or by a token.
func (s *Server) hook(w http.ResponseWriter, r *http.Request) {
	d, problem := s.identified(w, r)
	if problem != nil {
		problem.write(w)
		return
	}
	actor := "webhook:" + d.hook.Name
	if d.caller != nil {
		actor = "token:" + d.caller.Name
	}
	ctx := entities.WithCause(r.Context(), entities.Cause{Actor: actor})
	row, err := s.note(ctx, r.Method, r.URL.EscapedPath(), r.RemoteAddr)
	if err != nil {
		unexpected(ctx, http.StatusServiceUnavailable, err).write(w)
		return
	}
	row.Status = http.StatusInternalServerError // unless deliver returns
	defer func() { s.outcome(ctx, row) }()
	out, problem := s.deliver(ctx, d)
	switch {
	case problem != nil:
		row.Status = problem.Status
		problem.write(w)
		return
	case out.Duplicate:
		row.Status = http.StatusOK
	default:
		row.Status = http.StatusAccepted
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(row.Status)
	_ = json.NewEncoder(w).Encode(out) // it fails only when the client is gone
}

// identified reads a delivery and finds out whose it is.
func (s *Server) identified(w http.ResponseWriter, r *http.Request) (delivery, *Problem) {
	d := delivery{request: r}
	name := r.PathValue("name")
	if d.hook, d.schemas = hookNamed(s.Rules(), name); d.hook == nil {
		if p := s.stranger(r.RemoteAddr); p != nil { // who guesses names is one
			return d, p
		}
		return d, newProblem(http.StatusNotFound, "", "no rule in force waits for a webhook of that name")
	}
	if d.hook.Secret == "" {
		caller, problem := s.admit(r.Context(), credentials{method: r.Method, authorization: r.Header.Get("Authorization"), remote: r.RemoteAddr})
		if problem != nil {
			return d, problem
		}
		d.caller = &caller
	}
	var problem *Problem
	if d.body, problem = bodyOf(w, r); problem != nil {
		return d, problem
	}
	if d.caller != nil {
		return d, nil
	}
	secret, err := s.secretOf(r.Context(), name, d.hook)
	if err != nil {
		s.Log.Error("a delivery was refused, as the secret of its webhook is missing", "webhook", name, "error", err)
		return d, newProblem(http.StatusServiceUnavailable, "no_secret", "the engine lacks the secret of this webhook; its log says why")
	}
	good, standard := signed(r.Header, d.body, secret)
	if !good {
		if p := s.stranger(r.RemoteAddr); p != nil {
			return d, p
		}
		s.Log.Warn("a delivery without a valid signature was refused", "webhook", name, "remote", r.RemoteAddr)
		return d, newProblem(http.StatusUnauthorized, "", "a signature is wanted: HMAC-SHA256 of the body in X-Hub-Signature-256 or X-Signature-256, or as Standard Webhooks has it").
			with("WWW-Authenticate", `Signature realm="flightrules"`)
	}
	d.standard = standard
	return d, nil
}

// hookNamed finds the webhook of a name, with all schemas that its triggers
// have; nil when no trigger that is enabled waits for it. The compiler sees to
// it that all triggers of a name agree on the rest.
func hookNamed(set *rules.Set, name string) (hook *rules.Webhook, schemas []*jsonschema.Schema) {
	for _, r := range set.Rules {
		for i := range r.Triggers {
			t := &r.Triggers[i]
			if !r.Enabled || !t.Enabled || t.Webhook == nil || t.Webhook.Name != name {
				continue
			}
			if hook == nil {
				hook = t.Webhook
			}
			if t.Webhook.Schema != nil {
				schemas = append(schemas, t.Webhook.Schema)
			}
		}
	}
	return hook, schemas
}

func bodyOf(w http.ResponseWriter, r *http.Request) ([]byte, *Problem) {
	// A recorder of tests knows no deadlines, and a connection that cannot set
	// one fails at reading.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(hookPatience))
	defer func() { _ = control.SetReadDeadline(time.Time{}) }()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, newProblem(http.StatusRequestEntityTooLarge, "", fmt.Sprintf("a delivery has %d bytes at most", maxBody))
	}
	if err != nil {
		return nil, newProblem(http.StatusBadRequest, "", "the body could not be read to its end")
	}
	return body, nil
}

func (s *Server) secretOf(ctx context.Context, name string, hook *rules.Webhook) (string, error) {
	ref := rules.SecretRef.FindStringSubmatch(hook.Secret)
	if ref == nil {
		return hook.Secret, nil
	}
	secret, err := s.Secret(ctx, ref[1], "webhook:"+name)
	if err == nil && secret == "" {
		err = fmt.Errorf("secret %s: it is empty", ref[1])
	}
	return secret, err
}

// deliver turns a delivery into an event, unless it is there already.
func (s *Server) deliver(ctx context.Context, d delivery) (delivered, *Problem) {
	if d.caller != nil && d.caller.Role != Hook && !allows(d.caller.Role, plugins.Operator) {
		return delivered{}, forbidden(d.caller.Role, Hook)
	}
	event, problem := d.event(s.Now())
	if problem != nil {
		return delivered{}, problem
	}
	e, created, err := s.Emit(ctx, event)
	if err != nil {
		return delivered{}, unexpected(ctx, http.StatusInternalServerError, err)
	}
	return delivered{ID: e.ID, Duplicate: !created}, nil
}

// Delivery is the event that a delivery to a webhook becomes, whoever it is from.
// The error says why it is refused.
func Delivery(set *rules.Set, name string, r *http.Request, body []byte, now time.Time) (engine.Emitted, error) {
	d := delivery{request: r, body: body}
	if d.hook, d.schemas = hookNamed(set, name); d.hook == nil {
		return engine.Emitted{}, fmt.Errorf("no rule in force waits for the webhook %s", name)
	}
	event, problem := d.event(now)
	if problem == nil {
		return event, nil
	}
	text := problem.Detail
	for _, one := range problem.Errors {
		text += fmt.Sprintf("; %s: %s", one.Location, one.Message)
	}
	return event, errors.New(text)
}

// event is what a delivery becomes.
func (d delivery) event(now time.Time) (engine.Emitted, *Problem) {
	if !slices.Contains(d.hook.Methods, d.request.Method) {
		return engine.Emitted{}, newProblem(http.StatusMethodNotAllowed, "", fmt.Sprintf("this webhook does not take %s", d.request.Method)).
			with("Allow", strings.Join(d.hook.Methods, ", "))
	}
	if problem := d.fresh(now); problem != nil {
		return engine.Emitted{}, problem
	}
	id, problem := d.id()
	if problem != nil {
		return engine.Emitted{}, problem
	}
	payload, problem := d.payload()
	return engine.Emitted{ID: id, Name: triggers.WebhookPrefix + d.hook.Name, Payload: payload}, problem
}

// fresh refuses a delivery that says it was sent at another time than about
// now.
func (d delivery) fresh(now time.Time) *Problem {
	text := d.request.Header.Get(standardTimestamp)
	if text == "" && !d.standard {
		text = d.request.Header.Get("X-Timestamp")
	}
	if text == "" {
		return nil
	}
	at, ok := unixSeconds(text)
	if !ok {
		return newProblem(http.StatusBadRequest, "", "the time of the delivery is no number of seconds since 1970")
	}
	if now.Sub(at).Abs() > hookAge {
		return newProblem(http.StatusConflict, "stale_delivery", "the delivery was not sent within 5 minutes of the engine's clock")
	}
	return nil
}

// id is the id of the event: the same for each delivery of the same id, which
// senders keep when they try again; "" where the sender gives none. Of what is
// signed as Standard Webhooks are, only the id that was signed counts.
func (d delivery) id() (string, *Problem) {
	names := []string{"X-GitHub-Delivery", "X-Delivery-Id", standardID, "Idempotency-Key"}
	if d.standard {
		names = []string{standardID}
	}
	for _, name := range names {
		id := d.request.Header.Get(name)
		if len(id) > maxDelivery {
			return "", newProblem(http.StatusBadRequest, "", fmt.Sprintf("%s has %d bytes at most", name, maxDelivery))
		}
		if id != "" {
			return uuid.NewSHA1(uuid.NameSpaceURL, []byte("webhook/"+d.hook.Name+"/"+id)).String(), nil
		}
	}
	return "", nil
}

func (d delivery) payload() (db.JSON, *Problem) {
	var p hookPayload
	text, problem := d.decoded()
	if problem != nil {
		return nil, problem
	}
	p.Body = text
	if details := misfits(d.schemas, text); details != nil {
		return nil, newProblem(http.StatusUnprocessableEntity, "invalid_body", "validation failed", details...)
	}
	p.Headers, p.Query = map[string]string{}, map[string]string{}
	for name, values := range d.request.Header {
		if name = strings.ToLower(name); !secretHeader(name) && len(values) > 0 {
			p.Headers[name] = values[0]
		}
	}
	for name, values := range d.request.URL.Query() {
		p.Query[name] = values[0]
	}
	return db.ToJSON(p), nil
}

// decoded is the body as JSON, numbers as they were sent; what is not sent as
// JSON is a text.
func (d delivery) decoded() (json.RawMessage, *Problem) {
	media, _, _ := mime.ParseMediaType(d.request.Header.Get("Content-Type"))
	isJSON := media == "application/json" || strings.HasSuffix(media, "+json")
	switch {
	case !utf8.Valid(d.body):
		return nil, newProblem(http.StatusUnsupportedMediaType, "", "the body is not UTF-8 text")
	case !isJSON:
		return json.RawMessage(db.ToJSON(string(d.body))), nil
	case len(bytes.TrimSpace(d.body)) == 0:
		return json.RawMessage("null"), nil
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, d.body); err != nil {
		return nil, newProblem(http.StatusBadRequest, "", "the body is no JSON", Detail{Location: "body", Message: err.Error()})
	}
	return compact.Bytes(), nil
}

// misfits are the places of a body that do not fit the schemas.
func misfits(schemas []*jsonschema.Schema, body json.RawMessage) (list []Detail) {
	for _, schema := range schemas {
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
		if err == nil {
			err = schema.Validate(value)
		}
		if bad, ok := errors.AsType[*jsonschema.ValidationError](err); ok {
			list = append(list, leaves(*bad.DetailedOutput())...)
		} else if err != nil {
			list = append(list, Detail{Location: "body", Message: err.Error()})
		}
	}
	slices.SortStableFunc(list, func(a, b Detail) int { return strings.Compare(a.Location, b.Location) })
	return slices.Compact(list)
}

// leaves are the errors that are not made of others.
func leaves(unit jsonschema.OutputUnit) (list []Detail) {
	for _, cause := range unit.Errors {
		list = append(list, leaves(cause)...)
	}
	if len(unit.Errors) == 0 && unit.Error != nil {
		place := strings.NewReplacer("/", ".", "~1", "/", "~0", "~").Replace(unit.InstanceLocation)
		list = append(list, Detail{Location: "body" + place, Message: unit.Error.String()})
	}
	return list
}
