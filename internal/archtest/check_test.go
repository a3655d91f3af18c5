package archtest

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strings"
)

// checkImports says which imports break the layers, and which packages are not
// in the table.
func checkImports(sources []source) []string {
	var problems []string
	for _, s := range sources {
		if _, _, ok := locate(s.dir); !ok {
			problems = append(problems, fmt.Sprintf(
				"package %s is not in the table of layers: add it to internal/archtest/layers_test.go", s.dir))
			continue
		}
		dirs, places := s.imports()
		for i, dir := range dirs {
			if why := objection(s, dir); why != "" {
				problems = append(problems, fmt.Sprintf("%s: %s must not import %s: %s", places[i], s.dir, dir, why))
			}
		}
	}
	slices.Sort(problems)
	return slices.Compact(problems)
}

// objection says why a file may not import a package; "" if it may.
func objection(s source, imported string) string {
	line, family, _ := locate(s.dir)
	otherLine, otherFamily, ok := locate(imported)
	support := slices.Contains(testSupport, imported)
	switch {
	case !ok:
		return "" // reported for the package itself
	case family == otherFamily:
		return ""
	case support && (s.test || slices.Contains(testSupport, s.dir)):
		return ""
	case s.test && slices.Contains(needs[s.dir], imported):
		return ""
	case support && imported == "internal/dbtest":
		return "it is for tests"
	case slices.Contains(forbidden[pattern(s.dir)], imported):
		return "plugins work through what they register"
	case otherLine == line:
		return "both are on the same line"
	case otherLine > line:
		return "it is on a higher line"
	}
	return ""
}

// locate finds the line of a package and the family that it belongs to, which is
// the package itself except below "name/*".
func locate(dir string) (line int, family string, ok bool) {
	find := pattern(dir)
	for i, packages := range layers {
		if slices.Contains(packages, find) {
			if parent, below := strings.CutSuffix(find, "*"); below {
				name, _, _ := strings.Cut(strings.TrimPrefix(dir, parent), "/")
				return i, parent + name, true
			}
			return i, dir, true
		}
	}
	return 0, "", false
}

// pattern is the entry of the table for a package: its own, else that of a
// folder above it.
func pattern(dir string) string {
	listed := slices.Concat(layers...)
	if slices.Contains(listed, dir) {
		return dir
	}
	for up := path.Dir(dir); up != "."; up = path.Dir(up) {
		if slices.Contains(listed, up+"/*") {
			return up + "/*"
		}
	}
	return dir
}

// checkNames says which packages have a name that says nothing.
func checkNames(sources []source) []string {
	var problems []string
	for _, s := range sources {
		name := strings.TrimSuffix(s.tree.Name.Name, "_test")
		if slices.Contains(bannedNames, name) || slices.Contains(bannedNames, path.Base(s.dir)) {
			problems = append(problems, fmt.Sprintf("%s: package %s: name it after what it is for", s.file, name))
		}
	}
	return problems
}

// checkInit says where a function init is declared.
func checkInit(sources []source) []string {
	var problems []string
	for _, s := range sources {
		if s.test || s.generated {
			continue
		}
		for _, d := range s.tree.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				problems = append(problems, s.place(f)+": func init: register where the program is wired instead")
			}
		}
	}
	return problems
}

// checkFolders says which top-level folders are not among the agreed ones.
func checkFolders(folders []string) []string {
	var problems []string
	for _, folder := range folders {
		if !slices.Contains(topLevel, folder) {
			problems = append(problems, folder+": not one of the top-level folders "+strings.Join(topLevel, ", "))
		}
	}
	return problems
}

// checkTable says which packages the table of layers names more than once.
func checkTable() []string {
	listed := slices.Sorted(slices.Values(slices.Concat(layers...)))
	var problems []string
	for i := 1; i < len(listed); i++ {
		if listed[i] == listed[i-1] {
			problems = append(problems, listed[i]+" is in the table twice")
		}
	}
	return problems
}
