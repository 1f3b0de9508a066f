// SPDX-License-Identifier: Apache-2.0

package events

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/tcpslo/tcpslo/exporter/slo"
)

// MarshalJSON is how /api/v1/slos tells an objective.
func (o Objective) MarshalJSON() ([]byte, error) {
	type path struct {
		Path string `json:"path"`
		Good uint64 `json:"good"`
		Bad  uint64 `json:"bad"`
	}
	total := o.Total()
	told := struct {
		Service   string    `json:"service"`
		Name      string    `json:"name"`
		Objective float64   `json:"objective_ratio"`
		Window    float64   `json:"window_seconds"`
		Latency   float64   `json:"latency_threshold_seconds,omitempty"`
		Path      string    `json:"path,omitempty"`
		Method    string    `json:"method,omitempty"`
		Aborts    string    `json:"client_aborts"`
		Since     time.Time `json:"since"`
		Good      uint64    `json:"good"`
		Bad       uint64    `json:"bad"`
		Error     float64   `json:"error_ratio"`
		Burn      float64   `json:"burn_rate"`
		Paths     []path    `json:"paths"`
	}{
		o.Service, o.Name, o.Ratio(), o.Window.Seconds(), o.Latency.Seconds(), o.Path, o.Method, o.ClientAborts.String(),
		o.Since, total.Good, total.Bad, total.ErrorRatio(), slo.BurnRate(total.ErrorRatio(), o.Allowed()), []path{},
	}
	for _, p := range slices.Sorted(maps.Keys(o.Events)) {
		told.Paths = append(told.Paths, path{p, o.Events[p].Good, o.Events[p].Bad})
	}
	return json.Marshal(told)
}
