package yamlx

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"gopkg.in/yaml.v3"
)

const byteOrderMark = "\uFEFF"

// Parse reads the one document of a file. Mistakes become problems: of syntax, a second document, duplicate keys, keys
// that are not strings, merge keys, tags, and aliases that contain themselves or expand without measure. It returns false
// when nothing can be read from the file; with true there may still be problems, and the rest of the file can be checked.
// A file without content gives the zero Node and true.
func Parse(name string, src []byte, ps *Problems) (Node, bool) {
	src = bytes.TrimPrefix(src, []byte(byteOrderMark))
	f := newFile(name, string(src))
	if !f.checkText(ps) {
		return Node{}, false
	}
	document, second, err := decode(src)
	if err != nil {
		ps.add(f.syntaxProblem(string(src), err))
		return Node{}, false
	}
	if document == nil {
		return Node{}, true
	}
	if second != nil {
		ps.Add(Node{file: f, n: second, at: second}, "a file holds one document, and here begins a second one",
			"remove the line ---, or make two files of it")
	}
	root := document.Content[0]
	if !f.check(root, ps) {
		return Node{}, false
	}
	n := Node{file: f}.resolve(root)
	if n.IsNull() && root.Value == "" {
		return Node{}, true
	}
	return n, true
}

// decode reads the first document of a text and, where there is one, the second. Both are nil when there is none.
func decode(src []byte) (first, second *yaml.Node, err error) {
	// yaml.v3 panics with errors of its own for some broken texts.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: %v", r)
		}
	}()
	decoder := yaml.NewDecoder(bytes.NewReader(src))
	for _, into := range []**yaml.Node{&first, &second} {
		document := new(yaml.Node)
		err := decoder.Decode(document)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		if len(document.Content) == 1 {
			*into = document
		}
	}
	return first, second, nil
}
