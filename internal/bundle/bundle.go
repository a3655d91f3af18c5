// Package bundle is sets of files that are known by their content: a manifest
// lists the files with their digests, and the hash of the manifest names the
// whole.
package bundle

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// The bounds of a bundle.
const (
	MaxFiles = 5000
	MaxFile  = 16 << 20 // bytes of a file
	MaxSize  = 64 << 20 // bytes of all files
	maxPath  = 500
)

// File is a file of a bundle.
type File struct {
	Path       string `json:"path"`   // with slashes, inside of the bundle
	Digest     string `json:"digest"` // SHA-256, in hexadecimal digits
	Size       int64  `json:"size"`   // bytes
	Executable bool   `json:"executable,omitempty"`
}

// Manifest is what a bundle consists of, by path.
type Manifest struct {
	Files []File `json:"files"`
}

// Digest names content.
func Digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// Encode gives the manifest in the form that its hash is of, and the hash.
func (m Manifest) Encode() (text []byte, hash string, err error) {
	if m.Files == nil {
		m.Files = []File{}
	}
	text, err = json.Marshal(m)
	return text, Digest(text), err
}

// Size is that of all files, in bytes.
func (m Manifest) Size() (size int64) {
	for _, f := range m.Files {
		size += f.Size
	}
	return size
}

// Digests are those of the files, each once.
func (m Manifest) Digests() []string {
	list := make([]string, len(m.Files))
	for i, f := range m.Files {
		list[i] = f.Digest
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Decode reads a manifest that is to have a hash. Nothing else of it is taken on
// trust: see Check.
func Decode(text []byte, hash string) (m Manifest, err error) {
	if Digest(text) != hash {
		return m, errors.New("the manifest does not have the hash of the bundle")
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("the manifest cannot be read: %w", err)
	}
	return m, m.Check()
}

var digestPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Check says what is wrong with a manifest: a path that leaves the bundle, a file
// that is twice there, or in the place of a folder, or too much of anything.
func (m Manifest) Check() error {
	if len(m.Files) > MaxFiles {
		return fmt.Errorf("there are %d files, and %d are possible", len(m.Files), MaxFiles)
	}
	folders, size := map[string]bool{}, int64(0)
	for i, f := range m.Files {
		if err := CheckPath(f.Path); err != nil {
			return err
		}
		switch size += f.Size; {
		case i > 0 && m.Files[i-1].Path >= f.Path:
			return fmt.Errorf("%q: the files are not in order, or one is there twice", f.Path)
		case !digestPattern.MatchString(f.Digest):
			return fmt.Errorf("%s: its digest is none", f.Path)
		case f.Size < 0 || f.Size > MaxFile:
			return fmt.Errorf("%s has %d bytes, and %d are possible", f.Path, f.Size, MaxFile)
		case size > MaxSize:
			return fmt.Errorf("the files have more than %d MiB", MaxSize>>20)
		}
		for dir := f.Path; strings.Contains(dir, "/"); {
			dir = dir[:strings.LastIndex(dir, "/")]
			folders[strings.ToLower(dir)] = true
		}
	}
	// Folders of some systems do not tell cases apart.
	seen := map[string]bool{}
	for _, f := range m.Files {
		lower := strings.ToLower(f.Path)
		if seen[lower] || folders[lower] {
			return fmt.Errorf("%s: there is another file or folder of that name", f.Path)
		}
		seen[lower] = true
	}
	return nil
}

// CheckPath refuses paths that leave the bundle, or that would on some system.
func CheckPath(path string) error {
	switch {
	case path == "" || len(path) > maxPath:
		return fmt.Errorf("path %.100q: it has from 1 to %d bytes", path, maxPath)
	case strings.ContainsAny(path, "\\:\x00") || !filepath.IsLocal(path) || strings.Trim(path, "/") != path || path == ".":
		return fmt.Errorf("path %q: it must stay inside of the bundle, and is written with slashes", path)
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsFunc(part, func(r rune) bool { return r < ' ' }) {
			return fmt.Errorf("path %q: it must stay inside of the bundle, and is written with slashes", path)
		}
	}
	return nil
}

// Join puts bundles into one, each in a folder of its name.
func Join(named map[string]Manifest) Manifest {
	var all Manifest
	for name, m := range named {
		for _, f := range m.Files {
			f.Path = name + "/" + f.Path
			all.Files = append(all.Files, f)
		}
	}
	slices.SortFunc(all.Files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	return all
}
