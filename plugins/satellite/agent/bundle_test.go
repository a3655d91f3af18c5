package agent_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flightrules/flightrules/internal/bundle"
	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

// listing is what is in a folder: each file with its mode and its content.
func listing(dir string) string {
	var list []string
	if err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		list = append(list, fmt.Sprintf("%s %o %s", name, info.Mode().Perm(), content))
		return err
	}); err != nil {
		return err.Error()
	}
	return strings.Join(list, ", ")
}

// shop is where agents get their files from.
type shop struct {
	mu        sync.Mutex
	want      string
	manifests map[string]bundle.Manifest
	contents  map[string]string // by digest
	part      int               // bytes of an answer
	asked     []string          // files, by their contents; a part more than the first is marked
	states    []string
	serving   func(protocol.Message) protocol.Message // in the place of an answer; nil: as it is
}

func newShop() *shop {
	return &shop{manifests: map[string]bundle.Manifest{}, contents: map[string]string{}, part: 1 << 10}
}

// add makes a bundle of files by path; those that begin with "run" can be run.
func (s *shop) add(t *testing.T, files map[string]string) string {
	t.Helper()
	var m bundle.Manifest
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, path := range slices.Sorted(maps.Keys(files)) {
		content := files[path]
		f := bundle.File{Path: path, Digest: bundle.Digest([]byte(content)), Size: int64(len(content)), Executable: strings.HasPrefix(path, "run")}
		m.Files = append(m.Files, f)
		s.contents[f.Digest] = content
	}
	_, hash, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s.manifests[hash] = m
	return hash
}

func (s *shop) wanted() *protocol.Bundle {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return &protocol.Bundle{Hash: s.want}
}

// serve answers as a core does.
func (s *shop) serve(m protocol.Message) protocol.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serving != nil {
		if answer := s.serving(m); answer != nil {
			return answer
		}
	}
	switch m := m.(type) {
	case protocol.BundleRequest:
		if m.Hash != s.want {
			return protocol.BundleManifest{Hash: m.Hash, Error: &protocol.Error{Message: "another bundle"}}
		}
		text, _, _ := s.manifests[m.Hash].Encode() // it did before
		return protocol.BundleManifest{Hash: m.Hash, Manifest: text}
	case protocol.BlobRequest:
		content := s.contents[m.Digest]
		mark := ""
		if m.Offset > 0 {
			mark = "+"
		}
		s.asked = append(s.asked, mark+content[:min(10, len(content))])
		data := content[m.Offset:min(int(m.Offset)+s.part, len(content))]
		return protocol.Blob{Digest: m.Digest, Offset: m.Offset, Size: int64(len(content)), Data: []byte(data)}
	case protocol.SyncState:
		state := m.Status
		if m.Error != "" {
			state += ": " + m.Error
		}
		s.states = append(s.states, state)
	}
	return nil
}

// told are the files that were asked for, and what the agent said, since the last
// time.
func (s *shop) told() (asked, states []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked, states, s.asked, s.states = s.asked, s.states, nil, nil
	return asked, states
}

// push has the agent want a bundle.
func (w *work) push(hash string) {
	w.shop.mu.Lock()
	w.shop.want = hash
	w.shop.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.live.send(protocol.Bundle{Hash: hash})
}

// said is what the newest run said.
func (w *work) said() string {
	items := w.items()
	if len(items) == 0 {
		return ""
	}
	last := items[len(items)-1]
	if last.Error != "" {
		return "error: " + last.Error
	}
	var text string
	_ = json.Unmarshal(last.Payload, &text) // it is shown as it is
	return text
}

func (w *work) wantSaid(want string) {
	w.t.Helper()
	pass(time.Minute + time.Second)
	if got := w.said(); got != want {
		w.t.Errorf("the files are %q, want %q", got, want)
	}
}

// withFiles is an agent that looks at its files every minute.
func withFiles(t *testing.T, takes string, test func(t *testing.T, w *work, s *shop)) {
	t.Helper()
	atWork(t, []protocol.Assignment{everyMinute("a", spec{Files: true, Takes: takes})}, func(t *testing.T, w *work) {
		s := newShop()
		w.mu.Lock()
		w.shop = s
		w.mu.Unlock()
		pass(time.Second)
		test(t, w, s)
	})
}

func TestFiles(t *testing.T) {
	withFiles(t, "", func(t *testing.T, w *work, s *shop) {
		w.wantSaid("error: this satellite has no files yet")
		s.part = 4
		one := s.add(t, map[string]string{"run.sh": "echo one", "lib/data": "0123456789", "empty": ""})
		w.push(one)
		w.wantSaid("empty 644 , lib/data 644 0123456789, run.sh 755 echo one")
		asked, states := s.told()
		if want := []string{"", "0123456789", "+0123456789", "+0123456789", "echo one", "+echo one"}; !slices.Equal(asked, want) {
			t.Errorf("asked for %q, want %q", asked, want)
		}
		if want := []string{"syncing", "ready"}; !slices.Equal(states, want) {
			t.Errorf("it said %q", states)
		}

		// Of another bundle it fetches what it has not got.
		two := s.add(t, map[string]string{"run.sh": "echo two", "data": "0123456789"})
		w.push(two)
		w.wantSaid("data 644 0123456789, run.sh 755 echo two")
		if asked, _ := s.told(); !slices.Equal(asked, []string{"echo two", "+echo two"}) {
			t.Errorf("asked for %q", asked)
		}
		if got := folders(t, w.dir); !slices.Equal(got, []string{two}) {
			t.Errorf("there is %v, want %s", got, two)
		}

		// The same again is nothing to do; none is none.
		w.push(two)
		pass(time.Second)
		if asked, states := s.told(); len(asked) != 0 || !slices.Equal(states, []string{"ready"}) {
			t.Errorf("asked for %q, said %q", asked, states)
		}

		// What the disk has changed is not taken over.
		if err := os.WriteFile(filepath.Join(w.dir, "bundles", two, "files", "data"), []byte("rot"), 0o600); err != nil {
			t.Fatal(err)
		}
		w.push(s.add(t, map[string]string{"data": "0123456789"}))
		w.wantSaid("data 644 0123456789")
		w.push("")
		w.wantSaid("error: this satellite has no files yet")
		if got := folders(t, w.dir); len(got) != 0 {
			t.Errorf("there is %v", got)
		}
	})
}

// folders are the bundles on the disk of an agent.
func folders(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "bundles"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// What a run has in hand stays as it is until it ends.
func TestFilesInHand(t *testing.T) {
	withFiles(t, "15s", func(t *testing.T, w *work, s *shop) {
		one, two := s.add(t, map[string]string{"a": "one"}), s.add(t, map[string]string{"a": "two"})
		w.push(one)
		pass(time.Minute)
		for !w.running() {
			pass(time.Second)
		}
		w.push(two)
		pass(time.Second)
		if got := folders(t, w.dir); len(got) != 2 {
			t.Errorf("there is %v while a run has one of them in hand", got)
		}
		// It is there still, and need not be fetched again.
		s.told()
		w.push(one)
		pass(time.Second)
		if asked, _ := s.told(); len(asked) != 0 || !w.running() {
			t.Errorf("asked for %q", asked)
		}
		w.push(two)
		pass(20 * time.Second)
		if got := w.said(); got != "a 644 one" {
			t.Errorf("the run found %q", got)
		}
		if got := folders(t, w.dir); !slices.Equal(got, []string{two}) {
			t.Errorf("there is %v afterwards", got)
		}
	})
}

func (w *work) running() bool {
	w.prober.mu.Lock()
	defer w.prober.mu.Unlock()
	return w.prober.at["a"] > 0
}

// Nothing but what the hash stands for comes into use, whatever the core sends.
func TestFilesThatAreNotWhatTheyShouldBe(t *testing.T) {
	withFiles(t, "", func(t *testing.T, w *work, s *shop) {
		good := s.add(t, map[string]string{"a": "good"})
		w.push(good)
		w.wantSaid("a 644 good")
		s.told()
		escape := bundle.Manifest{Files: []bundle.File{{Path: "../../escaped", Digest: bundle.Digest([]byte("x")), Size: 1}}}
		text, escaping, err := escape.Encode()
		if err != nil {
			t.Fatal(err)
		}
		next := s.add(t, map[string]string{"a": "next"})
		for _, c := range []struct {
			name, hash string
			serving    func(protocol.Message) protocol.Message
			says       string
		}{
			{"a path that leaves the bundle", escaping, func(m protocol.Message) protocol.Message {
				if r, ok := m.(protocol.BundleRequest); ok {
					return protocol.BundleManifest{Hash: r.Hash, Manifest: text}
				}
				return nil
			}, "must stay inside of the bundle"},
			{"another manifest", next, func(m protocol.Message) protocol.Message {
				if r, ok := m.(protocol.BundleRequest); ok {
					return protocol.BundleManifest{Hash: r.Hash, Manifest: json.RawMessage(`{"files":[]}`)}
				}
				return nil
			}, "does not have the hash"},
			{"other content", next, func(m protocol.Message) protocol.Message {
				if r, ok := m.(protocol.BlobRequest); ok {
					return protocol.Blob{Digest: r.Digest, Offset: r.Offset, Size: 4, Data: []byte("evil")}
				}
				return nil
			}, "sent something else"},
			{"content that is too long", next, func(m protocol.Message) protocol.Message {
				if r, ok := m.(protocol.BlobRequest); ok {
					return protocol.Blob{Digest: r.Digest, Offset: r.Offset, Size: 4, Data: []byte("next and more")}
				}
				return nil
			}, "sent something else"},
			{"content without an end", next, func(m protocol.Message) protocol.Message {
				if r, ok := m.(protocol.BlobRequest); ok {
					return protocol.Blob{Digest: r.Digest, Offset: r.Offset, Size: 4}
				}
				return nil
			}, "sent something else"},
			{"no answer", next, func(m protocol.Message) protocol.Message {
				if _, ok := m.(protocol.BlobRequest); ok {
					return protocol.ResultsAck{Stream: "none"}
				}
				return nil
			}, "deadline exceeded"},
		} {
			s.mu.Lock()
			s.serving = c.serving
			s.mu.Unlock()
			w.push(c.hash)
			w.wantSaid("a 644 good")
			if _, states := s.told(); !slices.ContainsFunc(states, func(state string) bool {
				return strings.HasPrefix(state, "failed: ") && strings.Contains(state, c.says)
			}) {
				t.Errorf("%s: it said %q, want %s", c.name, states, c.says)
			}
			if _, err := os.Stat(filepath.Join(w.dir, "escaped")); err == nil {
				t.Errorf("%s: a file is outside of the bundle", c.name)
			}
		}
		// It goes on trying, and gets it when the core is well again.
		s.mu.Lock()
		s.serving = nil
		s.mu.Unlock()
		pass(15 * time.Minute)
		w.wantSaid("a 644 next")
	})
}

// An agent goes on with its files when it is started while the core is away, and
// fetches those anew that the disk has changed.
func TestFilesAfterARestart(t *testing.T) {
	withFiles(t, "", func(t *testing.T, w *work, s *shop) {
		hash := s.add(t, map[string]string{"a": "one", "b": "two"})
		w.push(hash)
		w.wantSaid("a 644 one, b 644 two")
		w.away(true)
		w.end()
		w.start()
		pass(5 * time.Minute)
		s.told()
		w.away(false)
		w.wantSaid("a 644 one, b 644 two")
		for _, item := range w.items()[1:] {
			if item.Error != "" {
				t.Errorf("while the core was away: %s", item.Error)
			}
		}
		if asked, _ := s.told(); len(asked) != 0 {
			t.Errorf("asked for %q", asked)
		}
		w.end()
		if err := os.WriteFile(filepath.Join(w.dir, "bundles", hash, "files", "b"), []byte("rot"), 0o600); err != nil {
			t.Fatal(err)
		}
		w.start()
		w.wantSaid("a 644 one, b 644 two")
		if asked, _ := s.told(); !slices.Contains(asked, "two") {
			t.Errorf("asked for %q", asked)
		}
	})
}

// A connection that breaks in the middle is gone on with, and of bundles that
// follow each other the newest counts.
func TestFilesOverABadConnection(t *testing.T) {
	withFiles(t, "", func(t *testing.T, w *work, s *shop) {
		one := s.add(t, map[string]string{"a": "one", "b": "two", "c": "three"})
		n := 0
		s.mu.Lock()
		s.serving = func(m protocol.Message) protocol.Message {
			if _, ok := m.(protocol.BlobRequest); ok {
				if n++; n == 3 {
					go w.away(true)
					return protocol.ResultsAck{Stream: "none"}
				}
			}
			return nil
		}
		s.mu.Unlock()
		w.push(one)
		pass(10 * time.Second)
		w.away(false)
		pass(time.Minute)
		w.wantSaid("a 644 one, b 644 two, c 644 three")
		if asked, _ := s.told(); len(asked) != 3 {
			t.Errorf("asked for %q: what was fetched before is there", asked)
		}

		two, three := s.add(t, map[string]string{"a": "second"}), s.add(t, map[string]string{"a": "third"})
		s.mu.Lock()
		s.serving = func(m protocol.Message) protocol.Message {
			if r, ok := m.(protocol.BundleRequest); ok && r.Hash == two {
				s.want = three
				s.serving = nil
				go w.push(three)
			}
			return nil
		}
		s.mu.Unlock()
		w.push(two)
		w.wantSaid("a 644 third")
	})
}
