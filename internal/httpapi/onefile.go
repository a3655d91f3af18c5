package httpapi

import (
	"bytes"
	"io"
	"io/fs"
	"time"
)

// fileName is what problems of a text that was sent call it.
const fileName = "rules.yaml"

// oneFile is a folder with one file in it, for code that reads rules from a
// folder.
type oneFile []byte

// Open implements fs.FS.
func (f oneFile) Open(name string) (fs.File, error) {
	switch name {
	case ".":
		return &folder{entries: []fs.DirEntry{fs.FileInfoToDirEntry(info{fileName, len(f)})}}, nil
	case fileName:
		return file{bytes.NewReader(f), info{fileName, len(f)}}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

type file struct {
	*bytes.Reader
	info info
}

func (f file) Stat() (fs.FileInfo, error) { return f.info, nil }
func (file) Close() error                 { return nil }

type folder struct{ entries []fs.DirEntry }

func (*folder) Stat() (fs.FileInfo, error) { return info{".", 0}, nil }
func (*folder) Close() error               { return nil }
func (*folder) Read([]byte) (int, error)   { return 0, fs.ErrInvalid }

// ReadDir implements fs.ReadDirFile.
func (d *folder) ReadDir(n int) ([]fs.DirEntry, error) {
	list := d.entries
	d.entries = nil
	if n > 0 && len(list) == 0 {
		return nil, io.EOF
	}
	return list, nil
}

type info struct {
	name string
	size int
}

func (i info) Name() string     { return i.name }
func (i info) Size() int64      { return int64(i.size) }
func (info) ModTime() time.Time { return time.Time{} }
func (info) Sys() any           { return nil }
func (i info) IsDir() bool      { return i.name == "." }
func (i info) Mode() fs.FileMode {
	if i.IsDir() {
		return fs.ModeDir | 0o555
	}
	return 0o444
}
