package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

const (
	// envScreenshots is a folder where the pictures of pages are kept.
	envScreenshots = "FLIGHTRULES_TEST_SCREENSHOTS"
	// envAxe is the axe-core package of npm, as a file; it is fetched by npm
	// unless it is given.
	envAxe = "FLIGHTRULES_TEST_AXE"
	axe    = "axe-core@4.11"
)

// lacking ends a test that cannot be done on this machine; strictly it fails.
func lacking(t *testing.T, what string, err error) {
	t.Helper()
	if os.Getenv("FLIGHTRULES_TEST_STRICT") == "1" {
		t.Fatalf("%s: %v", what, err)
	}
	t.Skipf("%s: %v", what, err)
}

// axeScript is axe-core, which finds what keeps people from using a page.
func axeScript(t *testing.T) string {
	t.Helper()
	path := os.Getenv(envAxe)
	if path == "" {
		dir := t.TempDir()
		out, err := exec.CommandContext(t.Context(), "npm", "pack", "--silent", "--pack-destination", dir, axe).Output()
		if err != nil {
			lacking(t, "npm", err)
		}
		path = filepath.Join(dir, strings.TrimSpace(string(out)))
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	for archive := tar.NewReader(unzipped); ; {
		head, err := archive.Next()
		if err != nil {
			t.Fatalf("axe.min.js in %s: %v", path, err)
		}
		if head.Name == "package/axe.min.js" {
			text, err := io.ReadAll(archive)
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
	}
}

// tab is a page in a real browser, with what it did to the network.
type tab struct {
	t    *testing.T
	ctx  context.Context
	base string

	mu     sync.Mutex
	errors []string         // of the console
	asked  map[string]bool  // addresses outside of base
	weight map[string]int64 // bytes by request
}

// openBrowser starts a Chromium of its own.
func openBrowser(t *testing.T, base string) *tab {
	t.Helper()
	var program string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			program = path
			break
		}
	}
	if program == "" {
		lacking(t, "Chromium", errors.New("it is not installed"))
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.UserDataDir(t.TempDir()), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Headless,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true), chromedp.WindowSize(1280, 900))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, close := chromedp.NewContext(allocator)
	t.Cleanup(close)
	b := &tab{t: t, ctx: ctx, base: base, asked: map[string]bool{}, weight: map[string]int64{}}
	// The first use starts the browser, whose life must not be that of the step.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Listen(ctx, b.hear); err != nil {
		t.Fatal(err)
	}
	call(b, network.Enable, network.EnableParams{})
	return b
}

// call calls the browser's protocol.
func call[P, R any](b *tab, command cdp.Command[P, R], params P) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	if _, err := chromedp.Call(ctx, command, params); err != nil {
		b.t.Fatal(err)
	}
}

func (b *tab) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.errors = append(b.errors, fmt.Sprintf("%s %+v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" {
			b.errors = append(b.errors, fmt.Sprint(e.Args))
		}
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(e.Request.URL, b.base) && !strings.HasPrefix(e.Request.URL, "data:") && !strings.HasPrefix(e.Request.URL, "about:") {
			b.asked[e.Request.URL] = true
		}
	case *network.EventLoadingFinished:
		b.weight[string(e.RequestID)] = int64(e.EncodedDataLength)
	case *page.EventJavascriptDialogOpening:
		go func() { // yes
			_, _ = chromedp.Call(b.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true})
		}()
	}
}

// do has the browser do something, for half a minute at most.
func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.fail(err)
	}
}

func (b *tab) fail(err error) {
	b.t.Helper()
	text, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText`))
	b.t.Fatalf("%v\n%s", err, text)
}

// open opens a page and forgets what others weighed.
func (b *tab) open(path string) {
	b.t.Helper()
	b.mu.Lock()
	b.weight = map[string]int64{}
	b.mu.Unlock()
	b.do(chromedp.Navigate(b.base+path), chromedp.WaitReady("main"))
}

// js is what an expression gives.
func js[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.fail(err)
	}
	return value
}

// until waits until an expression is true, on this page or the next.
func (b *tab) until(expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	for {
		if is, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+expression+")")); err == nil && is {
			return
		}
		select {
		case <-ctx.Done():
			b.fail(fmt.Errorf("never: %s", expression))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// has waits until a text is on the page.
func (b *tab) has(text string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`document.body.innerText.includes(%q)`, text))
}

// path is where the browser is.
func (b *tab) path() string {
	b.t.Helper()
	at, err := url.Parse(js[string](b, "location.href"))
	if err != nil {
		b.t.Fatal(err)
	}
	return at.Path
}

// picture keeps a screenshot of the whole page.
func (b *tab) picture(name string) {
	b.t.Helper()
	dir := os.Getenv(envScreenshots)
	if dir == "" {
		return
	}
	image, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err := errors.Join(err, os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, name+".png"), image, 0o644)); err != nil {
		b.t.Fatal(err)
	}
}

// look has the page be seen in another way.
func (b *tab) look(dark bool, width, height int64) {
	b.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	b.do(chromedp.EmulateViewport(width, height))
}

// accessible says what keeps people from using the page.
func (b *tab) accessible(script string) []string {
	b.t.Helper()
	b.do(chromedp.Evaluate[chromedp.Void](script + "; true"))
	return js[[]string](b, `axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}).then(found =>
		found.violations.filter(v => v.impact === "serious" || v.impact === "critical")
			.map(v => v.id + ": " + v.help + "\n  " + v.nodes.map(n => n.html + " " + n.failureSummary).join("\n  ")))`)
}
