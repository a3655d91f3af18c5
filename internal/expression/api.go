package expression
import "github.com/expr-lang/expr/types"
type Env struct{}
func NewEnv() *Env { return nil }
func (e *Env) With(name string, t types.Type) *Env { return nil }
func (e *Env) WithFunc(name string, sample any) *Env { return nil }
func (e *Env) Names() []string { return nil }
type Error struct { Offset int; Message, Hint string }
func (e *Error) Error() string { return "" }
type Result int
const ( AnyResult Result = iota; BoolResult; StringResult; NumberResult; DurationResult; TimeResult; ListResult; MapResult )
func (e *Env) Compile(src string, want Result) (*Program, error) { return nil, nil }
type Program struct{}
func (p *Program) Eval(vars map[string]any) (any, error) { return nil, nil }
func (p *Program) Bool(vars map[string]any) (bool, error) { return false, nil }
func (p *Program) Source() string { return "" }
func (p *Program) Type() Result { return AnyResult }
type Equality struct { Path string; Values []any }
func (p *Program) Equalities() []Equality { return nil }
type Call struct { Name string; Offset int; Args []any; Member []string }
func (p *Program) Calls() []Call { return nil }
type Template struct{}
func (e *Env) ParseTemplate(src string) (*Template, error) { return nil, nil }
func (t *Template) IsLiteral() bool { return false }
func (t *Template) Type() Result { return AnyResult }
func (t *Template) Eval(vars map[string]any) (any, error) { return nil, nil }
func (t *Template) Source() string { return "" }
func (t *Template) Calls() []Call { return nil }
type Tree struct{}
type TreeError struct { Path []any; Err *Error }
func (e *TreeError) Error() string { return "" }
type TreeErrors []*TreeError
func (e TreeErrors) Error() string { return "" }
func (e *Env) ParseTree(v any) (*Tree, error) { return nil, nil }
func (t *Tree) Eval(vars map[string]any) (any, error) { return nil, nil }
func (t *Tree) Literal() (any, bool) { return nil, false }
func (t *Tree) Each(f func(path []any, t *Template)) {}
