// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"

	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/models"
	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promapi"
	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promql"
)

// resources are what the frontend asks for beside queries. Lists of names fill variables; their parameter service, which may
// come several times, asks for those of some services.
func (d *Datasource) resources() http.Handler {
	mux := http.NewServeMux()
	for path, list := range map[string]struct{ metric, label string }{
		"services":  {objectiveRatio, "service"},
		"slos":      {objectiveRatio, "slo"},
		"routes":    {sloEvents, "path"},
		"listeners": {queueDepth, "listener"},
	} {
		mux.HandleFunc("GET /"+path, func(w http.ResponseWriter, r *http.Request) {
			names, err := d.names(r.Context(), list.metric, list.label, r.URL.Query()["service"])
			reply(w, names, err)
		})
	}
	mux.HandleFunc("GET /explain", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		explanation, err := d.explain(r.Context(), q.Get("service"), q.Get("slo"))
		reply(w, explanation, err)
	})
	mux.HandleFunc("GET /queries", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		asked, err := d.asked(models.Query{QueryType: q.Get("type"), Services: q["service"], SLOs: q["slo"], Paths: q["path"], Listeners: q["listener"], NetNS: q.Get("netns"), Mode: q.Get("mode")})
		reply(w, asked, err)
	})
	mux.HandleFunc("GET /doctor", func(w http.ResponseWriter, r *http.Request) {
		reply(w, d.doctor(r.Context()), nil)
	})
	return mux
}

// reply writes JSON, or an error with its status: {"message": "…"}, as Grafana shows it.
func reply(w http.ResponseWriter, body any, err error) {
	status := http.StatusOK
	if err != nil {
		status, body = int(failed(err).Status), map[string]string{"message": err.Error()}
	}
	text, err := json.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(text)
}

// names lists the values of a label of a metric, in order.
func (d *Datasource) names(ctx context.Context, metric, label string, services []string) ([]string, error) {
	services = slices.DeleteFunc(slices.Clone(services), func(s string) bool { return s == "" })
	expr := "group by (" + label + ") (" + d.sel(metric, promql.Is("service", services...)) + ")"
	result, err := d.queries.Ask(ctx, promapi.Query{Expr: expr, Grid: promapi.At(d.clock()), Instant: true})
	if err != nil {
		return nil, fmt.Errorf("names of %ss: %w", label, err)
	}
	names := []string{}
	for _, s := range result.Series {
		if name := s.Labels[label]; name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// asked is the PromQL that a query of a type runs, over the last hour.
type asked struct {
	Name  string `json:"name"`
	Query string `json:"query"`
	Range bool   `json:"range"` // over the range; else at its end
}

func (d *Datasource) asked(q models.Query) ([]asked, error) {
	text, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	now := d.clock()
	r, err := d.request(backend.DataQuery{JSON: text, TimeRange: backend.TimeRange{From: now.Add(-time.Hour), To: now}}, false)
	if err != nil {
		return nil, errQuery{err}
	}
	all := []asked{}
	if h := handlers[r.QueryType]; h.ask != nil {
		for _, question := range h.ask(r) {
			all = append(all, asked{question.name, question.expr, question.over})
		}
	}
	return all, nil
}
