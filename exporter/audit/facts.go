// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"

	"github.com/tcpslo/tcpslo/exporter/sysctl"
)

// Facts are what rules are judged by: one look at a machine.
type Facts struct {
	Host Subject
	// Subjects are the listeners, services, servers and interfaces.
	Subjects map[Kind][]Subject
	// Unseen says why subjects of a kind could not be found, all or some.
	Unseen map[Kind]string

	procfs   string
	sysctls  map[string]Value // those that were asked for
	counters map[string]Value
	missing  string // why there are no counters
}

// Subject is what a rule is judged for.
type Subject struct {
	Name     string // as people call it: "127.0.0.1:8080 (checkout)", "eth0"
	Service  string // "" if not known, or of no meaning
	Listener string // address and port of a listener, else ""
	Fields   map[string]Value
}

// sysctl is the value of a parameter.
func (f *Facts) sysctl(name string) Value {
	v, ok := f.sysctls[name]
	if !ok {
		v = numberOr(sysctl.Value(f.procfs, name))
		f.sysctls[name] = v
	}
	return v
}

// counter is the value of a counter by the name that nstat(8) gives it.
func (f *Facts) counter(name string) Value {
	if v, ok := f.counters[name]; ok {
		return v
	}
	if f.missing != "" {
		return Unknown(f.missing)
	}
	return Unknown(fmt.Sprintf("this kernel has no counter %q", name))
}

// of lists the subjects of a kind.
func (f *Facts) of(kind Kind) []Subject {
	if kind == Host {
		return []Subject{f.Host}
	}
	return f.Subjects[kind]
}

// allUnknown gives every field of a kind the same reason, for subjects of which
// only the existence is known.
func allUnknown(kind Kind, reason string) map[string]Value {
	all := map[string]Value{}
	for _, field := range fields[kind] {
		all[field.Name] = Unknown(reason)
	}
	return all
}
