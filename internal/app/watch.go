package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long the files must have been left alone before they are read:
// editors write in several steps, and deployments several files.
const settle = 200 * time.Millisecond

// Watch loads the rules again whenever their files change, until ctx ends.
func (c *Core) Watch(ctx context.Context) error {
	return Watch(ctx, []string{c.config.Dir}, c.Log, func() {}, func() { c.Reload(ctx) })
}

// Watch calls changed whenever files in the folders have changed and were then
// left alone for a moment, until ctx ends. It calls begun first, when no change is
// missed any more.
func Watch(ctx context.Context, dirs []string, log *slog.Logger, begun, changed func()) (err error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", strings.Join(dirs, ", "), err)
	}
	defer func() { err = errors.Join(err, watcher.Close()) }()
	if err := watchFolders(watcher, dirs); err != nil {
		return err
	}
	begun()
	var due <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case event, ok := <-watcher.Events:
			if !ok {
				return errors.New("the watcher of the rules' files ended")
			}
			if ignored(event) {
				continue
			}
			due = time.After(settle)
		case watchErr, ok := <-watcher.Errors:
			if !ok {
				return errors.New("the watcher of the rules' files ended")
			}
			log.Warn("changes of files may have been missed", "error", watchErr)
			due = time.After(settle)
		case <-due:
			due = nil
			// Folders that are new by now hold files already; they are read all
			// the same, and watched from here on.
			if err := watchFolders(watcher, dirs); err != nil {
				log.Warn("folders of rules could not be watched", "error", err)
			}
			changed()
		}
	}
}

// Reload is Load with its outcome in the log.
func (c *Core) Reload(ctx context.Context) {
	if err := c.Load(ctx); err != nil {
		c.Log.Error("the files have problems; the rules from before stay in force", "error", err)
		return
	}
	c.Log.Info("rules loaded", "rules", len(c.Engine.Rules().Rules))
}

func watchFolders(watcher *fsnotify.Watcher, dirs []string) error {
	for _, dir := range dirs {
		if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return err
			}
			if path != dir && strings.HasPrefix(d.Name(), ".") {
				return fs.SkipDir
			}
			return watcher.Add(path)
		}); err != nil {
			return fmt.Errorf("watch %s: %w", dir, err)
		}
	}
	return nil
}

// ignored says whether an event cannot concern a file of rules.
func ignored(event fsnotify.Event) bool {
	if event.Op == fsnotify.Chmod {
		return true
	}
	base := filepath.Base(event.Name)
	// "..data" is how a mounted ConfigMap swaps all its files at once.
	return strings.HasPrefix(base, ".") && base != "..data" || strings.HasSuffix(base, "~")
}
