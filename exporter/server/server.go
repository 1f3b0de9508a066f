// SPDX-License-Identifier: Apache-2.0

// Package server answers HTTP: the landing page, /metrics, health, reload and
// the JSON interface.
package server

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tcpslo/tcpslo/exporter/observe"
	"github.com/tcpslo/tcpslo/exporter/slo/events"
	"github.com/tcpslo/tcpslo/exporter/timeline"
)

// Options of the HTTP interface.
type Options struct {
	Observer    *observe.Observer
	Requests    *timeline.Store
	Gatherer    prometheus.TransactionalGatherer
	Log         *slog.Logger
	MetricsPath string
	MaxRequests int          // /metrics requests answered at once; 0 for no limit
	Lifecycle   bool         // POST /-/reload is allowed
	API         bool         // /api/v1 is there
	Reload      func() error // reloads the configuration
}

// New returns the handler of everything.
func New(o Options) (http.Handler, error) {
	if !strings.HasPrefix(o.MetricsPath, "/") || o.MetricsPath == "/" || slices.Contains(ownPaths, o.MetricsPath) || strings.ContainsAny(o.MetricsPath, "{} ") {
		return nil, fmt.Errorf("--web.telemetry-path=%s must begin with a slash and be none of %s or /", o.MetricsPath, strings.Join(ownPaths, ", "))
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+o.MetricsPath, newMetricsHandler(o.Gatherer, o.MaxRequests, o.Log))
	landing := &landingPage{observer: o.Observer, metricsPath: o.MetricsPath, api: o.API}
	mux.Handle("GET /{$}", landing)
	// The exporter listens only once everything is attached: it is ready when it
	// answers at all.
	mux.HandleFunc("GET /healthz", ok)
	mux.HandleFunc("GET /readyz", ok)
	mux.HandleFunc("/-/reload", o.reload)
	if o.API {
		mux.HandleFunc("GET /api/v1/services", func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, map[string]any{"services": o.Observer.Registry().Services()})
		})
		mux.HandleFunc("GET /api/v1/listeners", func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, map[string]any{"listeners": o.Observer.Registry().Listeners()})
		})
		mux.HandleFunc("GET /api/v1/slos", func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, map[string]any{"slos": append([]events.Objective{}, o.Observer.Objectives()...)})
		})
		mux.HandleFunc("GET /api/v1/connections", o.connections)
		mux.HandleFunc("GET /api/v1/findings", func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, map[string]any{"findings": o.Observer.Findings()})
		})
		mux.HandleFunc("GET /api/v1/probes", func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, map[string]any{"probes": o.Observer.Status()})
		})
		requests := timeline.NewAPI(o.Requests)
		mux.HandleFunc("GET /api/v1/requests", requests.List)
		mux.HandleFunc("GET /api/v1/requests/stream", requests.Stream)
		mux.HandleFunc("GET /api/v1/hotspots", o.hotspots)
	}
	return mux, nil
}

// connections answers with those that could be read, and says what could not.
func (o Options) connections(w http.ResponseWriter, _ *http.Request) {
	all, err := o.Observer.Connections()
	answer := map[string]any{"connections": all}
	if err != nil {
		answer["incomplete"] = err.Error()
	}
	writeJSON(w, answer)
}

func (o Options) hotspots(w http.ResponseWriter, r *http.Request) {
	store := o.Observer.Hotspots()
	if store == nil {
		http.Error(w, "the collector \"hotspots\" is off; switch it on in tcpslo.yml with collectors: {hotspots: true}", http.StatusNotFound)
		return
	}
	store.List(w, r)
}

// ownPaths can't be the path of the metrics.
var ownPaths = []string{"/healthz", "/readyz", "/-/reload", "/api/v1/services", "/api/v1/listeners", "/api/v1/slos", "/api/v1/connections", "/api/v1/findings", "/api/v1/probes", "/api/v1/requests", "/api/v1/requests/stream", "/api/v1/hotspots"}

func ok(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }

func (o Options) reload(w http.ResponseWriter, r *http.Request) {
	switch {
	case !o.Lifecycle:
		http.Error(w, "reload over HTTP is off; start with --web.enable-lifecycle or send SIGHUP", http.StatusForbidden)
	case r.Method != http.MethodPost && r.Method != http.MethodPut:
		w.Header().Set("Allow", "POST, PUT")
		http.Error(w, "only POST and PUT reload", http.StatusMethodNotAllowed)
	default:
		if err := o.Reload(); err != nil {
			http.Error(w, "the configuration stays as it was: "+err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, "reloaded")
	}
}

func writeJSON(w http.ResponseWriter, value any) {
	body, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(body, '\n'))
}
