package archtest

import (
	"os"
	"testing"
)

func TestArchitecture(t *testing.T) {
	root := os.DirFS("../..")
	sources, err := readSources(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(sources) == 0 {
		t.Fatal("no Go files were found")
	}
	folders, err := topLevelFolders(root)
	if err != nil {
		t.Fatal(err)
	}
	for name, problems := range map[string][]string{
		"packages import only lower layers":               checkImports(sources),
		"packages are named after what they are for":      checkNames(sources),
		"nothing is done in func init":                    checkInit(sources),
		"the top-level folders are those of the design":   checkFolders(folders),
		"every package is on one line of the table alone": checkTable(),
	} {
		t.Run(name, func(t *testing.T) {
			for _, problem := range problems {
				t.Error(problem)
			}
		})
	}
}
