package bundle

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Unpack reads an archive, a gzipped tar, into a manifest and the contents by
// digest. Only files count, and folders as far as files are in them: anything
// else is refused.
func Unpack(archive []byte) (m Manifest, contents map[string][]byte, err error) {
	unzipped, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return m, nil, fmt.Errorf("this is no gzipped tar: %w", err)
	}
	contents = map[string][]byte{}
	reader, left := tar.NewReader(unzipped), int64(MaxSize)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return m, nil, fmt.Errorf("this is no gzipped tar: %w", err)
		}
		name := strings.TrimPrefix(header.Name, "./")
		switch {
		case header.Typeflag == tar.TypeDir || header.Typeflag == tar.TypeXGlobalHeader:
			continue
		case header.Typeflag != tar.TypeReg:
			return m, nil, fmt.Errorf("%q: only files and folders can be in a bundle, no links", header.Name)
		case len(m.Files) == MaxFiles:
			return m, nil, fmt.Errorf("there are more than %d files", MaxFiles)
		case header.Size > MaxFile:
			return m, nil, fmt.Errorf("%s has %d bytes, and %d are possible", name, header.Size, MaxFile)
		}
		if left -= header.Size; left < 0 {
			return m, nil, fmt.Errorf("the files have more than %d MiB", MaxSize>>20)
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			return m, nil, fmt.Errorf("%s: %w", name, err)
		}
		f := File{Path: name, Digest: Digest(content), Size: int64(len(content)), Executable: header.Mode&0o111 != 0}
		m.Files = append(m.Files, f)
		contents[f.Digest] = content
	}
	slices.SortFunc(m.Files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	return m, contents, m.Check()
}

// Pack makes an archive of a folder. The folders of Git are left out; a link is
// refused, since where it leads is not a part of the folder.
func Pack(dir string) ([]byte, error) {
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	writer := tar.NewWriter(zipped)
	if err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == ".git":
			return filepath.SkipDir
		case entry.IsDir():
			return nil
		case !entry.Type().IsRegular():
			return fmt.Errorf("%s: only files and folders can be in a bundle, no links", path)
		}
		return pack(writer, dir, path)
	}); err != nil {
		return nil, err
	}
	if err := errors.Join(writer.Close(), zipped.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func pack(writer *tar.Writer, dir, path string) error {
	name, err := filepath.Rel(dir, path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() > MaxFile {
		return fmt.Errorf("%s has %d bytes, and %d are possible", path, info.Size(), MaxFile)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	// Neither times nor owners: the same files are the same archive.
	if err := writer.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: filepath.ToSlash(name), Size: int64(len(content)), Mode: int64(info.Mode().Perm() & 0o755),
	}); err != nil {
		return err
	}
	_, err = writer.Write(content)
	return err
}
