package satellite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/suggest"
	"github.com/flightrules/flightrules/plugins"
)

// happening is what a step of a test says of a satellite.
type happening struct {
	Connect    string   `json:"connect,omitempty" doc:"It connects, and sends heartbeats from now on. Also one that has a connection: it begins a new one."`
	Beat       string   `json:"beat,omitempty" doc:"It sends one heartbeat now, also one that is silent otherwise."`
	Silence    string   `json:"silence,omitempty" doc:"It is heard once more now, and then no more; its socket stays open. It is lost at its threshold."`
	Drop       string   `json:"drop,omitempty" doc:"It is heard once more now; then its socket breaks, without a goodbye, and it does not come back until it connects."`
	Disconnect string   `json:"disconnect,omitempty" doc:"It leaves with a goodbye."`
	Remove     string   `json:"remove,omitempty" doc:"An operator removes it."`
	Skew       *skewing `json:"skew,omitempty" doc:"Its clock is wrong from now on."`
}

type skewing struct {
	ID string        `json:"id" doc:"The id of the satellite, or its name."`
	By duration.Text `json:"by" doc:"How far its clock is ahead; with a minus: behind."`
}

// initial is a satellite that is there when a test begins.
type initial struct {
	ID               string            `json:"id,omitempty" doc:"What expectations name it by; default: its name."`
	Name             string            `json:"name,omitempty" doc:"Default: its id."`
	Region           string            `json:"region,omitempty"`
	Tags             map[string]string `json:"tags,omitempty"`
	OfflineThreshold duration.Text     `json:"offline_threshold,omitempty" doc:"Silence after which it is lost; default: the engine's."`
	Connected        *bool             `json:"connected,omitempty" doc:"Whether it is connected and sends heartbeats; default: true. One that never connected has no state."`
}

func (p *Plugin) addVerbs(h *plugins.Host) error {
	return errors.Join(
		plugins.AddVerb(h, plugins.VerbSpec[*outside, happening]{
			Name: "satellite", Doc: "What a satellite does: one of these, with its id or its name.",
			Check: happening.check, Do: (*outside).happen,
		}),
		plugins.AddVerb(h, plugins.VerbSpec[*outside, initial]{
			Name: "satellite", Doc: "A satellite that is there, and connected.", Given: true,
			Check: func(i initial) error { return i.check(p.config) }, Do: (*outside).given,
		}),
	)
}

// deed is one of the things that a happening may say, and of which satellite.
type deed struct {
	ref string
	do  func(o *outside, ctx context.Context, a *simulated) error
}

func (h happening) deeds() []deed {
	list := []deed{
		{h.Connect, (*outside).connect}, {h.Beat, (*outside).beat}, {h.Silence, (*outside).silence},
		{h.Drop, (*outside).drop}, {h.Disconnect, (*outside).disconnect}, {h.Remove, (*outside).remove},
	}
	if h.Skew != nil {
		list = append(list, deed{h.Skew.ID, func(_ *outside, _ context.Context, a *simulated) error {
			a.skew = time.Duration(h.Skew.By)
			return nil
		}})
	}
	return slices.DeleteFunc(list, func(d deed) bool { return d.ref == "" })
}

func (h happening) check() error {
	if n := len(h.deeds()); n != 1 {
		return fmt.Errorf("one of connect, beat, silence, drop, disconnect, remove and skew is wanted, with the id or the name of a satellite; there are %d", n)
	}
	return nil
}

func (i initial) withDefaults() initial {
	if i.ID == "" {
		i.ID = i.Name
	}
	if i.Name == "" {
		i.Name = i.ID
	}
	return i
}

func (i initial) check(c Config) error {
	i = i.withDefaults()
	if i.ID == "" {
		return errors.New("id or name is wanted")
	}
	if !isRef(i.ID) {
		return fmt.Errorf("id: write at most %d letters, digits, dots, underscores and hyphens, with a letter or digit first", maxName)
	}
	if err := checkName(i.Name); err != nil {
		return fmt.Errorf("name: %w", err)
	}
	if i.OfflineThreshold != 0 {
		if err := c.checkThreshold(time.Duration(i.OfflineThreshold)); err != nil {
			return fmt.Errorf("offline_threshold: %w", err)
		}
	}
	return nil
}

// happen implements the verb of steps.
func (o *outside) happen(ctx context.Context, h happening) error {
	d := h.deeds()[0]
	a, err := o.find(ctx, d.ref)
	if err != nil {
		return err
	}
	if err := d.do(o, ctx, a); err != nil {
		return err
	}
	return o.watch(ctx)
}

// given implements the verb of what is given.
func (o *outside) given(ctx context.Context, i initial) error {
	i = i.withDefaults()
	if o.down {
		return errDown
	}
	for _, ref := range []string{i.ID, i.Name} {
		if o.known(ref) != nil {
			return fmt.Errorf("there is a satellite %q already", ref)
		}
	}
	a, err := o.declared(ctx, i.Name)
	switch {
	case err != nil:
		return err
	case a != nil && (i.ID != i.Name || i.Region != "" || i.Tags != nil || i.OfflineThreshold != 0):
		return fmt.Errorf("satellite %s is written in the files, with its region, its tags and its threshold: give its name alone", i.Name)
	case a == nil:
		a = &simulated{id: i.ID, name: i.Name, token: newToken()}
		s := settings{Name: i.Name, Region: i.Region, Tags: i.Tags}
		if err := o.plugin.create(ctx, newRow(a.id, s, time.Duration(i.OfflineThreshold), hashToken(a.token), o.now())); err != nil {
			return err
		}
		o.agents = append(o.agents, a)
	}
	if i.Connected != nil && !*i.Connected {
		return nil
	}
	return o.connect(ctx, a)
}

func (o *outside) known(ref string) *simulated {
	for _, a := range o.agents {
		if a.id == ref || a.name == ref {
			return a
		}
	}
	return nil
}

// declared makes an agent of a satellite of the files, where none was made
// before; nil: there is no such satellite.
func (o *outside) declared(ctx context.Context, name string) (*simulated, error) {
	if err := o.plugin.followFiles(ctx, name); err != nil {
		return nil, err
	}
	r, err := o.plugin.byRef(ctx, o.plugin.host.Read(), name)
	if errors.Is(err, errUnknown) || err == nil && r.Source != inFile {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	a := &simulated{id: r.ID, name: r.Name, token: newToken()}
	if err := o.plugin.replaceToken(ctx, r.ID, hashToken(a.token), 0); err != nil {
		return nil, err
	}
	o.agents = append(o.agents, a)
	return a, nil
}

// find is an agent that is given, or that of a satellite of the files.
func (o *outside) find(ctx context.Context, ref string) (*simulated, error) {
	if a := o.known(ref); a != nil {
		return a, nil
	}
	if !o.down {
		if a, err := o.declared(ctx, ref); a != nil || err != nil {
			return a, err
		}
	}
	var refs []string
	for _, a := range o.agents {
		refs = append(refs, a.id, a.name)
	}
	err := fmt.Errorf("there is no satellite %q", ref)
	if closest, ok := suggest.Closest(ref, refs); ok {
		return nil, fmt.Errorf("%w, did you mean %q?", err, closest)
	}
	return nil, fmt.Errorf("%w; those that are there are given at the beginning, or written in the files", err)
}
