package notify

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/egress"
	"github.com/flightrules/flightrules/internal/secret"
	"github.com/flightrules/flightrules/internal/suggest"
)

// Target is an item of the section `notifiers`.
type Target struct {
	Name          string        `json:"name" doc:"What the actions call it."`
	URL           string        `json:"url" secret:"true" doc:"SERVICE://..., as shoutrrr has it; may hold ${{ secrets.NAME }}."`
	Timeout       duration.Text `json:"timeout,omitempty" doc:"How long one delivery may take. Default: 15s."`
	MaxConcurrent int           `json:"max_concurrent,omitempty" doc:"How many deliveries are under way at once, on each node; a step beyond that begins later. Default: 4."`
}

const (
	defaultTimeout    = 15 * time.Second
	mostTimeout       = 5 * time.Minute
	defaultConcurrent = 4
)

func (t Target) timeout() time.Duration {
	return time.Duration(cmp.Or(t.Timeout, duration.Text(defaultTimeout)))
}

// schemes are the services that can be used. It is a list of its own, so that
// a new version of the library brings none that reads files or runs programs.
// Left out: logger, which tells nobody.
var schemes = []string{
	"bark", "discord", "generic", "googlechat", "gotify", "hangouts", "ifttt", "join", "lark", "matrix", "mattermost", "notifiarr", "ntfy",
	"opsgenie", "pagerduty", "pushbullet", "pushover", "rocketchat", "signal", "slack", "smtp", "teams", "telegram", "wecom", "zulip",
}

var targetName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)

func checkTarget(t Target) error {
	switch {
	case !targetName.MatchString(t.Name):
		return fmt.Errorf("name %q is not lower case letters, digits, dashes and underscores", t.Name)
	case t.Timeout < 0 || time.Duration(t.Timeout) > mostTimeout:
		return fmt.Errorf("timeout must be more than 0s and %s at most", duration.Format(mostTimeout))
	case t.MaxConcurrent < 0:
		return errors.New("max_concurrent must be at least 1")
	}
	// With any value in the place of its secrets it must be such a URL, unless
	// all of it is a secret. 1 can stand everywhere, also for a port.
	references := 0
	try, _, err := secret.Fill(t.URL, func(string) (string, error) {
		references++
		return "1", nil
	})
	if err != nil {
		return fmt.Errorf("url: %w", err)
	}
	if try == "1" && references == 1 {
		return nil
	}
	_, err = parse(try)
	return err
}

// parse reads the URL of a service. Its errors do not tell what it is.
func parse(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" {
		return nil, errors.New("url is not a URL such as slack://...: what means something in a URL is written %XX, in secrets too")
	}
	service, _, _ := strings.Cut(u.Scheme, "+")
	if !slices.Contains(schemes, service) {
		hint := "there is: " + strings.Join(schemes, ", ")
		if closest, ok := suggest.Closest(service, schemes); ok {
			hint = fmt.Sprintf("did you mean %q?", closest)
		}
		return nil, fmt.Errorf("url has an unknown service; %s", hint)
	}
	// A name is looked at when it is dialled, and for webhooks alone: the other
	// services dial by themselves.
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
		var guard *egress.Guard
		if err := guard.Addr(addr); err != nil {
			return nil, fmt.Errorf("url: %w", err)
		}
	}
	return u, nil
}

// plain says whether the URL seems to hold a secret as it is.
func (t Target) plain() bool {
	u, err := url.Parse(t.URL)
	return err == nil && u.User != nil && !strings.Contains(t.URL, "${{")
}

// filled is the URL with its secrets, and what takes them out of texts.
func (t Target) filled(value func(name string) (string, error)) (u *url.URL, mask *secret.Masker, err error) {
	text, values, err := secret.Fill(t.URL, value)
	if err != nil {
		return nil, nil, err
	}
	u, err = parse(text)
	if err != nil {
		return nil, nil, err
	}
	if u.User != nil {
		password, _ := u.User.Password()
		values = append(append(values, password), pieces(u.User.Username())...)
	}
	var forms []string
	for _, v := range values {
		plain, err := url.PathUnescape(v)
		if err != nil {
			plain = v
		}
		forms = append(append(forms, v, plain), pieces(plain)...)
	}
	return u, secret.NewMasker(forms...), nil
}

// pieces are the parts of a secret that still tell something: services make new
// URLs of them, with other characters between.
func pieces(text string) []string {
	const shortest = 6
	parts := strings.FieldsFunc(text, func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_')
	})
	return slices.DeleteFunc(parts, func(part string) bool { return len(part) < shortest })
}
