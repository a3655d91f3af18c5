package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/flightrules/flightrules/internal/bundle"
	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

const (
	// answerPatience is how long an agent waits for an answer about a bundle.
	answerPatience = 30 * time.Second
	// syncPause is how long it waits until it tries a bundle again that could not
	// be had, and longestSyncPause after many times.
	syncPause        = 5 * time.Second
	longestSyncPause = 10 * time.Minute
)

// bundles are the files that the core wants this satellite to have, in a folder
// for each bundle: the one in use, one that is being fetched, and those that a
// run still has in hand.
type bundles struct {
	*agent
	dir  string
	wake chan struct{} // another one is wanted

	mu      sync.Mutex
	want    string
	known   bool // the core has said what it wants
	current string
	held    map[string]int // runs, by the hash of what they have in hand
}

const (
	manifestFile = "manifest.json"
	filesDir     = "files"
)

// openBundles goes on with what is there. A bundle that is not whole any more is
// fetched again.
func openBundles(a *agent) (*bundles, error) {
	b := &bundles{agent: a, dir: filepath.Join(a.Dir, "bundles"), wake: make(chan struct{}, 1), held: map[string]int{}}
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return nil, err
	}
	// The name of the folder says which it was; the memory need not know.
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue // one that was not finished; it is gone on with
		}
		if err := b.whole(e.Name()); err != nil {
			a.Log.Warn("files on this satellite are not what they were, and are fetched again", "bundle", e.Name(), "error", err)
			if err := os.RemoveAll(b.path(e.Name())); err != nil {
				return nil, err
			}
			continue
		}
		if newer(b.path(e.Name()), b.path(b.current)) {
			b.current = e.Name()
		}
	}
	return b, nil
}

// newer says whether a folder was made after another one, if there is one.
func newer(path, other string) bool {
	one, err := os.Stat(path)
	if err != nil {
		return false
	}
	two, err := os.Stat(other)
	return err != nil || one.ModTime().After(two.ModTime())
}

func (b *bundles) path(hash string) string {
	if hash == "" {
		return filepath.Join(b.dir, ".none")
	}
	return filepath.Join(b.dir, hash)
}

// whole says what is wrong with a bundle on disk.
func (b *bundles) whole(hash string) error {
	text, err := os.ReadFile(filepath.Join(b.path(hash), manifestFile))
	if err != nil {
		return err
	}
	m, err := bundle.Decode(text, hash)
	if err != nil {
		return err
	}
	for _, f := range m.Files {
		content, err := os.ReadFile(filepath.Join(b.path(hash), filesDir, filepath.FromSlash(f.Path)))
		if err != nil {
			return err
		}
		if bundle.Digest(content) != f.Digest {
			return fmt.Errorf("%s was changed", f.Path)
		}
	}
	return nil
}

// files is the folder of the bundle in use, which stays until release is called.
func (b *bundles) files() (dir string, release func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.current == "" {
		return "", nil, errors.New("this satellite has no files yet")
	}
	hash := b.current
	b.held[hash]++
	return filepath.Join(b.path(hash), filesDir), sync.OnceFunc(func() { b.release(hash) }), nil
}

// release lets go of a bundle; it is removed when it is the last who does, and
// it is not in use.
func (b *bundles) release(hash string) {
	b.mu.Lock()
	if b.held[hash]--; b.held[hash] == 0 {
		delete(b.held, hash)
	}
	b.mu.Unlock()
	b.tidy()
}

// wanted is what the core says the satellite is to have. Only the newest counts.
func (b *bundles) wanted(m *protocol.Bundle) {
	if m == nil {
		return
	}
	b.mu.Lock()
	b.want, b.known = m.Hash, true
	b.mu.Unlock()
	poke(b.wake)
}

// sync brings the files in line with what is wanted until ctx ends, one bundle at
// a time.
func (b *bundles) sync(ctx context.Context) {
	pause := syncPause
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.wake:
			pause = syncPause
		case <-again:
		}
		again = nil
		if err := b.syncOnce(ctx); err != nil && ctx.Err() == nil {
			b.Log.Warn("the files of this satellite could not be brought up to date", "error", err, "pause", pause)
			again = time.After(pause)
			pause = min(2*pause, longestSyncPause)
		}
	}
}

func (b *bundles) syncOnce(ctx context.Context) error {
	if b.agent.current.Load() == nil {
		return nil // it is woken when the core is back
	}
	b.mu.Lock()
	want, known, current := b.want, b.known, b.current
	b.held[want]++ // it is not in the way before it is in use
	b.mu.Unlock()
	defer b.release(want)
	switch {
	case !known:
		return nil
	case want == current:
		b.report(ctx, want, protocol.Ready, nil)
		return nil
	case want != "" && b.whole(want) != nil:
		b.report(ctx, want, protocol.Syncing, nil)
		if err := b.fetch(ctx, want); err != nil {
			b.report(ctx, want, protocol.Failed, err)
			return err
		}
	}
	b.mu.Lock()
	b.current = want
	b.mu.Unlock()
	b.report(ctx, want, protocol.Ready, nil)
	b.Log.Info("the files of this satellite are up to date", "bundle", want)
	return nil
}

// report tells the core; where it is away it is told when it is back.
func (b *bundles) report(ctx context.Context, hash, status string, failed error) {
	s := b.agent.current.Load()
	if s == nil || hash == "" {
		return
	}
	m := protocol.SyncState{Bundle: hash, Status: status}
	if failed != nil {
		m.Error = failed.Error()[:min(len(failed.Error()), protocol.MaxError)]
	}
	if err := s.send(ctx, m); err != nil {
		b.Log.Debug("the core could not be told of the files", "error", err)
	}
}

// fetch makes the folder of a bundle. Until it is whole it has another name, and
// what was fetched of it is there for the next time.
func (b *bundles) fetch(ctx context.Context, hash string) error {
	text, m, err := b.manifest(ctx, hash)
	if err != nil {
		return err
	}
	unfinished := filepath.Join(b.dir, ".new")
	blobs := filepath.Join(b.dir, ".blobs")
	if err := errors.Join(os.RemoveAll(unfinished), os.MkdirAll(filepath.Join(unfinished, filesDir), 0o755), os.MkdirAll(blobs, 0o755)); err != nil {
		return err
	}
	have := b.have()
	for _, f := range m.Files {
		content, err := b.content(ctx, f, have, filepath.Join(blobs, f.Digest))
		if err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		if err := place(filepath.Join(unfinished, filesDir), f, content); err != nil {
			return err
		}
	}
	if err := write(filepath.Join(unfinished, manifestFile), text, 0o644); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(b.path(hash)), os.Rename(unfinished, b.path(hash))); err != nil {
		return err
	}
	return os.RemoveAll(blobs)
}

func (b *bundles) manifest(ctx context.Context, hash string) (text []byte, m bundle.Manifest, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	answer, err := ask[protocol.BundleManifest](ctx, b.agent, "manifest "+hash, protocol.BundleRequest{Hash: hash})
	switch {
	case err != nil:
		return nil, m, err
	case answer.Error != nil:
		return nil, m, errors.New(answer.Error.Message)
	}
	m, err = bundle.Decode(answer.Manifest, hash)
	return answer.Manifest, m, err
}

// have are the paths of contents that are there already, by digest, in the bundle
// in use.
func (b *bundles) have() map[string]string {
	b.mu.Lock()
	current := b.current
	b.mu.Unlock()
	list := map[string]string{}
	text, err := os.ReadFile(filepath.Join(b.path(current), manifestFile))
	if err != nil {
		return list // there is none
	}
	if m, err := bundle.Decode(text, current); err == nil {
		for _, f := range m.Files {
			list[f.Digest] = filepath.Join(b.path(current), filesDir, filepath.FromSlash(f.Path))
		}
	}
	return list
}

// content is what a file is to hold: as it is there already, as it was fetched
// before, or from the core.
func (b *bundles) content(ctx context.Context, f bundle.File, have map[string]string, kept string) ([]byte, error) {
	for _, path := range []string{have[f.Digest], kept} {
		if path == "" {
			continue
		}
		if content, err := os.ReadFile(path); err == nil && bundle.Digest(content) == f.Digest {
			return content, nil
		}
	}
	content := make([]byte, 0, f.Size)
	for first := true; first || int64(len(content)) < f.Size; first = false {
		part, err := b.part(ctx, f, int64(len(content)))
		if err != nil {
			return nil, err
		}
		content = append(content, part...)
	}
	if bundle.Digest(content) != f.Digest {
		return nil, errors.New("the core sent something else")
	}
	return content, write(kept, content, 0o600)
}

func (b *bundles) part(ctx context.Context, f bundle.File, offset int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	m, err := ask[protocol.Blob](ctx, b.agent, fmt.Sprintf("blob %s %d", f.Digest, offset), protocol.BlobRequest{Digest: f.Digest, Offset: offset})
	switch {
	case err != nil:
		return nil, err
	case m.Error != nil:
		return nil, errors.New(m.Error.Message)
	case m.Size != f.Size || int64(len(m.Data)) > f.Size-offset || len(m.Data) == 0 && f.Size > 0:
		return nil, errors.New("the core sent something else")
	}
	return m.Data, nil
}

// place writes a file of a bundle. Its path was checked, and the folder cannot be
// left by any other.
func place(dir string, f bundle.File, content []byte) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // it holds nothing that could fail
	path := filepath.FromSlash(f.Path)
	if err := root.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	// Scripts may run as another user, who has to read them.
	mode := fs.FileMode(0o644)
	if f.Executable {
		mode = 0o755
	}
	file, err := root.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	return finish(file, content, mode)
}

func write(path string, content []byte, mode fs.FileMode) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	return finish(file, content, mode)
}

// finish writes a file to the disk, with the mode that it is to have whatever the
// umask is.
func finish(file *os.File, content []byte, mode fs.FileMode) error {
	_, err := file.Write(content)
	return errors.Join(err, file.Chmod(mode), file.Sync(), file.Close())
}

// tidy removes bundles that nobody has in hand.
func (b *bundles) tidy() {
	b.mu.Lock()
	defer b.mu.Unlock()
	entries, err := os.ReadDir(b.dir)
	for _, e := range entries {
		if name := e.Name(); !strings.HasPrefix(name, ".") && name != b.current && b.held[name] == 0 {
			err = errors.Join(err, os.RemoveAll(b.path(name)))
		}
	}
	if err != nil {
		b.Log.Warn("files that are not used any more could not be removed", "error", err)
	}
}
