// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

//go:embed rules.yaml
var builtin []byte

// BuiltinFile is the file of the built-in rules.
const BuiltinFile = "exporter/audit/rules.yaml"

// Reference is the page that explains the built-in rules, each under its id.
const Reference = "https://github.com/tcpslo/tcpslo/blob/main/docs/audit.md"

// File is a file of rules.
type File struct {
	Name string
	Text []byte
}

// written is a rule as a file has it.
type written struct {
	ID       string   `yaml:"id,required"`
	Severity Severity `yaml:"severity,required"`
	For      Kind     `yaml:"for,required"`
	When     scalar   `yaml:"when,required"`
	What     scalar   `yaml:"what,required"`
	Why      string   `yaml:"why,required"`
	Fix      scalar   `yaml:"fix,required"`
	Link     string   `yaml:"link"`
	Replace  bool     `yaml:"replace"`
}

// scalar is a text that remembers where it stands.
type scalar struct {
	text string
	node *strictyaml.Node
}

// UnmarshalNode reads a string.
func (s *scalar) UnmarshalNode(n *strictyaml.Node) error {
	if err := n.Decode(&s.text); err != nil {
		return err
	}
	s.node = n
	return nil
}

// Builtin returns the built-in rules.
func Builtin() []*Rule {
	rules, err := Load(nil)
	if err != nil {
		panic(fmt.Sprintf("built-in audit rules: %v", err)) // a test loads them
	}
	return rules
}

// Load returns the built-in rules and those of the files, checked. The error
// holds everything that is wrong with any file, each with file, line and column.
func Load(files []File) ([]*Rule, error) {
	var rules []*Rule
	var errs []error
	sources := map[string]string{}
	for _, file := range append([]File{{BuiltinFile, builtin}}, files...) {
		var err error
		if rules, err = load(rules, file, sources); err != nil {
			errs = append(errs, err)
		}
	}
	return rules, errors.Join(errs...)
}

var idPattern = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// load adds the rules of a file; sources tells which file each id is from.
func load(rules []*Rule, file File, sources map[string]string) ([]*Rule, error) {
	var content struct {
		Rules []written `yaml:"rules,required"`
	}
	doc, _ := strictyaml.Decode(file.Name, file.Text, &content)
	var problems strictyaml.Errors // in expressions, which have places within a scalar
	for i, w := range content.Rules {
		at := fmt.Sprintf("rules[%d]", i)
		before := slices.IndexFunc(rules, func(r *Rule) bool { return r.ID == w.ID })
		switch {
		case w.ID == "":
			doc.Reportf(at+".id", "the id of a rule must not be empty")
			continue
		case !idPattern.MatchString(w.ID):
			doc.Reportf(at+".id", "id %q must be lower case words with hyphens between them", w.ID)
		case before >= 0 && !w.Replace:
			doc.Reportf(at+".id", "duplicate rule %q, it is in %s too; \"replace: true\" takes the place of that one", w.ID, sources[w.ID])
		case before < 0 && w.Replace:
			doc.Reportf(at+".replace", "there is no rule %q to replace%s", w.ID, strictyaml.Suggest(w.ID, ids(rules)))
		}
		rule, wrong := w.compile(file.Text)
		problems = append(problems, wrong...)
		if rule.Link == "" && file.Name == BuiltinFile {
			rule.Link = Reference + "#" + rule.ID
		}
		sources[w.ID] = file.Name
		if before >= 0 {
			rules[before] = rule
		} else {
			rules = append(rules, rule)
		}
	}
	var others strictyaml.Errors
	if errors.As(doc.Err(), &others) {
		problems = append(problems, others...)
	}
	if len(problems) == 0 {
		return rules, nil
	}
	slices.SortStableFunc(problems, func(a, b *strictyaml.Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return rules, problems
}

// compile checks the expressions of a rule.
func (w written) compile(file []byte) (*Rule, strictyaml.Errors) {
	r := &Rule{ID: w.ID, Severity: w.Severity, For: w.For, Why: w.Why, Link: w.Link, When: w.When.text, What: w.What.text, Fix: w.Fix.text}
	if w.For == "" { // missing or refused: nothing is known of what the rest may name
		return r, nil
	}
	var problems strictyaml.Errors
	report := func(key string, s scalar, p *problem) {
		if p == nil || s.node == nil { // missing or refused as a whole
			return
		}
		start := s.node.Errorf("%q: %s", key, p.message)
		start.Line, start.Column = place(file, start.Line, start.Column, s.text, p.offset)
		problems = append(problems, start)
	}
	var p *problem
	r.when, p = compile(w.When.text, w.For)
	if p == nil && r.when.of != Bool {
		p = &problem{0, "must be a condition, got " + phrase(r.when.of)}
	}
	report("when", w.When, p)
	r.what, p = parseTemplate(w.What.text, w.For)
	report("what", w.What, p)
	r.fix, p = parseTemplate(w.Fix.text, w.For)
	report("fix", w.Fix, p)
	return r, problems
}

// ids are the ids of rules.
func ids(rules []*Rule) []string {
	all := make([]string, 0, len(rules))
	for _, r := range rules {
		all = append(all, r.ID)
	}
	return all
}

// Disable returns the rules without those of an id; unknown is called with each
// position in disabled that names no rule, and what to append to a message.
func Disable(rules []*Rule, disabled []string, unknown func(index int, suggestion string)) []*Rule {
	for i, id := range disabled {
		if !slices.Contains(ids(rules), id) {
			unknown(i, strictyaml.Suggest(id, ids(rules)))
		}
	}
	return slices.DeleteFunc(slices.Clone(rules), func(r *Rule) bool { return slices.Contains(disabled, r.ID) })
}
