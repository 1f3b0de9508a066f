// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tcpslo/tcpslo/exporter/config"
	"github.com/tcpslo/tcpslo/exporter/observe"
	"github.com/tcpslo/tcpslo/exporter/server"
	"github.com/tcpslo/tcpslo/exporter/timeline"
	"github.com/tcpslo/tcpslo/internal/testenv"
)

// handler serves one counter and, where a test needs it, an observer.
func handler(t *testing.T, o server.Options) http.Handler {
	t.Helper()
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "answers_total", Help: "Answers."})
	counter.Add(42)
	registry.MustRegister(counter)
	o.Gatherer, o.Log, o.MetricsPath = prometheus.ToTransactionalGatherer(registry), slog.New(slog.DiscardHandler), "/metrics"
	o.Requests = timeline.NewStore(1)
	h, err := server.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// observer observes this machine with nothing but the discovery of services.
func observer(t *testing.T) *observe.Observer {
	t.Helper()
	testenv.NeedRoot(t)
	c, err := config.Parse("tcpslo.yml", []byte("collectors: {http: false, listen: false, accept: false}"), []string{"http", "listen", "accept"})
	if err != nil {
		t.Fatal(err)
	}
	o, err := observe.Start(c, observe.Options{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return o
}

func ask(h http.Handler, method, path, accept string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, path, nil)
	request.Header.Set("Accept", accept)
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, request)
	return answer
}

func TestMetrics_come_in_the_format_that_the_client_asks_for(t *testing.T) {
	h := handler(t, server.Options{})
	for accept, want := range map[string][2]string{
		"":                         {"text/plain; version=0.0.4", "\nanswers_total 42\n"},
		"text/plain;version=0.0.4": {"text/plain; version=0.0.4", "\nanswers_total 42\n"},
		"application/openmetrics-text;version=1.0.0":                                                 {"application/openmetrics-text; version=1.0.0", "\nanswers_total 42.0\n# EOF\n"},
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited": {"application/vnd.google.protobuf", "answers_total"},
	} {
		answer := ask(h, http.MethodGet, "/metrics", accept)
		if answer.Code != http.StatusOK || !strings.HasPrefix(answer.Header().Get("Content-Type"), want[0]) || !strings.Contains(answer.Body.String(), want[1]) {
			t.Errorf("to a client that accepts %q: %d, %q\n%s", accept, answer.Code, answer.Header().Get("Content-Type"), answer.Body)
		}
	}
}

func TestHealth_is_told_without_an_observer(t *testing.T) {
	h := handler(t, server.Options{})
	for _, path := range []string{"/healthz", "/readyz"} {
		if answer := ask(h, http.MethodGet, path, ""); answer.Code != http.StatusOK || answer.Body.String() != "ok\n" {
			t.Errorf("%s: %d %q", path, answer.Code, answer.Body)
		}
	}
	if answer := ask(h, http.MethodGet, "/no/such/page", ""); answer.Code != http.StatusNotFound {
		t.Errorf("another page: %d, want 404", answer.Code)
	}
}

func TestReload_is_done_on_POST_and_PUT_where_it_is_allowed(t *testing.T) {
	var reloads int
	var failure error
	reload := func() error { reloads++; return failure }
	off, on := handler(t, server.Options{Reload: reload}), handler(t, server.Options{Reload: reload, Lifecycle: true})
	for _, step := range []struct {
		sentence, method string
		h                http.Handler
		err              error
		code, reloads    int
		body             string
	}{
		{"off by default", http.MethodPost, off, nil, http.StatusForbidden, 0, "reload over HTTP is off; start with --web.enable-lifecycle or send SIGHUP\n"},
		{"not by a link", http.MethodGet, on, nil, http.StatusMethodNotAllowed, 0, "only POST and PUT reload\n"},
		{"by POST", http.MethodPost, on, nil, http.StatusOK, 1, "reloaded\n"},
		{"by PUT", http.MethodPut, on, nil, http.StatusOK, 2, "reloaded\n"},
		{"with a bad file", http.MethodPost, on, errors.New("tcpslo.yml:3:1: no"), http.StatusInternalServerError, 3, "the configuration stays as it was: tcpslo.yml:3:1: no\n"},
	} {
		failure = step.err
		answer := ask(step.h, step.method, "/-/reload", "")
		if answer.Code != step.code || answer.Body.String() != step.body || reloads != step.reloads {
			t.Errorf("%s: %d %q after %d reloads, want %d %q after %d", step.sentence, answer.Code, answer.Body, reloads, step.code, step.body, step.reloads)
		}
	}
}

func TestAPI_tells_in_JSON_what_is_observed(t *testing.T) {
	o := observer(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	off, on := handler(t, server.Options{Observer: o}), handler(t, server.Options{Observer: o, API: true})
	for _, name := range []string{"services", "listeners", "slos", "connections", "findings", "probes", "requests"} {
		path := "/api/v1/" + name
		if answer := ask(off, http.MethodGet, path, ""); answer.Code != http.StatusNotFound {
			t.Errorf("%s answers %d although the interface is off", path, answer.Code)
		}
		answer := ask(on, http.MethodGet, path, "")
		if answer.Code != http.StatusOK || answer.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d, %q", path, answer.Code, answer.Header().Get("Content-Type"))
		}
		var told map[string][]map[string]any
		if err := json.Unmarshal(answer.Body.Bytes(), &told); err != nil || told[name] == nil {
			t.Errorf("%s: %v in %s", path, err, answer.Body)
		}
		if strings.Contains(answer.Body.String(), "null") {
			t.Errorf("%s has a null, which breaks clients that expect a list:\n%s", path, answer.Body)
		}
		if answer := ask(on, http.MethodPost, path, ""); answer.Code != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d, want 405", path, answer.Code)
		}
	}
}

func TestLanding_page_shows_each_probe_and_leads_to_the_metrics(t *testing.T) {
	o := observer(t)
	for _, api := range []bool{true, false} {
		answer := ask(handler(t, server.Options{Observer: o, API: api}), http.MethodGet, "/", "")
		page := answer.Body.String()
		if answer.Code != http.StatusOK || !strings.HasPrefix(answer.Header().Get("Content-Type"), "text/html") {
			t.Errorf("%d, %q", answer.Code, answer.Header().Get("Content-Type"))
		}
		for _, s := range o.Status() {
			if !strings.Contains(page, "<td>"+s.Program+"</td>") {
				t.Errorf("program %q is not on the page", s.Program)
			}
		}
		if !strings.Contains(page, `href="/metrics"`) || strings.Contains(page, "/api/v1/services") != api {
			t.Errorf("links are wrong with the interface %v:\n%s", api, page)
		}
	}
}
