package bundle_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/internal/bundle"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func file(path, content string, executable bool) bundle.File {
	return bundle.File{Path: path, Digest: bundle.Digest([]byte(content)), Size: int64(len(content)), Executable: executable}
}

// archive makes a tar of entries that nobody has checked.
func archive(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	w := tar.NewWriter(zipped)
	for _, h := range headers {
		content := "content of " + h.Name
		if h.Typeflag == tar.TypeReg && h.Size == 0 {
			h.Size = int64(len(content))
		}
		must(t, w.WriteHeader(&h))
		if h.Typeflag == tar.TypeReg {
			_, err := w.Write([]byte(content)[:min(int(h.Size), len(content))])
			must(t, err)
		}
	}
	_ = w.Close() // some of them are broken on purpose
	must(t, zipped.Close())
	return out.Bytes()
}

func TestAFolderBecomesABundle(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "lib", "empty"), 0o700))
	must(t, os.MkdirAll(filepath.Join(dir, ".git"), 0o700))
	for path, mode := range map[string]os.FileMode{"run.sh": 0o700, "lib/a.txt": 0o600, "lib/same.txt": 0o644, ".git/HEAD": 0o600} {
		must(t, os.WriteFile(filepath.Join(dir, path), []byte("content"), mode))
	}
	packed, err := bundle.Pack(dir)
	must(t, err)
	m, contents, err := bundle.Unpack(packed)
	must(t, err)
	want := bundle.Manifest{Files: []bundle.File{file("lib/a.txt", "content", false), file("lib/same.txt", "content", false), file("run.sh", "content", true)}}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Error(diff)
	}
	if len(contents) != 1 || string(contents[m.Files[0].Digest]) != "content" || len(m.Digests()) != 1 || m.Size() != 21 {
		t.Errorf("contents %v, digests %v", contents, m.Digests())
	}
	// The same files are the same bundle, whenever they were written.
	must(t, os.WriteFile(filepath.Join(dir, "run.sh"), []byte("content"), 0o700))
	again, err := bundle.Pack(dir)
	must(t, err)
	if !bytes.Equal(packed, again) {
		t.Error("the same files make another archive")
	}
	text, hash, err := m.Encode()
	must(t, err)
	read, err := bundle.Decode(text, hash)
	must(t, err)
	if diff := cmp.Diff(m, read); diff != "" {
		t.Error(diff)
	}
	if _, err := bundle.Decode(append(text, ' '), hash); err == nil || !strings.Contains(err.Error(), "does not have the hash") {
		t.Errorf("a manifest that was changed: %v", err)
	}
}

func TestWhatCannotBePacked(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Symlink("/etc/passwd", filepath.Join(dir, "link")))
	if _, err := bundle.Pack(dir); err == nil || !strings.Contains(err.Error(), "no links") {
		t.Error(err)
	}
	if _, err := bundle.Pack(filepath.Join(dir, "none")); err == nil {
		t.Error("a folder that is not there was packed")
	}
	big := t.TempDir()
	f, err := os.Create(filepath.Join(big, "big"))
	must(t, err)
	must(t, f.Truncate(bundle.MaxFile+1))
	must(t, f.Close())
	if _, err := bundle.Pack(big); err == nil || !strings.Contains(err.Error(), "are possible") {
		t.Error(err)
	}
}

func TestArchivesThatAreRefused(t *testing.T) {
	reg := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644} }
	many := make([]tar.Header, bundle.MaxFiles+1)
	for i := range many {
		many[i] = tar.Header{Typeflag: tar.TypeReg, Name: strings.Repeat("a", i%50+1) + "/" + strings.Repeat("b", i/50+1), Mode: 0o644}
	}
	for want, bytes := range map[string][]byte{
		"this is no gzipped tar":               []byte("hello"),
		"must stay inside of the bundle":       archive(t, reg("../a")),
		"must stay inside of the bundle ":      archive(t, reg("/etc/passwd")),
		"must stay inside of the bundle  ":     archive(t, reg("a/../../b")),
		"must stay inside of the bundle   ":    archive(t, reg(`a\..\..\b`)),
		"must stay inside of the bundle    ":   archive(t, reg("C:a")),
		"must stay inside of the bundle     ":  archive(t, reg("a//b")),
		"must stay inside of the bundle      ": archive(t, reg("a\nb")),
		"it has from 1 to 500 bytes":           archive(t, reg(strings.Repeat("a", 501))),
		"or one is there twice":                archive(t, reg("a"), reg("a")),
		"another file or folder of that name":  archive(t, reg("a"), reg("a/b")),
		"another file or folder of that name ": archive(t, reg("A"), reg("a")),
		"no links":                             archive(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "a", Linkname: "/etc/passwd"}),
		"no links ":                            archive(t, tar.Header{Typeflag: tar.TypeLink, Name: "a", Linkname: "b"}),
		"no links  ":                           archive(t, tar.Header{Typeflag: tar.TypeFifo, Name: "a"}),
		"and 16777216 are possible":            archive(t, tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: bundle.MaxFile + 1}),
		"there are more than 5000 files":       archive(t, many...),
	} {
		if _, _, err := bundle.Unpack(bytes); err == nil || !strings.Contains(err.Error(), strings.TrimRight(want, " ")) {
			t.Errorf("%q: %v", want, err)
		}
	}
	if m, _, err := bundle.Unpack(archive(t, reg("./a/b"), tar.Header{Typeflag: tar.TypeDir, Name: "c/"})); err != nil || len(m.Files) != 1 || m.Files[0].Path != "a/b" {
		t.Errorf("got %+v, %v", m, err)
	}
}

func TestJoin(t *testing.T) {
	a, b := bundle.Manifest{Files: []bundle.File{file("run.sh", "a", true)}}, bundle.Manifest{Files: []bundle.File{file("lib/x", "b", false), file("run.sh", "b", true)}}
	joined := bundle.Join(map[string]bundle.Manifest{"one": a, "two": b})
	must(t, joined.Check())
	want := []bundle.File{file("one/run.sh", "a", true), file("two/lib/x", "b", false), file("two/run.sh", "b", true)}
	if diff := cmp.Diff(want, joined.Files); diff != "" {
		t.Error(diff)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add([]byte("hello"))
	dir := f.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("content"), 0o600); err != nil {
		f.Fatal(err)
	}
	packed, err := bundle.Pack(dir)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed)
	f.Fuzz(func(t *testing.T, archive []byte) {
		m, contents, err := bundle.Unpack(archive)
		if err != nil {
			return
		}
		for _, file := range m.Files {
			if !filepath.IsLocal(file.Path) || bundle.Digest(contents[file.Digest]) != file.Digest {
				t.Errorf("%+v", file)
			}
		}
	})
}
