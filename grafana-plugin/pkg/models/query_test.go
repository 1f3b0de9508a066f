// SPDX-License-Identifier: Apache-2.0

package models

import (
	"reflect"
	"testing"
	"time"
)

func TestParseQuery_fills_in_what_is_left_out_and_puts_lists_in_one_order(t *testing.T) {
	for text, want := range map[string]Query{
		`{}`: {QueryType: Burn, Mode: ModeShare, Quantile: DefaultQuantile, Limit: DefaultLimit},
		`{"queryType":"requests","service":"b","services":["c","","a","b"],"slo":"x","paths":["/"],"listener":"l","netns":"n","mode":"quantile","quantile":0.5,"limit":7,"exporter":"http://e/"}`: {
			QueryType: Requests, Services: []string{"a", "b", "c"}, SLOs: []string{"x"}, Paths: []string{"/"}, Listeners: []string{"l"}, NetNS: "n", Mode: ModeQuantile, Quantile: 0.5, Limit: 7, Exporter: "http://e"},
	} {
		got, err := ParseQuery([]byte(text), Burn)
		for _, list := range []*[]string{&got.Services, &got.SLOs, &got.Paths, &got.Listeners} {
			if len(*list) == 0 {
				*list = nil
			}
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", text, got, err, want)
		}
	}
	if got, err := ParseQuery([]byte(`{}`), ""); err != nil || got.QueryType != SLOSummary {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestParseQuery_refuses_what_no_query_can_be(t *testing.T) {
	for text, want := range map[string]string{
		`{"mode":"mean"}`:        `mode must be "share" or "quantile", got "mean"`,
		`{"quantile":1}`:         "quantile must be above 0 and below 1, got 1",
		`{"limit":1001}`:         "limit must be 1 to 1000, got 1001",
		`{"limit":-1}`:           "limit must be 1 to 1000, got -1",
		`{"queryType":"promql"}`: `query type "promql" is not known, want one of slo_summary, budget, burn, latency_stages, accept_balance, listen_queue, causes, breaches, requests, live`,
		`{"services":"a"}`:       "query cannot be read: json: cannot unmarshal string into Go struct field Query.services of type []string",
	} {
		if _, err := ParseQuery([]byte(text), ""); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestParseSettings_takes_the_datasources_own_URL_where_it_has_none(t *testing.T) {
	s, err := ParseSettings([]byte(`{"exporterUrls":["http://a:10984/"],"timeout":2.5}`), "http://p:9090/prometheus/")
	if err != nil || s.PrometheusURL != "http://p:9090/prometheus" || s.ExporterURLs[0] != "http://a:10984" || s.QueryTimeout() != 2500*time.Millisecond {
		t.Errorf("got %+v, %v", s, err)
	}
	if s, err = ParseSettings(nil, "https://p"); err != nil || s.QueryTimeout() != DefaultTimeout {
		t.Errorf("got %+v, %v", s, err)
	}
	if s, err = ParseSettings([]byte(`{"prometheusUrl":"http://q"}`), "https://p"); err != nil || s.PrometheusURL != "http://q" {
		t.Errorf("got %+v, %v", s, err)
	}
}
