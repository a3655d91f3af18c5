package archtest

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

const module = "github.com/flightrules/flightrules/"

// A source is a Go file of the module, for whatever system it is built: the
// files are read, not built, so that no build constraint hides one.
type source struct {
	file      string // from the module's root
	dir       string // of the package, from the module's root
	test      bool
	generated bool
	tree      *ast.File
	positions *token.FileSet
}

// readSources reads the Go files below a root. Folders that are modules of their
// own, and those that the go command passes over, are left out.
func readSources(root fs.FS) ([]source, error) {
	var sources []source
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && passedOver(root, name):
			return fs.SkipDir
		case entry.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		positions := token.NewFileSet()
		tree, err := parser.ParseFile(positions, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		sources = append(sources, source{
			file: name, dir: path.Dir(name),
			test:      strings.HasSuffix(name, "_test.go"),
			generated: ast.IsGenerated(tree),
			tree:      tree, positions: positions,
		})
		return nil
	})
	return sources, err
}

func passedOver(root fs.FS, dir string) bool {
	base := path.Base(dir)
	if base == "testdata" || base == "vendor" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return true
	}
	_, err := fs.Stat(root, path.Join(dir, "go.mod"))
	return err == nil
}

// imports are the packages of the module that the file imports, each with its
// place.
func (s source) imports() (dirs, places []string) {
	for _, spec := range s.tree.Imports {
		quoted, err := strconv.Unquote(spec.Path.Value)
		if dir, ours := strings.CutPrefix(quoted, module); err == nil && ours {
			dirs = append(dirs, dir)
			places = append(places, s.place(spec))
		}
	}
	return dirs, places
}

func (s source) place(n ast.Node) string {
	p := s.positions.Position(n.Pos())
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

// topLevelFolders are the folders of the root, without those that .gitignore
// names in the form /name/, and git's own.
func topLevelFolders(root fs.FS) ([]string, error) {
	ignored, err := fs.ReadFile(root, ".gitignore")
	if err != nil {
		return nil, err
	}
	lines := append(strings.Split(string(ignored), "\n"), "/.git/")
	entries, err := fs.ReadDir(root, ".")
	if err != nil {
		return nil, err
	}
	var folders []string
	for _, entry := range entries {
		if entry.IsDir() && !slices.Contains(lines, "/"+entry.Name()+"/") {
			folders = append(folders, entry.Name())
		}
	}
	slices.SortFunc(folders, cmp.Compare[string])
	return folders, nil
}
