// Package notify is the plugin with the action `notify`, which tells people
// over the services that shoutrrr knows: chats, push messages, mail, and any
// webhook. Where to is said in the section `notifiers`.
//
// A message arrives at least once: it may arrive again when the engine died
// before it had noted that it had arrived, and when the service was too slow to
// say so. What one target does holds up no other.
package notify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/internal/egress"
	"github.com/flightrules/flightrules/internal/suggest"
	"github.com/flightrules/flightrules/plugins"
)

// Config is what a step says under `notify:`.
type Config struct {
	To      any    `json:"to" names:"notifiers" doc:"Required. The name of a target in the section notifiers, or a list of names."`
	Message string `json:"message"`
	Title   string `json:"title,omitempty" doc:"A line above the message, where the service has one; else it is put before the message."`
}

// Output is what the step gives.
type Output struct {
	Targets map[string]string `json:"targets" doc:"By name: delivered, or delivered earlier when an earlier attempt of the step had reached it."`
}

const (
	delivered = "delivered"
	earlier   = "delivered earlier"
)

// Plugin brings the action `notify` and the section `notifiers`.
type Plugin struct {
	host    *plugins.Host
	targets atomic.Pointer[map[string]Target]
	slots   slots
	done    memory
	client  *http.Client // for webhooks
}

// New makes the plugin.
func New() *Plugin {
	var guard *egress.Guard
	return &Plugin{client: &http.Client{
		Transport: guard.Transport(http.ProxyFromEnvironment),
		// A redirected POST arrives as a GET: nobody is told, and all looks well.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Name implements plugins.Plugin.
func (*Plugin) Name() string { return "notify" }

// Register implements plugins.Plugin.
func (p *Plugin) Register(h *plugins.Host) error {
	p.host = h
	p.targets.Store(&map[string]Target{})
	return errors.Join(
		action.Register(h.Actions(), action.Spec[Config, Output]{
			Name: "notify", Check: check, Run: p.run,
			Doc:   "Tells people, over chats, push messages, mail or webhooks. A message arrives at least once at each target.",
			Retry: action.Retry{Attempts: 5, Backoff: 2 * time.Second, MaxBackoff: 2 * time.Minute},
		}),
		plugins.AddSection(h, plugins.SectionSpec[Target]{
			Name: "notifiers", Doc: "Whom the action notify reaches, and how.",
			Key: func(t Target) string { return t.Name }, Check: checkTarget, Apply: p.apply,
		}),
	)
}

// Close implements plugins.Closer.
func (p *Plugin) Close(context.Context) error {
	p.client.CloseIdleConnections()
	return nil
}

// apply puts the items of the section in force.
func (p *Plugin) apply(items []Target) {
	targets := map[string]Target{}
	for _, t := range items {
		targets[t.Name] = t
		if t.plain() {
			p.host.Log().Warn("the url of a notifier holds what looks like a secret: write ${{ secrets.NAME }} instead", "notifier", t.Name)
		}
	}
	p.targets.Store(&targets)
}

func check(c Config) error {
	if _, err := names(c.To); err != nil {
		return err
	}
	if strings.TrimSpace(c.Message) == "" {
		return errors.New("message is empty")
	}
	return nil
}

// names are those of the targets, each once.
func names(to any) ([]string, error) {
	list, several := to.([]any)
	if !several {
		list = []any{to}
	}
	var found []string
	for _, one := range list {
		name, ok := one.(string)
		if !ok || name == "" {
			return nil, errors.New("to must be the name of a notifier, or a list of names")
		}
		if !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	if found == nil {
		return nil, errors.New("to lists nobody")
	}
	return found, nil
}

func (p *Plugin) run(ctx context.Context, call action.Call, c Config) (Output, error) {
	if err := check(c); err != nil {
		return Output{}, err
	}
	targets, err := p.lookup(c.To)
	if err != nil {
		return Output{}, err
	}
	out := Output{Targets: map[string]string{}}
	var left []Target
	for _, t := range targets {
		if p.done.has(call.IdempotencyKey, t.Name) {
			out.Targets[t.Name] = earlier
		} else {
			left = append(left, t)
		}
	}
	taken, err := p.slots.take(left)
	if err != nil {
		return Output{}, err
	}
	errs := make([]error, len(left))
	var group sync.WaitGroup
	for i, t := range left {
		group.Go(func() { errs[i] = p.deliver(ctx, call, t, taken[i], c) })
	}
	group.Wait()
	for i, t := range left {
		if errs[i] == nil {
			out.Targets[t.Name] = delivered
		}
	}
	if err := failure(errs, len(targets)); err != nil {
		return Output{}, err
	}
	p.done.forget(call.IdempotencyKey)
	return out, nil
}

// lookup finds the targets, all or none.
func (p *Plugin) lookup(to any) ([]Target, error) {
	wanted, err := names(to)
	if err != nil {
		return nil, err
	}
	all := *p.targets.Load()
	var found []Target
	for _, name := range wanted {
		t, ok := all[name]
		if !ok {
			return nil, unknown(name, all)
		}
		found = append(found, t)
	}
	return found, nil
}

func unknown(name string, all map[string]Target) error {
	var known []string
	for one := range all {
		known = append(known, one)
	}
	slices.Sort(known)
	hint := "there is none at all"
	if closest, ok := suggest.Closest(name, known); ok {
		hint = fmt.Sprintf("did you mean %q?", closest)
	} else if known != nil {
		hint = "there is: " + strings.Join(known, ", ")
	}
	return fmt.Errorf("%q is not in section notifiers: %s", name, hint)
}

// failure is the error of a step with such errors of deliveries, nil for none.
func failure(errs []error, of int) error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(errs) == 0 || of == 1 {
		return errors.Join(errs...)
	}
	var texts []string
	for _, err := range errs {
		texts = append(texts, err.Error())
	}
	return fmt.Errorf("%d of %d targets were not reached: %s", len(errs), of, strings.Join(texts, "; "))
}
