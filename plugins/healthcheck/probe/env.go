package probe

import (
	"context"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/flightrules/flightrules/internal/scriptrun"
	"github.com/flightrules/flightrules/internal/suggest"
)

// Environment is what a look may use besides the network.
type Environment struct {
	// Secrets are those that the check declares, by variable. nil: there are none.
	Secrets func(ctx context.Context) (map[string]string, error)
	// Declared says that there are some, for what takes all of them.
	Declared bool
	// Files is the folder of scripts, as plugins.Job has it. nil: there is none.
	Files func() (dir string, release func(), err error)
	// Scripts is how scripts are run. nil: they are not.
	Scripts *scriptrun.Config
}

func (e Environment) secrets(ctx context.Context) (map[string]string, error) {
	if e.Secrets == nil {
		return nil, nil
	}
	values, err := e.Secrets(ctx)
	if err != nil {
		return nil, &CannotError{err}
	}
	return values, nil
}

var envPattern = regexp.MustCompile(`\$\{\{\s*(.*?)\s*\}\}`)

const envPrefix = "env."

// checkEnv says what is wrong with the ${{ env.NAME }} of a text.
func checkEnv(text string, variables []string) error {
	for _, m := range envPattern.FindAllStringSubmatch(text, -1) {
		name, ok := strings.CutPrefix(m[1], envPrefix)
		if !ok {
			return fmt.Errorf("%s: only ${{ env.NAME }} can stand here, of a variable in secret_env", m[0])
		}
		if slices.Contains(variables, name) {
			continue
		}
		if closest, ok := suggest.Closest(name, variables); ok {
			return fmt.Errorf("%s is not in secret_env, did you mean %q?", m[0], closest)
		}
		return fmt.Errorf("%s is not in secret_env", m[0])
	}
	return nil
}

// asks says whether a secret stands in one of the texts.
func asks(texts ...string) bool {
	return slices.ContainsFunc(texts, envPattern.MatchString)
}

// fill puts the secrets into a text.
func fill(text string, secrets map[string]string) string {
	return envPattern.ReplaceAllStringFunc(text, func(found string) string {
		return secrets[strings.TrimPrefix(envPattern.FindStringSubmatch(found)[1], envPrefix)]
	})
}

func typeOf(v any) reflect.Type { return reflect.TypeOf(v) }
