package plugins

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"
)

// Capability is a kind of work that a plugin has satellites do, such as checks.
// The plugin says what each of them is to do with Remote.Assign and takes what
// comes of it. On the satellite a Runner of the same name does the work.
type Capability struct {
	Name string // lower case letters, digits and underscores: "check"
	Doc  string
	// Results takes what one satellite reports, in the transaction that
	// acknowledges it: each result once, in the order in which the satellite made
	// them, and only of assignments that are this satellite's. It writes rows, and
	// where an entity is to change a timer that is due now: a change is a
	// transaction of its own. An error keeps the satellite's results waiting, all
	// of them: it is for what passes by itself. A result that makes no sense is
	// passed over and counted.
	Results func(ctx context.Context, tx bun.Tx, from RemoteSatellite, results []RemoteResult) error
	// Changed is told of satellites that are new, removed, online or offline, or
	// have another name, region or tags, in the transaction of that change. It may
	// call Assign. nil: it does not matter.
	Changed func(ctx context.Context, tx bun.Tx, satellites []RemoteSatellite) error
}

// RemoteSatellite is a satellite as a Capability sees it.
type RemoteSatellite struct {
	ID, Name, Region string
	Tags             map[string]string
	Online           bool
	Removed          bool // it does not exist any more
	// Capabilities are those that its agent has Runners for; empty before it
	// connected for the first time.
	Capabilities []string
}

// Selector says which satellites: those that fulfil all that is given.
type Selector struct {
	Names   []string          `json:"names,omitempty" doc:"One of these."`
	Regions []string          `json:"regions,omitempty" doc:"In one of these."`
	Tags    map[string]string `json:"tags,omitempty" doc:"With all of these."`
}

// Selects says whether a satellite is one of them. nil: none is.
func (s *Selector) Selects(r RemoteSatellite) bool {
	if s == nil || r.Removed ||
		len(s.Names) > 0 && !slices.Contains(s.Names, r.Name) || len(s.Regions) > 0 && !slices.Contains(s.Regions, r.Region) {
		return false
	}
	for key, value := range s.Tags {
		if has, ok := r.Tags[key]; !ok || has != value {
			return false
		}
	}
	return true
}

// Assignment is something that a satellite is to do again and again.
type Assignment struct {
	ID       string          `json:"id"` // unique among those of the capability and the satellite
	Interval time.Duration   `json:"interval"`
	Timeout  time.Duration   `json:"timeout"`
	Spec     json.RawMessage `json:"spec"` // what the Runner is to know; never a secret
	// Secrets says of each collector, a part of the work, which secret is to be
	// in which variable. The satellite asks for them when it needs them; nothing
	// else can be asked for.
	Secrets map[string]map[string]string `json:"secrets,omitempty"`
}

// RemoteResult is what came of one time that an assignment was run.
type RemoteResult struct {
	Assignment string
	At         time.Time       // when the run began, by the core's clock as well as that is known
	Duration   time.Duration   // how long it took
	Payload    json.RawMessage // what the Runner gave; nil with an Error
	Error      string          // why it could not be run; "": it was
}

// Remote is how plugins have satellites work for them. The plugin of satellites
// offers it.
type Remote interface {
	// Capability declares a kind of work, while plugins are registered.
	Capability(c Capability) error
	// Satellites are those with these ids, or all when there are none, by name.
	Satellites(ctx context.Context, idb bun.IDB, ids ...string) ([]RemoteSatellite, error)
	// Assign makes these all that a satellite is to do of a capability. They are
	// stored in tx and sent when it has committed, or when the satellite connects.
	// Those that stay as they are go on undisturbed.
	Assign(ctx context.Context, tx bun.Tx, capability, satellite string, work []Assignment) error
	// Bundles declares where satellites get files from, while plugins are
	// registered. Only one plugin may.
	Bundles(b Bundles) error
	// SetBundle makes a satellite have the files of that hash, "" for none, in the
	// way of Assign.
	SetBundle(ctx context.Context, tx bun.Tx, satellite, hash string) error
}

// Bundles are sets of files for satellites, each named by the hash of its
// manifest. A satellite is only given what SetBundle says.
type Bundles interface {
	// Manifest is what a bundle consists of, and the digests of its blobs.
	Manifest(ctx context.Context, hash string) (manifest json.RawMessage, digests []string, err error)
	// Blob is a part of a blob, of limit bytes at most, and how long it is.
	Blob(ctx context.Context, digest string, offset int64, limit int) (part []byte, size int64, err error)
	// Changed is told of satellites as that of a Capability is.
	Changed(ctx context.Context, tx bun.Tx, satellites []RemoteSatellite) error
}

// Runner does the work of a capability on a satellite. It is called by many at
// once, and once at a time for an assignment.
type Runner interface {
	// Run does an assignment once, until ctx ends at the assignment's timeout. The
	// payload is what the capability's Results takes. An error says that it could
	// not be run, which is another thing than a check that failed.
	Run(ctx context.Context, job Job) (payload json.RawMessage, err error)
}

// Job is one time that an assignment is run. Its Secrets have the collectors
// alone.
type Job struct {
	Assignment
	// Env are the secrets of a collector, by the names of their variables. They
	// are masked in what Run gives back, and must not be kept.
	Env func(ctx context.Context, collector string) (map[string]string, error)
	// Files is the folder of the satellite's bundle, which stays as it is until
	// release is called.
	Files func() (dir string, release func(), err error)
}

// OfferRemote makes this plugin the one that has satellites.
func (h *Host) OfferRemote(r Remote) error {
	if h.shared.remote != nil {
		return errors.New("another plugin has satellites already")
	}
	h.shared.remote = r
	return nil
}

// Remote is how to have satellites work. It is there for plugins that need the
// plugin of satellites.
func (h *Host) Remote() (Remote, error) {
	if h.shared.remote == nil {
		return nil, fmt.Errorf("plugin %s: no plugin has satellites; it needs one that does", h.plugin)
	}
	return h.shared.remote, nil
}

// shared is what plugins of a Set offer each other.
type shared struct {
	remote Remote
	secret func(ctx context.Context, name, by string) (string, error)
}

func (s *shared) lookUp(ctx context.Context, name, by string) (string, error) {
	if s.secret == nil {
		return "", fmt.Errorf("there is no secret %s", name)
	}
	return s.secret(ctx, name, by)
}

// Secret is what the plugin says that offers secrets.
func (s *Set) Secret(ctx context.Context, name, by string) (string, error) {
	return s.shared.lookUp(ctx, name, by)
}
