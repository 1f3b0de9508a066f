// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
)

// kept is a gatherer that hands out the same families again and again and counts
// the numbers in them up, as that of the probes does: between Gather and done they
// must not change.
type kept struct {
	mu       sync.Mutex
	families []*dto.MetricFamily
	err      error
}

func (k *kept) Gather() ([]*dto.MetricFamily, func(), error) {
	k.mu.Lock()
	for _, f := range k.families {
		for _, m := range f.Metric {
			if m.Gauge != nil {
				*m.Gauge.Value++
			}
		}
	}
	return k.families, k.mu.Unlock, k.err
}

func scrapeOf(h http.Handler, target string, header ...string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(http.MethodGet, target, nil)
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, request)
	return answer
}

// gauges is a family of n gauges that all show the same.
func gauges(name string, n int) *dto.MetricFamily {
	f := familyOf(name, "A level.", dto.MetricType_GAUGE)
	for i := range n {
		f.Metric = append(f.Metric, &dto.Metric{Label: labelsOf("number", fmt.Sprint(i)), Gauge: &dto.Gauge{Value: new(float64)}})
	}
	return f
}

func handlerOf(g prometheus.TransactionalGatherer, atOnce int) http.Handler {
	return newMetricsHandler(g, atOnce, slog.New(slog.DiscardHandler))
}

// The ground truth is client_golang's own handler.
func TestMetricsHandler_answers_as_promhttp_does(t *testing.T) {
	families := append(everything(), gauges("tcpslo_many", 20_000)) // a megabyte
	unknown := unknown()
	for _, sentence := range slices.Sorted(maps.Keys(unknown)) {
		switch sentence {
		case "another type of value", "no metric", "no name", "a count that is a float", "a bucket that is a float": // errors, some in OpenMetrics alone
		default:
			families = append(families, unknown[sentence])
		}
	}
	gatherer := prometheus.ToTransactionalGatherer(prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return families, nil }))
	ours, theirs := handlerOf(gatherer, 0), promhttp.HandlerForTransactional(gatherer, promhttp.HandlerOpts{EnableOpenMetrics: true})
	for _, accept := range []string{
		"", "text/plain;version=0.0.4", "application/openmetrics-text;version=1.0.0", "application/openmetrics-text;version=0.0.1", "text/plain;version=1.0.0;escaping=allow-utf-8", "nonsense",
		"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
		"application/openmetrics-text;version=2.0.0", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
	} {
		for _, target := range []string{"/metrics", "/metrics?name[]=tcpslo_level&name[]=tcpslo_wait_seconds", "/metrics?name[]=none"} {
			got, want := scrapeOf(ours, target, "Accept", accept), scrapeOf(theirs, target, "Accept", accept)
			if got.Code != want.Code || got.Header().Get("Content-Type") != want.Header().Get("Content-Type") || fmt.Sprint(got.Header()["Vary"]) != fmt.Sprint(want.Header()["Vary"]) {
				t.Errorf("%s, %q: got %d %v, want %d %v", target, accept, got.Code, got.Header(), want.Code, want.Header())
			}
			// The text forms of protobuf have random spaces.
			if !bytes.Equal(got.Body.Bytes(), want.Body.Bytes()) && !strings.HasSuffix(accept, "encoding=text") {
				t.Errorf("%s, %q: %d bytes, want %d, or others", target, accept, got.Body.Len(), want.Body.Len())
			}
		}
	}
}

func TestMetricsHandler_compresses_for_clients_that_accept_it(t *testing.T) {
	h := handlerOf(&kept{families: []*dto.MetricFamily{gauges("tcpslo_many", 20_000)}}, 0)
	plain := scrapeOf(h, "/metrics").Body.String()
	for accepted, want := range map[string]string{
		"gzip": "gzip", "deflate, gzip;q=0.5": "gzip", "*": "gzip", "br;q=1.0, gzip ; q=1": "gzip", "": "", "br": "", "gzip;q=0": "", "gzip;q=0.0, identity": "",
	} {
		answer := scrapeOf(h, "/metrics", "Accept-Encoding", accepted)
		if got := answer.Header().Get("Content-Encoding"); got != want {
			t.Errorf("%q: encoding %q, want %q", accepted, got, want)
			continue
		}
		var body io.Reader = answer.Body
		if want == "gzip" {
			var err error
			if body, err = gzip.NewReader(answer.Body); err != nil {
				t.Fatal(err)
			}
		}
		text, err := io.ReadAll(body)
		if err != nil || len(text) < len(plain) { // the numbers grow
			t.Errorf("%q: %d bytes (%v), want at least %d", accepted, len(text), err, len(plain))
		}
	}
}

func TestMetricsHandler_tells_errors_and_serves_what_there_is(t *testing.T) {
	k := &kept{err: errors.New("no map")}
	if answer := scrapeOf(handlerOf(k, 0), "/metrics"); answer.Code != http.StatusInternalServerError || !strings.Contains(answer.Body.String(), "no map") {
		t.Errorf("nothing gathered: %d %s", answer.Code, answer.Body)
	}
	untyped := familyOf("tcpslo_broken", "B.", dto.MetricType_COUNTER, &dto.Metric{}) // expfmt refuses it
	k.families = []*dto.MetricFamily{untyped, gauges("tcpslo_level", 1)}
	for range 2 { // the first has given back what it gathered
		if answer := scrapeOf(handlerOf(k, 0), "/metrics"); answer.Code != http.StatusOK || !strings.Contains(answer.Body.String(), `tcpslo_level{number="0"}`) {
			t.Errorf("something gathered: %d %s", answer.Code, answer.Body)
		}
	}
}

// slow is a client that reads nothing until it is let.
type slow struct {
	header http.Header
	let    chan struct{}
	begun  chan struct{}
	once   sync.Once
	body   bytes.Buffer
}

func (s *slow) Header() http.Header { return s.header }
func (s *slow) WriteHeader(int)     {}
func (s *slow) Write(b []byte) (int, error) {
	s.once.Do(func() { close(s.begun) })
	<-s.let
	return s.body.Write(b)
}

func TestMetricsHandler_lets_no_slow_client_stop_another_or_see_its_numbers(t *testing.T) {
	const n = 100_000 // megabytes, more than wait for a client
	h := handlerOf(&kept{families: []*dto.MetricFamily{gauges("tcpslo_many", n)}}, 2)
	first := &slow{header: http.Header{}, let: make(chan struct{}), begun: make(chan struct{})}
	var answered sync.WaitGroup
	answered.Go(func() { h.ServeHTTP(first, httptest.NewRequest(http.MethodGet, "/metrics", nil)) })
	<-first.begun
	for i := 2; i < 5; i++ {
		body := scrapeOf(h, "/metrics").Body.String()
		if got := strings.Count(body, fmt.Sprintf("} %d\n", i)); got != n {
			t.Errorf("scrape %d: %d series show its number, want %d", i, got, n)
		}
	}
	close(first.let)
	answered.Wait()
	if got := strings.Count(first.body.String(), "} 1\n"); got != n {
		t.Errorf("the slow client got %d series of its scrape, want %d", got, n)
	}
}

func TestMetricsHandler_answers_no_more_requests_at_once_than_allowed(t *testing.T) {
	h := handlerOf(&kept{families: []*dto.MetricFamily{gauges("tcpslo_level", 1)}}, 1)
	first := &slow{header: http.Header{}, let: make(chan struct{}), begun: make(chan struct{})}
	var answered sync.WaitGroup
	answered.Go(func() { h.ServeHTTP(first, httptest.NewRequest(http.MethodGet, "/metrics", nil)) })
	<-first.begun
	const want = "Limit of concurrent requests reached (1), try again later.\n"
	if answer := scrapeOf(h, "/metrics"); answer.Code != http.StatusServiceUnavailable || answer.Body.String() != want {
		t.Errorf("the second request: %d %q, want 503 %q", answer.Code, answer.Body, want)
	}
	close(first.let)
	answered.Wait()
	if answer := scrapeOf(h, "/metrics"); answer.Code != http.StatusOK {
		t.Errorf("a request after the first: %d", answer.Code)
	}
}

// A client may go in the middle of an answer.
func TestMetricsHandler_survives_clients_that_go(t *testing.T) {
	k := &kept{families: []*dto.MetricFamily{gauges("tcpslo_many", 100_000)}}
	s := httptest.NewServer(handlerOf(k, 0))
	defer s.Close()
	for range 5 {
		client, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(client, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(client, make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		client.Close()
	}
	deadline := time.AfterFunc(10*time.Second, func() { panic("what was gathered is not given back") })
	defer deadline.Stop()
	if answer := scrapeOf(handlerOf(k, 0), "/metrics"); answer.Code != http.StatusOK {
		t.Errorf("a later scrape: %d", answer.Code)
	}
}

// 3,000 histograms are what 1,000 listeners have; DESIGN §8 leaves 10 ms for all
// of a scrape.
func BenchmarkEncode_3000_histograms(b *testing.B) {
	f := familyOf("tcpslo_accept_wait_seconds", "Wait.", dto.MetricType_HISTOGRAM)
	bounds := prometheus.ExponentialBuckets(0.0001, 2, 16)
	for i := range 3000 {
		f.Metric = append(f.Metric, &dto.Metric{Label: labelsOf("listener", fmt.Sprintf("127.0.0.1:%d", i), "netns", "", "service", "shop"), Histogram: histogramOf(0.1234567+float64(i), uint64(i), bounds, nil)})
	}
	for _, c := range []struct{ name, accept string }{
		{"text", "text/plain;version=0.0.4"},
		{"OpenMetrics", "application/openmetrics-text;version=1.0.0"},
		{"protobuf", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"},
	} {
		for name, h := range map[string]http.Handler{
			"ours":     handlerOf(&kept{families: []*dto.MetricFamily{f}}, 0),
			"promhttp": promhttp.HandlerForTransactional(&kept{families: []*dto.MetricFamily{f}}, promhttp.HandlerOpts{EnableOpenMetrics: true}),
		} {
			b.Run(c.name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
					request.Header.Set("Accept", c.accept)
					answer := &slow{header: http.Header{}, let: make(chan struct{}), begun: make(chan struct{})}
					close(answer.let)
					h.ServeHTTP(discard{answer}, request)
				}
			})
		}
	}
}

// discard forgets what is written.
type discard struct{ http.ResponseWriter }

func (discard) Write(b []byte) (int, error) { return len(b), nil }
