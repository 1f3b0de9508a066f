// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"strconv"
	"strings"

	"github.com/tcpslo/tcpslo/exporter/strictyaml"
	"github.com/tcpslo/tcpslo/exporter/sysctl"
)

// maxExpression bounds an expression in bytes, and with it the depth of its
// tree and the time that it takes.
const maxExpression = 4096

// expression is a checked expression. Its grammar is Go's, of which it has
// literals, fields, the operators && || ! == != < <= > >= + - * / & and
// parentheses: no calls and no loops, so that it ends, whatever it is.
type expression struct {
	root ast.Expr
	of   Type
}

// problem is what is wrong with an expression, at a byte of its text.
type problem struct {
	offset  int
	message string
}

func (p *problem) Error() string { return p.message }

// compile parses and checks an expression about a kind of subject.
func compile(text string, about Kind) (*expression, *problem) {
	if len(text) > maxExpression {
		return nil, &problem{0, fmt.Sprintf("expression is longer than %d bytes", maxExpression)}
	}
	files := token.NewFileSet()
	// Go ends a statement at the end of a line; here a line break is a space.
	root, err := parser.ParseExprFrom(files, "", strings.Map(oneLine, text), 0)
	if err != nil {
		var list scanner.ErrorList
		if errors.As(err, &list) && len(list) > 0 {
			return nil, &problem{min(list[0].Pos.Offset, len(text)), "not an expression: " + list[0].Msg}
		}
		return nil, &problem{0, "not an expression: " + err.Error()}
	}
	of, p := checker{about}.check(root)
	if p != nil {
		return nil, p
	}
	return &expression{root, of}, nil
}

func oneLine(r rune) rune {
	if r == '\n' || r == '\r' {
		return ' '
	}
	return r
}

// checker finds the type of each part.
type checker struct {
	about Kind
}

func at(n ast.Node, format string, args ...any) *problem {
	// The file set has one file, whose base is 1.
	return &problem{int(n.Pos()) - 1, fmt.Sprintf(format, args...)}
}

func (c checker) check(n ast.Expr) (Type, *problem) {
	switch n := n.(type) {
	case *ast.ParenExpr:
		return c.check(n.X)
	case *ast.BasicLit:
		return c.literal(n)
	case *ast.Ident:
		if n.Name == "true" || n.Name == "false" {
			return Bool, nil
		}
		return "", c.unknownRoot(n)
	case *ast.SelectorExpr:
		return c.field(n)
	case *ast.IndexExpr:
		return c.index(n)
	case *ast.UnaryExpr:
		return c.unary(n)
	case *ast.BinaryExpr:
		return c.binary(n)
	default:
		return "", at(n, "only fields, literals, operators and parentheses can be in an expression")
	}
}

func (c checker) literal(n *ast.BasicLit) (Type, *problem) {
	switch n.Kind {
	case token.STRING:
		return Text, nil
	case token.INT, token.FLOAT:
		if _, err := numberOf(n); err != nil {
			return "", at(n, "%s is not a number of 64 bits", n.Value)
		}
		return Number, nil
	default:
		return "", at(n, "a literal must be a number or a text, got %s", n.Value)
	}
}

// roots are the words that may begin a field.
func (c checker) roots() []string {
	all := []string{string(Host), sysctlRoot, netstatRoot}
	if c.about != Host {
		all = append(all, string(c.about))
	}
	return all
}

func (c checker) unknownRoot(n *ast.Ident) *problem {
	if _, isKind := fields[Kind(n.Name)]; isKind && Kind(n.Name) != c.about && n.Name != string(Host) {
		return at(n, "%q is of no use in a rule for %q: write \"for: %s\"", n.Name, c.about, n.Name)
	}
	for _, root := range c.roots() {
		if n.Name == root {
			return at(n, "%q needs a field behind it%s", n.Name, exampleOf(root))
		}
	}
	if _, isField := fieldOf(c.about, n.Name); isField {
		return at(n, "unknown name %q, did you mean %q?", n.Name, string(c.about)+"."+n.Name)
	}
	return at(n, "unknown name %q%s", n.Name, strictyaml.Suggest(n.Name, c.roots()))
}

func exampleOf(root string) string {
	switch root {
	case sysctlRoot:
		return `, such as sysctl["net.core.somaxconn"]`
	case netstatRoot:
		return `, such as netstat["TcpExtListenDrops"]`
	}
	return fmt.Sprintf(", such as %s.%s", root, fields[Kind(root)][0].Name)
}

func (c checker) field(n *ast.SelectorExpr) (Type, *problem) {
	root, simple := n.X.(*ast.Ident)
	if !simple {
		return "", at(n, "a field must be written as NAME.FIELD")
	}
	kind := Kind(root.Name)
	if kind != Host && kind != c.about {
		return "", c.unknownRoot(root)
	}
	field, known := fieldOf(kind, n.Sel.Name)
	if !known {
		return "", at(n.Sel, "unknown field %q of %q%s", n.Sel.Name, kind, strictyaml.Suggest(n.Sel.Name, fieldNames(kind)))
	}
	return field.Type, nil
}

func (c checker) index(n *ast.IndexExpr) (Type, *problem) {
	root, simple := n.X.(*ast.Ident)
	if !simple || root.Name != sysctlRoot && root.Name != netstatRoot {
		if simple {
			if p := c.unknownRoot(root); !strings.Contains(p.message, "needs a field") {
				return "", p
			}
		}
		return "", at(n, "only sysctl[…] and netstat[…] have brackets")
	}
	key, isLiteral := n.Index.(*ast.BasicLit)
	if !isLiteral || key.Kind != token.STRING {
		return "", at(n.Index, "what is in the brackets must be a text%s", exampleOf(root.Name))
	}
	name := textOf(key)
	switch {
	case root.Name == sysctlRoot && !sysctl.Valid(name):
		return "", at(key, "%q is no name of a sysctl, such as net.core.somaxconn or net.ipv4.tcp_rmem[2]", name)
	case root.Name == netstatRoot && !validCounter(name):
		return "", at(key, "%q is no name of a counter as nstat(8) has it, such as TcpExtListenDrops", name)
	}
	return Number, nil
}

func (c checker) unary(n *ast.UnaryExpr) (Type, *problem) {
	want := Number
	switch n.Op {
	case token.NOT:
		want = Bool
	case token.SUB:
	default:
		return "", at(n, "unknown operator %q", n.Op)
	}
	of, p := c.check(n.X)
	if p == nil && of != want {
		p = at(n.X, "operator %q takes %s, got %s", n.Op, phrase(want), phrase(of))
	}
	return want, p
}

func (c checker) binary(n *ast.BinaryExpr) (Type, *problem) {
	left, p := c.check(n.X)
	if p != nil {
		return "", p
	}
	right, p := c.check(n.Y)
	if p != nil {
		return "", p
	}
	takes, gives := Number, Bool
	switch n.Op {
	case token.LAND, token.LOR:
		takes = Bool
	case token.EQL, token.NEQ:
		takes = left
	case token.LSS, token.LEQ, token.GTR, token.GEQ:
	case token.ADD, token.SUB, token.MUL, token.QUO, token.AND:
		gives = Number
	default:
		return "", &problem{int(n.OpPos) - 1, fmt.Sprintf("unknown operator %q", n.Op)}
	}
	if left != takes {
		return "", at(n.X, "operator %q takes %s, got %s", n.Op, phrase(takes), phrase(left))
	}
	if right != takes {
		return "", at(n.Y, "operator %q takes %s here, got %s", n.Op, phrase(takes), phrase(right))
	}
	return gives, nil
}

func phrase(of Type) string {
	switch of {
	case Number:
		return "a number"
	case Text:
		return "a text"
	}
	return "what is true or false"
}

// textOf is the text of a literal; the parser has found it well-formed.
func textOf(literal *ast.BasicLit) string {
	text, err := strconv.Unquote(literal.Value)
	if err != nil {
		return literal.Value
	}
	return text
}

// numberOf is the number of a literal, decimal or with a prefix such as 0x.
func numberOf(literal *ast.BasicLit) (float64, error) {
	if n, err := strconv.ParseInt(literal.Value, 0, 64); err == nil {
		return float64(n), nil
	}
	return strconv.ParseFloat(literal.Value, 64)
}

// inputs is what the names of an expression stand for.
type inputs struct {
	facts   *Facts
	subject *Subject
}

// eval is total: it comes to an end and to a value, which may be unknown.
// Truth has three values (Kleene): false && unknown is false, true || unknown is
// true, and anything else with an unknown part is unknown.
func (in inputs) eval(n ast.Expr) Value {
	switch n := n.(type) {
	case *ast.ParenExpr:
		return in.eval(n.X)
	case *ast.BasicLit:
		if n.Kind == token.STRING {
			return TextOf(textOf(n))
		}
		number, _ := numberOf(n) // check has seen it
		return NumberOf(number)
	case *ast.Ident:
		return BoolOf(n.Name == "true")
	case *ast.SelectorExpr:
		return in.field(Kind(n.X.(*ast.Ident).Name), n.Sel.Name)
	case *ast.IndexExpr:
		return in.named(n.X.(*ast.Ident).Name, textOf(n.Index.(*ast.BasicLit)))
	case *ast.UnaryExpr:
		return negate(n.Op, in.eval(n.X))
	case *ast.BinaryExpr:
		left, right := in.eval(n.X), in.eval(n.Y)
		if n.Op == token.LAND || n.Op == token.LOR {
			return logical(n.Op == token.LOR, left, right)
		}
		return combine(n.Op, left, right)
	}
	return Unknown("") // check lets nothing else pass
}

func (in inputs) field(kind Kind, name string) Value {
	subject := in.subject
	if kind == Host {
		subject = &in.facts.Host
	}
	return subject.Fields[name]
}

func (in inputs) named(root, name string) Value {
	if root == netstatRoot {
		return in.facts.counter(name)
	}
	return in.facts.sysctl(name)
}

func negate(op token.Token, v Value) Value {
	switch {
	case !v.known:
		return v
	case op == token.NOT:
		return BoolOf(!v.yes)
	}
	return NumberOf(-v.number)
}

// logical is && and ||: either side alone decides if it is decisive.
func logical(decisive bool, left, right Value) Value {
	for _, side := range []Value{left, right} {
		if side.known && side.yes == decisive {
			return BoolOf(decisive)
		}
	}
	for _, side := range []Value{left, right} {
		if !side.known {
			return side
		}
	}
	return BoolOf(!decisive)
}

func combine(op token.Token, left, right Value) Value {
	switch {
	case !left.known:
		return left
	case !right.known:
		return right
	}
	x, y := left.number, right.number
	switch op {
	case token.EQL:
		return BoolOf(left == right)
	case token.NEQ:
		return BoolOf(left != right)
	case token.LSS:
		return BoolOf(x < y)
	case token.LEQ:
		return BoolOf(x <= y)
	case token.GTR:
		return BoolOf(x > y)
	case token.GEQ:
		return BoolOf(x >= y)
	case token.ADD:
		return NumberOf(x + y)
	case token.SUB:
		return NumberOf(x - y)
	case token.MUL:
		return NumberOf(x * y)
	case token.QUO:
		if y == 0 {
			return Unknown("division by 0")
		}
		return NumberOf(x / y)
	}
	return NumberOf(float64(int64(x) & int64(y))) // flags: check lets nothing else pass
}
