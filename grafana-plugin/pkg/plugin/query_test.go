// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/grafana/grafana-plugin-sdk-go/backend"

	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/models"
	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promapi"
)

// exprs are what a query asks, by the name of the question.
func exprs(t *testing.T, d *Datasource, q backend.DataQuery) map[string]string {
	r, err := d.request(q, false)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, question := range handlers[r.QueryType].ask(r) {
		all[question.name] = question.expr
	}
	return all
}

func TestQueryData_answers_each_query_by_itself_whatever_happens_to_the_others(t *testing.T) {
	f := startFake(t)
	d := f.datasource(t, nil)
	queries := []backend.DataQuery{
		query("good", models.Query{QueryType: models.Budget, Services: []string{"good"}}),
		query("broken", models.Query{QueryType: models.Budget, Services: []string{"broken"}}),
		query("down", models.Query{QueryType: models.Budget, Services: []string{"down"}}),
		query("wrong", models.Query{QueryType: "no_such_type"}),
		{RefID: "unreadable", JSON: []byte(`{"limit":"many"}`), TimeRange: backend.TimeRange{From: testFrom, To: testTo}},
	}
	f.tell(exprs(t, d, queries[0])["budgets"], []promapi.Series{series(availability, 1, 1, 1, 1, 1, 1, 1)})
	f.tell(exprs(t, d, queries[1])["budgets"], `{"status":"error","errorType":"execution","error":"too many samples"}`)
	f.tell(exprs(t, d, queries[2])["budgets"], 503)
	all, err := d.QueryData(t.Context(), &backend.QueryDataRequest{Queries: queries})
	if err != nil || len(all.Responses) != len(queries) {
		t.Fatalf("got %d answers, %v", len(all.Responses), err)
	}
	if good := all.Responses["good"]; good.Error != nil || len(good.Frames) != 1 || good.Frames[0].RefID != "good" || good.Frames[0].Fields[1].Len() != 7 {
		t.Errorf("good: got %+v", good)
	}
	for refID, want := range map[string]string{
		"broken":     "budgets: prometheus refused the query (execution): too many samples",
		"down":       "budgets: the server answered 503 Service Unavailable",
		"wrong":      `query type "no_such_type" is not known, want one of slo_summary, `,
		"unreadable": "query cannot be read: json: cannot unmarshal string into Go struct field Query.limit of type int",
	} {
		if got := all.Responses[refID]; got.Error == nil || !strings.HasPrefix(got.Error.Error(), want) || got.ErrorSource != backend.ErrorSourceDownstream {
			t.Errorf("%s: got %v (%s), want %s", refID, got.Error, got.ErrorSource, want)
		}
	}
}

func TestQueryData_shows_what_there_is_and_says_what_is_missing(t *testing.T) {
	f := startFake(t)
	d := f.datasource(t, nil)
	q := query("A", models.Query{QueryType: models.SLOSummary})
	f.tellAll(t, d, q, map[string]any{"objectives": []promapi.Series{series(availability, 0.999)}, "burn rates": 500, fromSloth: 500,
		"budgets": `{"status":"success","warnings":["a store is down"],"data":{"resultType":"vector","result":[{"metric":{"a":"b"},"histogram":[1,{}]}]}}`})
	answer := ask(t, d, q)
	if answer.Error != nil || len(answer.Frames) != 1 || answer.Frames[0].Rows() != 1 {
		t.Fatalf("got %+v", answer)
	}
	var notices []string
	for _, notice := range answer.Frames[0].Meta.Notices {
		notices = append(notices, notice.Text)
	}
	want := "budgets: a store is down|budgets: native histograms of 1 series are left out|burn rates is missing: the server answered 500 Internal Server Error"
	if got := strings.Join(notices, "|"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestQueryData_says_what_there_is_no_data_of_and_gives_alerts_none(t *testing.T) {
	d := startFake(t).datasource(t, nil)
	for _, kind := range models.Types {
		if handlers[kind].ask == nil || kind == models.Breaches {
			continue
		}
		answer := ask(t, d, query("A", models.Query{QueryType: kind}))
		if answer.Error != nil || len(answer.Frames) != 1 || len(answer.Frames[0].Fields) != 0 || !strings.HasPrefix(answer.Frames[0].Meta.Notices[0].Text, "There is no data of ") {
			t.Errorf("%s: got %+v", kind, answer)
		}
	}
}

func TestQueryData_gives_an_alert_rule_one_frame_of_numbers(t *testing.T) {
	f := startFake(t)
	d := f.datasource(t, nil)
	q := query("A", models.Query{QueryType: models.Burn})
	f.tellAll(t, d, q, map[string]any{"burn rates": burnSeries(7), "burn thresholds": thresholds()})
	for header, want := range map[string]int{"true": 1, "": 2} {
		all, err := d.QueryData(t.Context(), &backend.QueryDataRequest{Headers: map[string]string{"FromAlert": header}, Queries: []backend.DataQuery{q}})
		if err != nil || len(all.Responses["A"].Frames) != want {
			t.Errorf("FromAlert %q: got %d frames, %v, want %d", header, len(all.Responses["A"].Frames), err, want)
		}
	}
}

func TestQueryData_asks_once_what_twenty_panels_ask(t *testing.T) {
	f := startFake(t)
	d := f.datasource(t, nil)
	var queries []backend.DataQuery
	for i := range 20 {
		queries = append(queries, query(fmt.Sprint(i), models.Query{QueryType: models.Budget}))
	}
	if _, err := d.QueryData(t.Context(), &backend.QueryDataRequest{Queries: queries}); err != nil {
		t.Fatal(err)
	}
	for expr, times := range f.asked {
		if times != 1 {
			t.Errorf("%s is asked %d times", expr, times)
		}
	}
	if len(f.asked) != 3 {
		t.Errorf("%d queries are asked, want the 3 of one panel", len(f.asked))
	}
}

func TestFailed_tells_whose_fault_it_is(t *testing.T) {
	for _, c := range []struct {
		err    error
		source backend.ErrorSource
		status int
	}{
		{&promapi.APIError{Type: "bad_data", Code: 400}, backend.ErrorSourcePlugin, 500},
		{&promapi.APIError{Type: "execution", Code: 422}, backend.ErrorSourceDownstream, 422},
		{&promapi.APIError{Type: "timeout", Code: 503}, backend.ErrorSourceDownstream, 504},
		{&promapi.StatusError{Code: 401}, backend.ErrorSourceDownstream, 401},
		{&promapi.StatusError{Code: 429}, backend.ErrorSourceDownstream, 429},
		{&promapi.StatusError{Code: 405}, backend.ErrorSourceDownstream, 502},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), backend.ErrorSourceDownstream, 504},
		{fmt.Errorf("x: %w", context.Canceled), backend.ErrorSourceDownstream, 499},
		{io.ErrUnexpectedEOF, backend.ErrorSourceDownstream, 502},
		{errQuery{errors.New("x")}, backend.ErrorSourceDownstream, 400},
	} {
		if got := failed(fmt.Errorf("budgets: %w", c.err)); got.ErrorSource != c.source || int(got.Status) != c.status {
			t.Errorf("%v: got %s %d, want %s %d", c.err, got.ErrorSource, got.Status, c.source, c.status)
		}
	}
}

func TestNew_sends_the_headers_of_the_settings_to_prometheus_and_nothing_of_them_to_exporters(t *testing.T) {
	var prometheus, exporter http.Header
	p := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { prometheus = r.Header }))
	defer p.Close()
	e := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { exporter = r.Header }))
	defer e.Close()
	instance, err := New(t.Context(), backend.DataSourceInstanceSettings{URL: p.URL, BasicAuthEnabled: true, BasicAuthUser: "user",
		JSONData:                []byte(`{"httpHeaderName1":"X-Scope-OrgID","exporterUrls":["` + e.URL + `/"]}`),
		DecryptedSecureJSONData: map[string]string{"basicAuthPassword": "secret", "httpHeaderValue1": "tenant"}})
	if err != nil {
		t.Fatal(err)
	}
	d := instance.(*Datasource)
	ask(t, d, query("A", models.Query{QueryType: models.Budget}))
	answer := ask(t, d, query("A", models.Query{QueryType: models.Requests}))
	if answer.Error == nil || strings.Contains(answer.Error.Error(), "secret") {
		t.Errorf("got %v", answer.Error)
	}
	if user, password, _ := (&http.Request{Header: prometheus}).BasicAuth(); user != "user" || password != "secret" || prometheus.Get("X-Scope-OrgID") != "tenant" {
		t.Errorf("prometheus got %v", prometheus)
	}
	if exporter == nil || exporter.Get("Authorization") != "" || exporter.Get("X-Scope-OrgID") != "" {
		t.Errorf("the exporter got %v", exporter)
	}
}

func TestRequests_can_be_asked_of_no_address_that_is_not_in_the_settings(t *testing.T) {
	d := startFake(t).datasource(t, map[string]any{"exporterUrls": []string{"http://127.0.0.1:1"}})
	for _, kind := range []string{models.Requests, models.Live} {
		answer := ask(t, d, query("A", models.Query{QueryType: kind, Exporter: "http://169.254.169.254/latest"}))
		if want := `exporter "http://169.254.169.254/latest" is none of those in the settings of the datasource`; answer.Error == nil || answer.Error.Error() != want || answer.Status != 400 {
			t.Errorf("%s: got %v, want %s", kind, answer.Error, want)
		}
	}
}

func TestNew_refuses_settings_that_cannot_work(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                               "the URL of Prometheus is missing: set it in the settings of the datasource",
		`{"prometheusUrl":"x:9090"}`:       `the URL of Prometheus "x:9090" must look like http://localhost:9090`,
		`{"prometheusUrl":"http://a?b=c"}`: `the URL of Prometheus "http://a?b=c" must have no query and no fragment`,
		`{"prometheusUrl":"http://a","exporterUrls":["ftp://u:secret@b"]}`:     `the URL of an exporter "ftp://u:xxxxx@b" must look like http://localhost:9090`,
		`{"prometheusUrl":"http://a","timeout":301}`:                           "timeout must be 0 to 300 seconds, got 301",
		`{"prometheusUrl":"http://a","selector":[{"name":"a b","value":"c"}]}`: `the selector in the settings: "a b" is no label: want letters, digits and underscores`,
		`{"prometheusUrl":7}`: "settings cannot be read: json: cannot unmarshal number into Go struct field Settings.prometheusUrl of type string",
	} {
		_, err := New(t.Context(), backend.DataSourceInstanceSettings{JSONData: []byte(text)})
		if err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestSummary_of_a_thousand_SLOs_is_one_table_with_the_least_budget_first(t *testing.T) {
	f := startFake(t)
	d := f.datasource(t, nil)
	var objectives, budgets []promapi.Series
	for i := range 1000 {
		of := []string{"service", fmt.Sprintf("service-%d", i), "slo", "availability"}
		objectives = append(objectives, series(of, 0.999))
		budgets = append(budgets, series(with(of, "window", "30d"), float64((i*7919)%1000)/1000))
	}
	q := query("A", models.Query{QueryType: models.SLOSummary})
	f.tellAll(t, d, q, map[string]any{"objectives": objectives, "budgets": budgets})
	answer := ask(t, d, q)
	if answer.Error != nil || answer.Frames[0].Rows() != 1000 {
		t.Fatalf("got %+v", answer)
	}
	for row := range 1000 {
		if got := at(t, answer.Frames[0], "budget_remaining", "", row); got != float64(row)/1000 {
			t.Fatalf("row %d has %v of its budget left", row, got)
		}
	}
	if len(f.asked) > 10 {
		t.Errorf("%d queries for one table", len(f.asked))
	}
}
