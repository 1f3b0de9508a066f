// SPDX-License-Identifier: Apache-2.0

package hotspot

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/tcpslo/tcpslo/exporter/query"
)

// Query asks a store for hotspots; the zero value, for all.
type Query struct {
	Service string
	Path    string // route
	Limit   int    // at most; 0 for all
	Format  string // json or folded
}

// DefaultLimit is how many stacks a query for JSON without a limit gets. A flame graph
// wants all.
const DefaultLimit = 100

func (q *Query) matches(h *Hotspot) bool {
	return (q.Service == "" || q.Service == h.Service) && (q.Path == "" || q.Path == h.Path)
}

var parameters = []query.Parameter[Query]{
	{Name: "service", Allowed: "a name", Set: func(q *Query, value string) bool { q.Service = value; return true }},
	{Name: "path", Allowed: "a route", Set: func(q *Query, value string) bool { q.Path = value; return true }},
	query.Limit(func(q *Query) *int { return &q.Limit }),
	{Name: "format", Allowed: `"json" or "folded"`, Set: func(q *Query, value string) bool {
		q.Format = value
		return value == "json" || value == "folded"
	}},
}

// ParseQuery reads the query of a URL that asks for hotspots. An empty value is as good
// as none. The error names what is wrong and what is allowed.
func ParseQuery(raw string) (Query, error) {
	q := Query{Limit: -1}
	err := query.Parse(raw, &q, parameters)
	if q.Limit < 0 {
		q.Limit = DefaultLimit
		if q.Format == "folded" {
			q.Limit = 0
		}
	}
	return q, err
}

// List answers GET /api/v1/hotspots.
func (s *Store) List(w http.ResponseWriter, r *http.Request) {
	q, err := ParseQuery(r.URL.RawQuery)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	found := s.Find(q)
	if q.Format == "folded" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_ = WriteFolded(w, found) // the client is gone and nobody is left to tell
		return
	}
	body, err := json.MarshalIndent(map[string]any{"hotspots": found}, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(body, '\n'))
}

type jsonFrame struct {
	Function string `json:"function"`
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
}

type jsonHotspot struct {
	Service string      `json:"service"`
	Path    string      `json:"path"`
	Samples uint64      `json:"samples"`
	CPU     float64     `json:"cpu_seconds"`
	Frames  []jsonFrame `json:"frames"`
}

// MarshalJSON writes times in seconds.
func (h Hotspot) MarshalJSON() ([]byte, error) {
	frames := make([]jsonFrame, len(h.Frames))
	for i, f := range h.Frames {
		frames[i] = jsonFrame(f)
	}
	return json.Marshal(jsonHotspot{h.Service, h.Path, h.Samples, h.CPU.Seconds(), frames})
}

// WriteFolded writes stacks as flame graphs want them: service, route and functions from
// the outermost on, with semicolons in between, a blank and the number of samples. Stacks
// that differ by their lines alone are one.
func WriteFolded(out io.Writer, all []Hotspot) error {
	counts := map[string]uint64{}
	for _, h := range all {
		names := []string{foldable(h.Service), foldable(h.Path)}
		for _, f := range slices.Backward(h.Frames) {
			names = append(names, foldable(f.Function))
		}
		counts[strings.Join(names, ";")] += h.Samples
	}
	for _, stack := range slices.Sorted(maps.Keys(counts)) {
		if _, err := fmt.Fprintf(out, "%s %d\n", stack, counts[stack]); err != nil {
			return err
		}
	}
	return nil
}

// foldable takes out of a name what divides names and lines.
func foldable(name string) string {
	return strings.NewReplacer(";", ":", "\n", " ", "\r", " ").Replace(name)
}
