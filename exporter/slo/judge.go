// SPDX-License-Identifier: Apache-2.0

package slo

// Verdict is what a request is to an objective.
type Verdict int

// The verdicts. A request that is no event is left out of both numbers of the ratio.
const (
	NoEvent Verdict = iota
	Good
	Bad
)

// The status_code of a request that no status tells about.
const (
	Panic    = "panic"    // its handler did not return
	Hijacked = "hijacked" // its connection was taken over, by a WebSocket for example
)

// Request is what an objective judges of a request.
type Request struct {
	// Status is three digits, Panic or Hijacked.
	Status string
	// Aborted says that the client had gone before the handler returned.
	Aborted bool
	// Within says that it was answered within Latency.
	Within bool
}

// Judge tells what a request is to the objective.
//
// What the server failed at is bad, 5xx and panics: a quick error must not make a
// service look fast. All else is good if it is about availability, redirects too, and 4xx,
// which are the client's mistake; if it is about latency, what was answered within it. A
// connection that was taken over is no event there: its duration is what was done with it.
//
// Before all of this comes ClientAborts, if it says anything of an aborted request.
func (d Definition) Judge(r Request) Verdict {
	if r.Aborted && d.ClientAborts != JudgeAborts {
		return d.ClientAborts.verdict()
	}
	failed := r.Status == Panic || len(r.Status) == 3 && r.Status[0] == '5'
	switch {
	case failed:
		return Bad
	case d.Latency != 0 && r.Status == Hijacked:
		return NoEvent
	case d.Latency == 0 || r.Within:
		return Good
	}
	return Bad
}

// Events are the events of an objective.
type Events struct{ Good, Bad uint64 }

// Count adds requests that are alike but for their duration: all of them, and how many of
// these were answered within Latency.
func (d Definition) Count(e *Events, status string, aborted bool, all, within uint64) {
	e.add(d.Judge(Request{status, aborted, true}), within)
	e.add(d.Judge(Request{status, aborted, false}), all-within)
}

func (e *Events) add(v Verdict, n uint64) {
	switch v {
	case Good:
		e.Good += n
	case Bad:
		e.Bad += n
	}
}

// ErrorRatio is the share of bad events, between 0 and 1. Where there were none, none was bad.
func (e Events) ErrorRatio() float64 {
	if e.Bad == 0 {
		return 0
	}
	return float64(e.Bad) / (float64(e.Good) + float64(e.Bad))
}
