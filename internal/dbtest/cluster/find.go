package cluster

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// ErrNotInstalled says that no PostgreSQL server was found on this machine.
var ErrNotInstalled = errors.New("PostgreSQL is not installed")

// places are where packages put the server's programs outside PATH.
var places = []string{
	"/usr/lib/postgresql/*/bin",                               // Debian
	"/usr/pgsql-*/bin",                                        // RPM
	"/opt/homebrew/opt/postgresql*/bin",                       // Homebrew, Apple silicon
	"/usr/local/opt/postgresql*/bin",                          // Homebrew, Intel
	"/Applications/Postgres.app/Contents/Versions/[0-9]*/bin", // Postgres.app
}

// Find returns the folder that holds the server's programs, initdb and
// postgres: that of PATH, else the highest version in the usual places, else
// ErrNotInstalled.
func Find() (string, error) {
	return find(places)
}

func find(places []string) (string, error) {
	if initdb, err := exec.LookPath("initdb"); err == nil {
		// Some systems link the programs into PATH one by one; the
		// server's own folder is where the link leads.
		if target, err := filepath.EvalSymlinks(initdb); err == nil && complete(filepath.Dir(target)) {
			return filepath.Dir(target), nil
		}
	}
	for _, place := range places {
		found, err := filepath.Glob(place)
		if err != nil {
			return "", err
		}
		slices.SortFunc(found, func(a, b string) int { return slices.Compare(version(b), version(a)) })
		if i := slices.IndexFunc(found, complete); i >= 0 {
			return found[i], nil
		}
	}
	return "", ErrNotInstalled
}

func complete(dir string) bool {
	for _, program := range []string{"initdb", "postgres"} {
		info, err := os.Stat(filepath.Join(dir, program))
		if err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			return false
		}
	}
	return true
}

var digits = regexp.MustCompile(`[0-9]+`)

// version returns the numbers in a path, so that 9.6 sorts before 15.
func version(path string) []int {
	var numbers []int
	for _, s := range digits.FindAllString(path, -1) {
		n, err := strconv.Atoi(s)
		if err != nil {
			n = 0 // more digits than any version has
		}
		numbers = append(numbers, n)
	}
	return numbers
}
