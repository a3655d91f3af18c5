package healthcheck

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/healthcheck/probe"
)

// Definition is a check as it is written: an item of `checks:`.
type Definition struct {
	ID string `json:"id" maxLength:"100" doc:"Unique; letters, digits, dots, underscores and hyphens."`
	Settings
}

// Settings are all of a Definition but its id.
type Settings struct {
	Description string `json:"description,omitempty" maxLength:"1000"`
	probe.Spec
	Interval   duration.Text     `json:"interval,omitempty" doc:"From one look to the next; default: 1m."`
	Timeout    duration.Text     `json:"timeout,omitempty" doc:"How long a look may take; default: 10s, or the interval if that is less."`
	Failures   int               `json:"failures,omitempty" doc:"How many results in a row it takes until it is worse, 1 to 20; default: 3."`
	Successes  int               `json:"successes,omitempty" doc:"How many results in a row it takes until it is better, 1 to 20; default: 2."`
	Flapping   *Flapping         `json:"flapping,omitempty" doc:"When it changes too often."`
	On         string            `json:"on,omitempty" enum:"any,all,quorum" doc:"How many of those who observe it must see it bad: one, all, or more than half; default: any."`
	Local      bool              `json:"local,omitempty" doc:"The core looks, besides satellites if there are any."`
	Satellites *plugins.Selector `json:"satellites,omitempty" doc:"The satellites that look."`
	SecretEnv  map[string]string `json:"secret_env,omitempty" doc:"Secrets by the variable in which they are: ${{ env.VARIABLE }} stands for them."`
}

// Flapping is how much a check has to change to be flapping.
type Flapping struct {
	Low  float64 `json:"low" doc:"It ends below so many percent of change over the last 20 results."`
	High float64 `json:"high" doc:"It begins above so many."`
}

const (
	defaultInterval  = time.Minute
	defaultTimeout   = 10 * time.Second
	minInterval      = time.Second
	maxInterval      = 24 * time.Hour
	defaultFailures  = 3
	defaultSuccesses = 2
	defaultLow       = 25
	defaultHigh      = 30
)

func (d Definition) interval() time.Duration {
	return cmp.Or(time.Duration(d.Interval), defaultInterval)
}

func (d Definition) timeout() time.Duration {
	return cmp.Or(time.Duration(d.Timeout), min(defaultTimeout, d.interval()))
}

func (d Definition) limits() limits {
	l := limits{
		failures: cmp.Or(d.Failures, defaultFailures), successes: cmp.Or(d.Successes, defaultSuccesses), low: defaultLow, high: defaultHigh,
	}
	if d.Flapping != nil {
		l.low, l.high = d.Flapping.Low, d.Flapping.High
	}
	return l
}

// assignment is what a satellite is told of it.
func (d Definition) assignment() plugins.Assignment {
	a := plugins.Assignment{ID: d.ID, Interval: d.interval(), Timeout: d.timeout(), Spec: []byte(db.ToJSON(d.Spec))}
	if len(d.SecretEnv) > 0 {
		a.Secrets = map[string]map[string]string{d.Type(): d.SecretEnv}
	}
	return a
}

var (
	idPattern       = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)
	variablePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// check says what is wrong; the error begins with the name of the field.
func (d Definition) check() error {
	if !idPattern.MatchString(d.ID) {
		return errors.New("id: write at most 100 letters, digits, dots, underscores and hyphens, with a letter or digit first")
	}
	variables := slices.Sorted(maps.Keys(d.SecretEnv))
	for _, name := range variables {
		if !variablePattern.MatchString(name) || d.SecretEnv[name] == "" {
			return fmt.Errorf("secret_env: %q: a variable has letters, digits and underscores, and stands for the name of a secret", name)
		}
	}
	return errors.Join(d.checkTimes(), d.checkLimits(), d.checkWho(), d.Spec.Check(variables...))
}

func (d Definition) checkTimes() error {
	switch interval := d.interval(); {
	case interval < minInterval || interval > maxInterval:
		return fmt.Errorf("interval: it must be from %s to %s", duration.Format(minInterval), duration.Format(maxInterval))
	case d.timeout() > interval || d.Timeout < 0:
		return fmt.Errorf("timeout: it must be more than nothing, and not more than the interval of %s", duration.Format(interval))
	}
	return nil
}

func (d Definition) checkLimits() error {
	l := d.limits()
	switch {
	case l.failures < 1 || l.failures > maxStreak:
		return fmt.Errorf("failures: it must be from 1 to %d", maxStreak)
	case l.successes < 1 || l.successes > maxStreak:
		return fmt.Errorf("successes: it must be from 1 to %d", maxStreak)
	case l.low < 0 || l.low > l.high || l.high > 100:
		return errors.New("flapping: low and high are percents, and low is not more than high")
	}
	return nil
}

func (d Definition) checkWho() error {
	switch {
	case !d.Local && d.Satellites == nil:
		return errors.New("satellites: nobody looks: write local: true, or satellites: {} for all of them, or with names, regions or tags")
	case !slices.Contains([]string{"", "any", "all", "quorum"}, d.On):
		return errors.New("on: it must be one of any, all, quorum")
	case d.Local && strings.EqualFold(d.Type(), "script"):
		return errors.New("local: a script runs on satellites alone, from their bundle")
	}
	return nil
}
