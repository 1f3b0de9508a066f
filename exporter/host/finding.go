// SPDX-License-Identifier: Apache-2.0

package host

import (
	"cmp"
	"slices"
	"time"
)

// Finding is what /api/v1/findings tells of something that a process should have
// given back.
type Finding struct {
	Kind    FindingKind `json:"kind"`
	Service string      `json:"service"`
	PID     uint32      `json:"pid"`
	Count   int         `json:"count"`
	Since   time.Time   `json:"since"`      // when it was noticed
	Creator string      `json:"created_by"` // function that created the goroutine, or kind of descriptor
	Line    string      `json:"line"`       // of its go statement, "path/leaks.go:31"; "" if it is not known
	Summary string      `json:"summary"`
	Remedy  string      `json:"remedy"`
}

// FindingKind is what is not given back.
type FindingKind string

const (
	goroutineLeak     FindingKind = "goroutine_leak"
	closeWait         FindingKind = "close_wait"
	hijackedForgotten FindingKind = "hijacked_forgotten"
	fdLeak            FindingKind = "fd_leak"
)

// remedies tell what helps.
var remedies = map[FindingKind]string{
	goroutineLeak:     "Give the goroutine a way to end: select on ctx.Done(), close the channel that it reads, buffer the one that it writes. A goroutine profile (/debug/pprof/goroutine?debug=2) shows where it waits.",
	closeWait:         "The peer has gone: end the work when r.Context() is done, close a hijacked connection when a read returns an error, close every response body of a client.",
	hijackedForgotten: "Who calls Hijack has to close the connection: defer conn.Close(), and read from it or set a deadline to learn that the client has gone.",
	fdLeak:            "Close what is opened, on every path: defer f.Close(). /proc/PID/fd tells what is open.",
}

// finder is a collector that has findings.
type finder interface{ Findings() []Finding }

// Findings lists what the last look of the collectors has found; there is one if
// their interval has passed.
func (s *Set) Findings() []Finding {
	all := []Finding{}
	for _, r := range s.collectors {
		if f, ok := r.collector.(finder); ok {
			r.mu.Lock()
			r.look(time.Now())
			all = append(all, f.Findings()...)
			r.mu.Unlock()
		}
	}
	slices.SortFunc(all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.PID, b.PID), cmp.Compare(b.Count, a.Count), cmp.Compare(a.Creator, b.Creator))
	})
	return all
}
