package secrets

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/flightrules/flightrules/plugins"
)

// Declaration says where a secret is: an item of `secrets:`.
type Declaration struct {
	Name   string `json:"name" maxLength:"100" doc:"As in ${{ secrets.NAME }}: letters, digits and underscores."`
	Env    string `json:"env,omitempty" doc:"It is in this variable of the engine's environment."`
	File   string `json:"file,omitempty" doc:"It is in this file of the folder --secrets-dir, without the line break at its end."`
	Stored bool   `json:"stored,omitempty" doc:"It is in the database: flightrules secrets set NAME."`
}

func (p *Plugin) addSection() error {
	return plugins.AddSection(p.host, plugins.SectionSpec[Declaration]{
		Name: "secrets",
		Doc: "Where secrets are: one of env, file and stored. One that is not listed is looked for in the database, in the folder, " +
			"and as FLIGHTRULES_SECRET_NAME in the environment.",
		Key: func(d Declaration) string { return d.Name }, Check: Declaration.check, Apply: p.apply,
	})
}

func (p *Plugin) apply(items []Declaration) {
	declared := make(map[string]Declaration, len(items))
	for _, d := range items {
		declared[d.Name] = d
	}
	p.declared.Store(&declared)
}

var namePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

const maxName = 100

// check says what is wrong; the error begins with the name of the field.
func (d Declaration) check() error {
	given := 0
	for _, is := range []bool{d.Env != "", d.File != "", d.Stored} {
		if is {
			given++
		}
	}
	switch {
	case !isName(d.Name):
		return fmt.Errorf("name: %w", errName)
	case given != 1:
		return errors.New("one of env, file and stored is wanted")
	case d.Env != "" && !namePattern.MatchString(d.Env):
		return errors.New("env: this is no name of a variable")
	case strings.HasPrefix(d.Env, "FLIGHTRULES_") && !strings.HasPrefix(d.Env, prefix):
		return errors.New("env: this variable is the engine's own")
	case d.File != "" && !filepath.IsLocal(d.File):
		return errors.New("file: write the name of a file in the folder --secrets-dir, without a way out of it")
	}
	return nil
}

var errName = fmt.Errorf("write at most %d letters, digits and underscores, with no digit first", maxName)

func isName(name string) bool { return namePattern.MatchString(name) && len(name) <= maxName }
