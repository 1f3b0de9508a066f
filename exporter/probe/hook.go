// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

// hookKinds are the kinds of hook, in the order of preference of DESIGN §2.
var hookKinds = []string{"tp_btf", "iter", "fentry", "fexit", "kprobe", "kretprobe", "raw_tp", "tracepoint", "perf_event", "gouprobe"}

// Hook is a place in the kernel or in a Go executable that a program runs at,
// written KIND/TARGET: tp_btf/sk_data_ready, perf_event/cpu-clock,
// gouprobe/net/http.serverHandler.ServeHTTP.
type Hook struct {
	Kind   string
	Target string
}

func (h Hook) String() string { return h.Kind + "/" + h.Target }

// section is where in an object the functions stand that the hook runs: the kind
// alone where what they do is the same for every target.
func (h Hook) section() string {
	switch h.Kind {
	case "gouprobe":
		return "uprobe"
	case "perf_event":
		return h.Kind
	}
	return h.String()
}

// ParseHook reads KIND/TARGET.
func ParseHook(text string) (Hook, error) {
	kind, target, ok := strings.Cut(text, "/")
	if !ok || target == "" {
		return Hook{}, fmt.Errorf("hook %q must have the form KIND/TARGET, for example tp_btf/sk_data_ready", text)
	}
	if !slices.Contains(hookKinds, kind) {
		return Hook{}, fmt.Errorf("unknown kind of hook %q in %q%s", kind, text, strictyaml.Suggest(kind, hookKinds))
	}
	if kind == "perf_event" && target != cpuClock {
		return Hook{}, fmt.Errorf("unknown perf event %q, must be %q", target, cpuClock)
	}
	return Hook{kind, target}, nil
}

// Variant is one way to attach a program. All its hooks are attached, each with
// a function of its own.
type Variant struct {
	Hooks     []Hook
	Functions []string // as written in the YAML file; found by name and section where empty
	Requires  Requires

	// Of gouprobe hooks: where in the function, and what else tells the place.
	At      string
	In      string
	Calling string

	// Frequency names the option of the probe that says how often a second a
	// perf_event hook runs on each CPU.
	Frequency string
}

// Places of gouprobe sites.
const (
	AtEntry      = "entry"       // behind the prologue, arguments still in registers
	AtReturn     = "return"      // every RET instruction: exact, but single-stepped on amd64
	AtBeforeCall = "before_call" // each call instruction of the function in the function named by "in", arguments in registers
	AtInlined    = "inlined"     // the body of the function where it was inlined into the function named by "in"; no arguments
	AtAfterCall  = "after_call"  // behind each call of the function in the function named by "in"
	AtClosure    = "closure"     // entry of the closure of the function that calls "calling"

	// AtBesideInlined is AtBeforeCall in each function that holds a copy of the one named by
	// "in": nowhere if nobody does.
	AtBesideInlined = "beside_inlined"

	// AtLastClosure is AtClosure for the last of several, in the order of the source.
	AtLastClosure = "last_closure"
)

var sitePlaces = []string{AtEntry, AtReturn, AtBeforeCall, AtAfterCall, AtInlined, AtBesideInlined, AtClosure, AtLastClosure}

// Requires says what a variant needs of the running kernel.
type Requires struct {
	// Params are the types of the hook's parameters without pointers and
	// qualifiers; the kernel's must begin with these.
	Params []string `yaml:"params"`
	// Types must exist in the kernel's BTF.
	Types []string `yaml:"types"`
	// EnumValues must exist, written ENUM.VALUE.
	EnumValues []string `yaml:"enum_values"`
	// Symbols must be functions in /proc/kallsyms.
	Symbols []string `yaml:"symbols"`
}

// Name is how probe_info and the probes command call the variant.
func (v Variant) Name() string {
	texts := make([]string, len(v.Hooks))
	for i, h := range v.Hooks {
		texts[i] = h.String()
	}
	return strings.Join(texts, "+")
}

// prefer moves the variants whose first hook is of a preferred kind to the
// front and keeps the order otherwise.
func prefer(variants []Variant, kinds []string) []Variant {
	sorted := slices.Clone(variants)
	rank := func(v Variant) int {
		if i := slices.Index(kinds, v.Hooks[0].Kind); i >= 0 {
			return i
		}
		return len(kinds)
	}
	slices.SortStableFunc(sorted, func(a, b Variant) int { return rank(a) - rank(b) })
	return sorted
}
