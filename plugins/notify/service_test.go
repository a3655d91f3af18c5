package notify_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nicholas-fedor/shoutrrr/pkg/router"
)

func TestServicesOfTheLibrary(t *testing.T) {
	// Whoever updates the library looks at what is new in it: it must not read
	// files nor run programs.
	services := (&router.ServiceRouter{}).ListServices()
	slices.Sort(services)
	f := open(t)
	var refused []string
	for _, name := range services {
		if f.load(target("x", name+"://a:b@example.com/c")) != nil {
			refused = append(refused, name)
		}
	}
	if len(services) != 26 || !slices.Equal(refused, []string{"logger"}) {
		t.Errorf("%d services, of which are refused: %v", len(services), refused)
	}
}

func TestWebhooks(t *testing.T) {
	r := receive(t, nil)
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	secure.Config.ErrorLog = quiet
	t.Cleanup(secure.Close)
	redirecting := receive(t, func(w http.ResponseWriter, req *http.Request) { http.Redirect(w, req, r.URL, http.StatusFound) })
	titled := map[string]any{"message": "the disk is full", "title": "edge-1\r\nis unwell"}
	for _, tt := range []struct {
		what, url, body, contentType, extra, err string
	}{
		{what: "text", url: "generic+" + r.URL + "/hook?a=b", body: "edge-1 is unwell\n\nthe disk is full", contentType: "text/plain; charset=utf-8"},
		{what: "JSON", url: "generic+" + r.URL + "/hook?a=b&template=json", body: `{"message":"the disk is full","title":"edge-1 is unwell"}`, contentType: "application/json"},
		{
			what: "fields and headers of one's own", url: "generic://" + r.host + "/hook?disabletls=yes&a=b&template=json&messagekey=text&titlekey=head&$room=ops&@X-Extra=e",
			body: `{"head":"edge-1 is unwell","room":"ops","text":"the disk is full"}`, contentType: "application/json", extra: "e",
		},
		{what: "over TLS", url: "generic+" + secure.URL, err: "failed to verify certificate"},
		{what: "redirected", url: "generic+" + redirecting.URL, err: "it answered 302 Found"},
		{what: "to this machine by a name of a cloud", url: "generic+http://[::ffff:a9fe:a9fe]/", err: "is refused"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			f := open(t)
			err := f.load(target("hook", tt.url))
			if err == nil {
				titled["to"] = "hook"
				_, err = f.run("", titled)
			}
			wantError(t, err, tt.err)
			seen := r.messages()
			if tt.err != "" {
				if len(seen) > 0 {
					t.Errorf("it was told %+v", seen)
				}
				return
			}
			if len(seen) != 1 {
				t.Fatalf("%d messages", len(seen))
			}
			got := []string{seen[0].RequestURI, seen[0].body, seen[0].Header.Get("Content-Type"), seen[0].Header.Get("X-Extra")}
			if diff := cmp.Diff([]string{"/hook?a=b", tt.body, tt.contentType, tt.extra}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPush(t *testing.T) {
	r := receive(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "{}") })
	f := open(t,
		target("ntfy", "ntfy://user:${{ secrets.P }}@"+r.host+"/alerts?scheme=http"),
		target("signal", "signal://"+r.host+"/+4912345678/+4912345679?disabletls=yes"),
	)
	f.secrets["P"] = "p4ss"
	for _, title := range []string{"one", "", "three"} {
		if _, err := f.run("", map[string]any{"to": "ntfy", "message": "hello", "title": title}); err != nil {
			t.Fatal(err)
		}
		seen := r.messages()
		user, password, _ := seen[0].BasicAuth()
		if diff := cmp.Diff([]string{"/alerts", "hello", title, "user", "p4ss"}, []string{seen[0].RequestURI, seen[0].body, seen[0].Header.Get("Title"), user, password}); diff != "" {
			t.Error(diff)
		}
	}
	for range 3 {
		select {
		case <-r.closed: // by the client: the server is not
		case <-time.After(10 * time.Second):
			t.Fatal("a connection is left behind")
		}
	}
	if _, err := f.run("", map[string]any{"to": "signal", "message": "hello", "title": "one"}); err != nil {
		t.Fatal(err)
	}
	if seen := r.messages(); !strings.Contains(seen[0].body, `one\n\nhello`) {
		t.Errorf("a service without titles got %s", seen[0].body)
	}
}

func TestMail(t *testing.T) {
	mails := mailServer(t)
	f := open(t, target("mail", "smtp://"+mails.address+"/?from=a@example.com&to=b@example.com&starttls=no"))
	if _, err := f.run("", map[string]any{"to": "mail", "title": "Lost\r\nBcc: c@example.com", "message": "edge-1 is dark"}); err != nil {
		t.Fatal(err)
	}
	text := <-mails.got
	head, body, _ := strings.Cut(text, "\n\n")
	if !strings.Contains(head, "Subject: Lost Bcc: c@example.com") || strings.Contains(head, "\nBcc:") || !strings.Contains(body, "edge-1 is dark") {
		t.Errorf("the mail was\n%s", text)
	}
}

type mailbox struct {
	address string
	got     chan string
}

// mailServer takes one mail over SMTP.
func mailServer(t *testing.T) mailbox {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	box := mailbox{listener.Addr().String(), make(chan string, 1)}
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = fmt.Fprint(conn, "220 here\r\n")
		lines := bufio.NewScanner(conn)
		for lines.Scan() {
			switch word, _, _ := strings.Cut(lines.Text(), " "); word {
			case "DATA":
				_, _ = fmt.Fprint(conn, "354 go on\r\n")
				var mail []string
				for lines.Scan() && lines.Text() != "." {
					mail = append(mail, lines.Text())
				}
				box.got <- strings.Join(mail, "\n")
				_, _ = fmt.Fprint(conn, "250 kept\r\n")
			case "QUIT":
				_, _ = fmt.Fprint(conn, "221 bye\r\n")
				return
			default:
				_, _ = fmt.Fprint(conn, "250 ok\r\n")
			}
		}
	}()
	return box
}
