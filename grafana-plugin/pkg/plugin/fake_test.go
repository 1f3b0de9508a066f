// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/models"
	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promapi"
)

// The range of tests: an hour by steps of ten minutes, seven points.
var (
	testFrom = time.Date(2026, 1, 9, 23, 0, 0, 0, time.UTC)
	testTo   = testFrom.Add(time.Hour)
)

// fake is a Prometheus that knows questions by their PromQL, and answers what it was told.
type fake struct {
	*httptest.Server
	mu    sync.Mutex
	known map[string]any // by PromQL: []promapi.Series, or a string that is the whole body, or a status
	asked map[string]int
}

func startFake(t *testing.T) *fake {
	f := &fake{known: map[string]any{}, asked: map[string]int{}}
	f.Server = httptest.NewServer(http.HandlerFunc(f.answer))
	t.Cleanup(f.Close)
	return f
}

// tell has the fake answer a question by its PromQL.
func (f *fake) tell(expr string, answer any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known[expr] = answer
}

func (f *fake) answer(w http.ResponseWriter, r *http.Request) {
	r.ParseForm()
	expr := r.Form.Get("query")
	if expr == "" {
		expr = r.URL.Path
	}
	f.mu.Lock()
	f.asked[expr]++
	answer, known := f.known[expr]
	f.mu.Unlock()
	if status, ok := answer.(int); ok {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if body, ok := answer.(string); ok {
		fmt.Fprint(w, body)
		return
	}
	if !known && !strings.HasPrefix(r.URL.Path, "/api/v1/query") {
		http.NotFound(w, r)
		return
	}
	series, _ := answer.([]promapi.Series)
	kind := "vector"
	var result []map[string]any
	for _, s := range series {
		one := map[string]any{"metric": s.Labels}
		if r.Form.Has("step") {
			kind = "matrix"
			start, _ := strconv.ParseFloat(r.Form.Get("start"), 64)
			step, _ := strconv.ParseFloat(r.Form.Get("step"), 64)
			values := [][]any{}
			for i, v := range s.Values {
				if !math.IsNaN(v) {
					values = append(values, []any{start + float64(i)*step, strconv.FormatFloat(v, 'f', -1, 64)})
				}
			}
			one["values"] = values
		} else {
			one["value"] = []any{0, strconv.FormatFloat(s.Value(), 'f', -1, 64)}
		}
		result = append(result, one)
	}
	if r.Form.Has("step") {
		kind = "matrix"
	}
	json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": map[string]any{"resultType": kind, "result": result}})
}

// series makes one: labels as name, value, name, value, …, and values.
func series(labels []string, values ...float64) promapi.Series {
	s := promapi.Series{Labels: data.Labels{}, Values: values}
	for i := 0; i < len(labels); i += 2 {
		s.Labels[labels[i]] = labels[i+1]
	}
	return s
}

// open makes a datasource of a Prometheus and exporters.
func (f *fake) datasource(t *testing.T, settings map[string]any) *Datasource {
	t.Helper()
	return newDatasource(t, f.URL, settings)
}

func newDatasource(t *testing.T, prometheus string, settings map[string]any) *Datasource {
	t.Helper()
	text, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(t.Context(), backend.DataSourceInstanceSettings{UID: "uid", URL: prometheus, JSONData: text})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.(*Datasource).Dispose)
	return d.(*Datasource)
}

// query is a query of Grafana for the test's hour.
func query(refID string, q models.Query) backend.DataQuery {
	text, err := json.Marshal(q)
	if err != nil {
		panic(err)
	}
	return backend.DataQuery{RefID: refID, QueryType: q.QueryType, JSON: text, MaxDataPoints: 7, Interval: 10 * time.Minute, TimeRange: backend.TimeRange{From: testFrom, To: testTo}}
}

// ask runs one query.
func ask(t *testing.T, d *Datasource, q backend.DataQuery) backend.DataResponse {
	t.Helper()
	all, err := d.QueryData(t.Context(), &backend.QueryDataRequest{Queries: []backend.DataQuery{q}})
	if err != nil {
		t.Fatal(err)
	}
	return all.Responses[q.RefID]
}

// tellAll has the fake answer the questions of a query, by their names.
func (f *fake) tellAll(t *testing.T, d *Datasource, q backend.DataQuery, answers map[string]any) {
	t.Helper()
	r, err := d.request(q, false)
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	for _, question := range handlers[r.QueryType].ask(r) {
		if answer, ok := answers[question.name]; ok {
			f.tell(question.expr, answer)
			told++
		}
	}
	if told != len(answers) {
		t.Errorf("%s: %d of %d answers belong to a question", r.QueryType, told, len(answers))
	}
}
