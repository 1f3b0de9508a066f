// SPDX-License-Identifier: Apache-2.0

// Package timeline keeps single requests, stage by stage: a bounded store of the
// slowest and of a sample of the others, and its JSON and server-sent events.
package timeline

import (
	"encoding/json"
	"math"
	"net/netip"
	"time"
)

// Request is one request as the probes saw it. Its JSON is that of /api/v1/requests,
// with durations in seconds.
type Request struct {
	// ID is 16 hexadecimal digits, unique on this machine since boot.
	ID      string `json:"id"`
	Service string `json:"service"`
	PID     uint32 `json:"pid"`
	// Goroutine is runtime.g.goid, 0 if unknown.
	Goroutine uint64 `json:"goroutine"`
	Method    string `json:"method"`
	// Path is the route's template, never a raw path.
	Path string `json:"path"`
	// Status is three digits, "panic" or "hijacked".
	Status string `json:"status_code"`
	// ClientGone says that the client had gone before its handler returned, which is what
	// cancels the request's context.
	ClientGone bool `json:"client_gone,omitempty"`
	// Local and Remote are the ends of the connection, the zero value if unknown.
	Local  netip.AddrPort `json:"local,omitzero"`
	Remote netip.AddrPort `json:"remote,omitzero"`
	// TraceParent is the header of W3C Trace Context, "" if there was none.
	TraceParent string `json:"traceparent,omitempty"`
	// Started is when its first stage began.
	Started time.Time `json:"started"`
	// Slow tells a request over the threshold of its service from one of the
	// sample of the others.
	Slow bool `json:"slow"`
	// Duration is the sum of its stages.
	Duration time.Duration `json:"-"`
	// Threshold is that of its service when it ended.
	Threshold time.Duration `json:"-"`
	// Stages are in the order of time; one that was not seen is not there.
	Stages []Stage `json:"stages"`
	// Tag is random, and Window the number of the ten minutes since boot in which its
	// handler ended: of the requests that were not slow, those of a service with the lowest
	// tags are a uniform sample.
	Tag    uint32 `json:"-"`
	Window uint64 `json:"-"`
}

// Stage is what a request spent in one stage.
type Stage struct {
	Name     string        `json:"stage"`
	Duration time.Duration `json:"-"`
}

// Ended is when the last stage was over.
func (r Request) Ended() time.Time { return r.Started.Add(r.Duration) }

// plainRequest and plainStage are the types without their methods, which would
// call themselves.
type (
	plainRequest Request
	plainStage   Stage
)

// requestJSON and stageJSON add the durations. Stages comes again so that it comes last.
type requestJSON struct {
	*plainRequest
	Duration  float64 `json:"duration_seconds"`
	Threshold float64 `json:"threshold_seconds"`
	Stages    []Stage `json:"stages"`
}

type stageJSON struct {
	*plainStage
	Duration float64 `json:"seconds"`
}

// MarshalJSON writes durations in seconds.
func (r Request) MarshalJSON() ([]byte, error) {
	if r.Stages == nil {
		r.Stages = []Stage{} // a null breaks clients that expect a list
	}
	return json.Marshal(requestJSON{(*plainRequest)(&r), r.Duration.Seconds(), r.Threshold.Seconds(), r.Stages})
}

// UnmarshalJSON reads what MarshalJSON writes, exact to the nanosecond for
// durations of up to a hundred days.
func (r *Request) UnmarshalJSON(text []byte) error {
	all := requestJSON{plainRequest: (*plainRequest)(r)}
	if err := json.Unmarshal(text, &all); err != nil {
		return err
	}
	r.Duration, r.Threshold, r.Stages = fromSeconds(all.Duration), fromSeconds(all.Threshold), all.Stages
	return nil
}

// MarshalJSON writes the duration in seconds.
func (s Stage) MarshalJSON() ([]byte, error) {
	return json.Marshal(stageJSON{(*plainStage)(&s), s.Duration.Seconds()})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (s *Stage) UnmarshalJSON(text []byte) error {
	all := stageJSON{plainStage: (*plainStage)(s)}
	if err := json.Unmarshal(text, &all); err != nil {
		return err
	}
	s.Duration = fromSeconds(all.Duration)
	return nil
}

func fromSeconds(seconds float64) time.Duration {
	return time.Duration(math.Round(seconds * float64(time.Second)))
}
