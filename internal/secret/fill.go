package secret

import (
	"fmt"
	"regexp"
	"strings"
)

var (
	anything  = regexp.MustCompile(`\$\{\{.*?\}\}`)
	reference = regexp.MustCompile(`^\$\{\{\s*secrets\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}$`)
)

// Fill puts the values of secrets in the place of each ${{ secrets.NAME }} in a
// text, and returns them too. Nothing else can stand in ${{ }}.
func Fill(text string, value func(name string) (string, error)) (filled string, values []string, err error) {
	filled = anything.ReplaceAllStringFunc(text, func(whole string) string {
		found := reference.FindStringSubmatch(whole)
		if found == nil {
			err = fmt.Errorf("only ${{ secrets.NAME }} can stand here, not %s", whole)
		}
		if err != nil {
			return ""
		}
		var v string
		v, err = value(found[1])
		values = append(values, v)
		return v
	})
	if err == nil && strings.Contains(anything.ReplaceAllString(text, ""), "${{") {
		err = fmt.Errorf("a ${{ has no }}")
	}
	if err != nil {
		return "", nil, err
	}
	return filled, values, nil
}
