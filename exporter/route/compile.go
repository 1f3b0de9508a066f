// SPDX-License-Identifier: Apache-2.0

// Package route turns request paths into the few values that a path label may
// have: the template of the route where one is known, else a shape without ids,
// and never more than a bounded number for each service.
package route

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// Error says why the template at Index cannot be used.
type Error struct {
	Index   int
	Message string
}

// Error returns the message, which quotes the template.
func (e *Error) Error() string { return e.Message }

// Errors is every template that cannot be used.
type Errors []*Error

// Error puts each template on a line of its own.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, problem := range e {
		lines[i] = problem.Error()
	}
	return strings.Join(lines, "\n")
}

// Set is a set of route templates. It never changes, so goroutines may share it.
// The nil Set matches nothing.
type Set struct {
	methods map[string]*node // "" for templates of any method
}

// Compile makes a set of templates in the syntax of net/http since Go 1.22, an
// optional method and a path: "/users/{id}", "GET /files/{path...}", "/{$}". Like
// net/http it refuses templates of which neither is more specific than the other.
// The error is of type Errors and names every template at fault.
func Compile(templates []string) (*Set, error) {
	var problems Errors
	set := &Set{methods: map[string]*node{}}
	// net/http itself decides what is valid and what conflicts.
	judge := http.NewServeMux()
	for i, template := range templates {
		method, path := Split(template)
		err := check(method, path)
		if err == nil {
			err = register(judge, template)
		}
		if err != nil {
			problems = append(problems, &Error{i, fmt.Sprintf("route %q %s", template, err)})
			continue
		}
		root := set.methods[method]
		if root == nil {
			root = &node{}
			set.methods[method] = root
		}
		root.insert(path)
	}
	if problems != nil {
		return nil, problems
	}
	return set, nil
}

// Split cuts a template, or the Pattern of an http.Request, into its method, which
// may be empty, and the rest.
func Split(template string) (method, path string) {
	if i := strings.IndexAny(template, " \t"); i >= 0 {
		return template[:i], strings.TrimLeft(template[i:], " \t")
	}
	return "", template
}

var methodSyntax = regexp.MustCompile(`^[A-Z]*$`)

// check refuses what net/http takes but what could never match here.
func check(method, path string) error {
	switch {
	case !methodSyntax.MatchString(method):
		return fmt.Errorf("has method %q, want capital letters such as GET", method)
	case !strings.HasPrefix(path, "/"):
		return fmt.Errorf("has path %q, which must start with /", path)
	case strings.ContainsAny(path, "?#"):
		return fmt.Errorf("has a query, only the path is compared")
	case strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return fmt.Errorf("has a space or control character in its path")
	}
	return nil
}

var (
	registeredAt = regexp.MustCompile(` \(registered at [^)]*\)`)
	parsing      = regexp.MustCompile(`^parsing .*: at offset \d+: `)
)

// register adds the template to the judge, which panics if it cannot.
func register(judge *http.ServeMux, template string) (err error) {
	defer func() {
		reason := recover()
		if reason == nil {
			return
		}
		text := registeredAt.ReplaceAllString(fmt.Sprint(reason), "")
		if rest, ok := strings.CutPrefix(text, fmt.Sprintf("pattern %q ", template)); ok {
			// What follows are examples; the first two lines say it.
			head, detail, _ := strings.Cut(rest, ":\n")
			detail, _, _ = strings.Cut(strings.Replace(detail, ".\nBut", ", but", 1), ".\n")
			err = fmt.Errorf("%s: %s", head, detail)
			return
		}
		err = fmt.Errorf("is invalid: %s", parsing.ReplaceAllString(text, ""))
	}()
	judge.Handle(template, http.NotFoundHandler())
	return nil
}
