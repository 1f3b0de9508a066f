// SPDX-License-Identifier: Apache-2.0

package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// testsOf lists the test functions of a package from its source.
func testsOf(t *testing.T, pkg string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(pkg), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "Test") {
				names = append(names, f.Name.Name)
			}
		}
	}
	return names
}

// A name that no test has would be run, or left out, without a word.
func TestSuites_name_tests_and_kernels_that_exist(t *testing.T) {
	var kernels []string
	for _, k := range matrix {
		kernels = append(kernels, k.name)
	}
	var all []string
	for _, s := range suites {
		exist := testsOf(t, s.pkg)
		all = append(all, exist...)
		for _, name := range append(slices.Collect(maps.Keys(s.skip)), s.run...) {
			if !slices.Contains(exist, name) {
				t.Errorf("suite %q: %s has no %s", s.name, s.pkg, name)
			}
		}
		for kernel := range s.except {
			if !slices.Contains(kernels, kernel) {
				t.Errorf("suite %q leaves out kernel %q, which the matrix has not", s.name, kernel)
			}
		}
	}
	for kernel, tests := range leftOut {
		if !slices.Contains(kernels, kernel) {
			t.Errorf("tests are left out on kernel %q, which the matrix has not", kernel)
		}
		for name := range tests {
			if name, _, _ := strings.Cut(name, "/"); !slices.Contains(all, name) {
				t.Errorf("no suite has %s", name)
			}
		}
	}
}

func TestSuite_args_choose_whole_names(t *testing.T) {
	s := suite{run: []string{"TestA", "TestB"}, skip: map[string]string{"TestC": "why"}}
	for kernel, want := range map[string]string{
		"6.1":  "-test.timeout=0 -test.run=^(TestA|TestB)$ -test.skip=^TestC$",
		"6.18": "-test.timeout=0 -test.run=^(TestA|TestB)$ -test.skip=^TestC$|^" + comeAndGo + "$",
		"5.10": "-test.timeout=0 -test.run=^(TestA|TestB)$ -test.skip=^TestC$|^TestFull_accept_queue$/MPTCP",
	} {
		if got := strings.Join(s.args(kernel, false), " "); got != want {
			t.Errorf("on %s: %s, want %s", kernel, got, want)
		}
	}
	if got := s.args("6.1", true); !slices.Contains(got, "-test.v") {
		t.Errorf("verbose: %s lacks -test.v", got)
	}
}

func TestSelectSuites(t *testing.T) {
	if all, err := selectSuites(nil); err != nil || len(all) != len(suites) {
		t.Errorf("no name gives %d suites, %v", len(all), err)
	}
	if some, err := selectSuites([]string{"probe", "e2e"}); err != nil || len(some) != 2 || some[0].name != "e2e" {
		t.Errorf("two names give %v, %v", some, err)
	}
	if _, err := selectSuites([]string{"e2e", "fprobe"}); err == nil || !strings.Contains(err.Error(), "kprobe") {
		t.Errorf("an unknown name gives %v, want an error with the names there are", err)
	}
}
