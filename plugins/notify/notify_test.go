package notify_test

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/engine/action"
)

func TestSeveralTargets(t *testing.T) {
	good := receive(t, nil)
	var broken atomic.Bool
	broken.Store(true)
	bad := receive(t, func(w http.ResponseWriter, _ *http.Request) {
		if broken.Load() {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	f := open(t, target("oncall", "generic+"+good.URL), target("chat", "generic+"+bad.URL))
	both := map[string]any{"to": []any{"oncall", "chat", "oncall"}, "message": "hello"}

	_, err := f.run("run/1", both)
	wantError(t, err, "1 of 2 targets were not reached: chat: it answered 502 Bad Gateway")
	if n := len(good.messages()); n != 1 {
		t.Errorf("a target that works got %d messages", n)
	}
	broken.Store(false)
	out, err := f.run("run/1", both)
	if diff := cmp.Diff(map[string]any{"oncall": "delivered earlier", "chat": "delivered"}, out); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if n := len(good.messages()); n != 0 {
		t.Errorf("a target that was reached got %d messages of the second attempt", n)
	}
	out, err = f.run("run/2", both)
	if diff := cmp.Diff(map[string]any{"oncall": "delivered", "chat": "delivered"}, out); diff != "" || err != nil {
		t.Error(diff, err)
	}
	seen := good.messages()
	if len(seen) != 1 || seen[0].Header.Get("Idempotency-Key") != "run/2" || seen[0].body != "hello" {
		t.Errorf("another step sent %+v", seen)
	}
}

func TestUnknownTargets(t *testing.T) {
	f := open(t, target("oncall", "generic://127.0.0.1:1"), target("chat", "generic://127.0.0.1:1"))
	wantError(t, f.tell("onacll"), `"onacll" is not in section notifiers: did you mean "oncall"?`)
	wantError(t, f.tell([]any{"oncall", "mail"}), `"mail" is not in section notifiers: there is: chat, oncall`)
	if err := f.load(); err != nil {
		t.Fatal(err)
	}
	wantError(t, f.tell("oncall"), `"oncall" is not in section notifiers: there is none at all`)
}

func TestCheck(t *testing.T) {
	f := open(t)
	for _, tt := range []struct {
		to, message any
		want        string
	}{
		{to: "a", message: "b"}, {to: []any{"a", "b"}, message: "b"},
		{to: "", message: "b", want: "to must be the name of a notifier"}, {message: "b", want: "to must be"}, {to: 3, message: "b", want: "to must be"},
		{to: []any{"a", 3}, message: "b", want: "to must be"}, {to: []any{}, message: "b", want: "to lists nobody"}, {to: "a", message: " ", want: "message is empty"},
	} {
		wantError(t, f.action.Check(map[string]any{"to": tt.to, "message": tt.message}), tt.want)
	}
	if want := (action.Retry{Attempts: 5, Backoff: 2 * time.Second, MaxBackoff: 2 * time.Minute}); f.action.Retry != want {
		t.Errorf("%+v", f.action.Retry)
	}
}

func TestMistakesInItems(t *testing.T) {
	f := open(t)
	for _, tt := range []struct {
		item map[string]any
		want string
	}{
		{target("oncall", "slack://hook:${{ secrets.SLACK }}@webhook"), ""},
		{target("oncall", "${{ secrets.URL }}"), ""},
		{target("oncall", "smtp://${{ secrets.USER }}:${{ secrets.PASSWORD }}@mail.example.com:${{ secrets.PORT }}/?to=a@b.c"), ""},
		{target("oncall", "generic+https://example.com/x?template=json"), ""},
		{target("discord", "discord://${{ secrets.D }}@123456789"), ""},
		{target("On call", "generic://x"), `name "On call" is not`},
		{target("oncall", "slak://x"), `url has an unknown service; did you mean "slack"?`},
		{target("oncall", "logger://"), "url has an unknown service; there is: bark"},
		{target("oncall", "script:///bin/sh"), "url has an unknown service"},
		{target("oncall", "example.com"), "url is not a URL"},
		{target("oncall", "slack://a b@c"), "url is not a URL"},
		{target("oncall", "generic://${{ event.id }}"), "url: only ${{ secrets.NAME }} can stand here"},
		{target("oncall", "generic://${{ secrets.A"), "url: a ${{ has no }}"},
		{target("oncall", "generic+http://169.254.169.254/latest"), "url: 169.254.169.254 is refused: it is a link-local address"},
		{target("oncall", "ntfy://[fd00:ec2::254]/topic"), "url: fd00:ec2::254 is refused"},
		{map[string]any{"name": "a", "url": "generic://x", "timeout": "-1s"}, "timeout must be"},
		{map[string]any{"name": "a", "url": "generic://x", "timeout": "6m"}, "timeout must be more than 0s and 5m at most"},
		{map[string]any{"name": "a", "url": "generic://x", "max_concurrent": -1}, "max_concurrent must be"},
	} {
		wantError(t, f.load(tt.item), tt.want)
	}
	if f.log.Len() > 0 {
		t.Errorf("log: %s", f.log.String())
	}
	if err := f.load(target("oncall", "slack://hook:t0ken-t0ken@webhook")); err != nil {
		t.Fatal(err)
	}
	if text := f.log.String(); !strings.Contains(text, "holds what looks like a secret") || strings.Contains(text, "t0ken") {
		t.Errorf("log: %s", text)
	}
}

func TestSecretsAreMasked(t *testing.T) {
	const token = "T0000AAAA-B0000BBBB-c%2FcCcCcCcC"
	// It tells all that it was sent, in several forms.
	echo := receive(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "no: "+r.RequestURI+" "+r.URL.Path+" "+strings.ReplaceAll(r.URL.Path, "-", "/")+" "+r.Header.Get("X-Key"))
	})
	gone := receive(t, nil)
	gone.Close()
	f := open(t,
		target("echo", "generic+"+echo.URL+"/x/${{ secrets.TOKEN }}?@X-Key=${{ secrets.KEY }}&template=json"),
		target("gone", "generic+"+gone.URL+"/${{ secrets.TOKEN }}"),
		target("ntfy", "ntfy://user:${{ secrets.KEY }}@"+gone.host+"/${{ secrets.TOKEN }}?scheme=http"),
		target("unknown", "generic://${{ secrets.NOBODY }}"),
		target("all", "${{ secrets.ALL }}"),
		target("port", "generic://example.com:${{ secrets.KEY }}"),
		target("plain", "generic+http://user:plain-pa55word@"+gone.host+"/plain-pa55word"),
		target("refused", "${{ secrets.METADATA }}"),
	)
	f.secrets["TOKEN"], f.secrets["KEY"], f.secrets["ALL"] = token, "k3y-k3y", "slak://x"
	f.secrets["METADATA"] = "generic+http://169.254.169.254/"
	for name, want := range map[string]string{
		"echo": "echo: it answered 403 Forbidden: no: /x/", "gone": "connection refused", "ntfy": "ntfy: ", "unknown": "unknown: there is no secret NOBODY",
		"all": `all: url has an unknown service; did you mean "slack"?`, "port": "port: url is not a URL such as", "plain": "connection refused",
		"refused": "refused: url: 169.254.169.254 is refused",
	} {
		err := f.tell(name)
		wantError(t, err, want)
		for _, part := range []string{"T0000AAAA", "B0000BBBB", "cCcCcCcC", "k3y", "pa55word"} {
			if err != nil && strings.Contains(err.Error(), part) {
				t.Errorf("%s tells %s: %v", name, part, err)
			}
		}
		if err != nil && !strings.HasPrefix(err.Error(), name+": ") {
			t.Errorf("it does not say that it is %s: %v", name, err)
		}
	}
	if f.log.Len() > 0 && strings.Contains(f.log.String(), "pa55word") {
		t.Errorf("log: %s", f.log.String())
	}
}

func TestSecretsAreLookedUpEachTime(t *testing.T) {
	r := receive(t, nil)
	f := open(t, target("chat", "generic+"+r.URL+"/${{ secrets.TOKEN }}"))
	for _, value := range []string{"one", "two"} {
		f.secrets["TOKEN"] = value
		if err := f.tell("chat"); err != nil {
			t.Fatal(err)
		}
		if seen := r.messages(); len(seen) != 1 || seen[0].URL.Path != "/"+value {
			t.Errorf("%+v", seen)
		}
	}
}
