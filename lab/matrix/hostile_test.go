// SPDX-License-Identifier: Apache-2.0

package matrix

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/lab/gobuild"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// flood sends requests over one connection, many before the first answer is
// read, and reads every answer. line gives "METHOD PATH".
func flood(t *testing.T, address string, requests int, line func(i int) string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	failed := make(chan error, 1)
	go func() {
		out := bufio.NewWriterSize(conn, 1<<16)
		for i := range requests {
			fmt.Fprintf(out, "%s HTTP/1.1\r\nHost: lab\r\n\r\n", line(i))
		}
		failed <- out.Flush()
	}()
	in := bufio.NewReaderSize(conn, 1<<16)
	for i := range requests {
		response, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			t.Fatalf("body of answer %d: %v", i, err)
		}
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
}

// word spells a number with letters only, so that it does not look like an id.
func word(i int) string {
	var b strings.Builder
	for range 4 {
		b.WriteByte('a' + byte(i%26))
		i /= 26
	}
	return b.String()
}

func total(series []labtest.Series) (n uint64) {
	for _, s := range series {
		n += s.Histogram.GetSampleCount()
	}
	return n
}

func distinct(series []labtest.Series, label string) map[string]bool {
	values := map[string]bool{}
	for _, s := range series {
		values[s.Labels[label]] = true
	}
	return values
}

// expect waits until a flood of n requests is counted, all of it, and returns
// the series.
func expect(t *testing.T, exporter *labtest.Exporter, n uint64) (series []labtest.Series) {
	t.Helper()
	labtest.Settles(t, func() error {
		exposition := exporter.Scrape()
		series = exposition.Series(duration, labtest.Labels{"service": "lab"})
		if got := total(series); got != n {
			return fmt.Errorf("%d requests counted, want %d", got, n)
		}
		handlers := exposition.Series("tcpslo_http_request_stage_seconds", labtest.Labels{"service": "lab", "stage": "handler"})
		if got := total(handlers); got != n {
			return fmt.Errorf("the stages of %d requests counted, want %d", got, n)
		}
		if paths := distinct(handlers, "path"); !maps.Equal(paths, distinct(series, "path")) {
			return fmt.Errorf("stages have %d paths, durations %d, or others", len(paths), len(distinct(series, "path")))
		}
		if lost := exposition.Value("tcpslo_lost_total", labtest.Labels{"probe": "http"}); lost != 0 {
			return fmt.Errorf("%v events lost", lost)
		}
		return nil
	})
	return series
}

func TestHundred_thousand_paths_are_all_counted_in_a_bounded_number_of_series(t *testing.T) {
	executable := build(t, gobuild.Spec{})
	exporter, server := service(t, executable, withService(executable), "-router", "bare")
	const requests = 100000
	flood(t, server.Listen[0], requests, func(i int) string { return "GET /nowhere/" + word(i) })
	series := expect(t, exporter, requests)
	if paths := distinct(series, "path"); len(paths) > 201 || !paths["other"] {
		t.Errorf("%d paths, want at most 200 and \"other\"", len(paths))
	}
}

func TestTen_thousand_methods_share_one_series(t *testing.T) {
	executable := build(t, gobuild.Spec{})
	exporter, server := service(t, executable, withService(executable))
	const requests = 10000
	flood(t, server.Listen[0], requests, func(i int) string { return strings.ToUpper(word(i)) + "QQQ /hello/you" })
	for method := range distinct(expect(t, exporter, requests), "method") {
		if method != "other" {
			t.Errorf("method %q, want only \"other\"", method)
		}
	}
}

func TestEvery_status_that_a_handler_can_write_is_counted_under_its_own_code(t *testing.T) {
	executable := build(t, gobuild.Spec{})
	exporter, server := service(t, executable, withService(executable))
	const first, last, rounds = 200, 999, 13
	flood(t, server.Listen[0], (last-first+1)*rounds, func(i int) string { return fmt.Sprintf("GET /status/%d", first+i%(last-first+1)) })
	series := expect(t, exporter, (last-first+1)*rounds)
	for _, s := range series {
		if s.Histogram.GetSampleCount() != rounds {
			t.Errorf("status %s: %d, want %d", s.Labels["status_code"], s.Histogram.GetSampleCount(), rounds)
		}
	}
	if n := len(distinct(series, "status_code")); n != last-first+1 {
		t.Errorf("%d statuses, want %d", n, last-first+1)
	}
}

func TestServer_killed_in_the_middle_of_requests_leaves_nothing_in_flight(t *testing.T) {
	executable := build(t, gobuild.Spec{})
	exporter, server := service(t, executable, withService(executable), "-read-header-timeout", "7s", "-idle-timeout", "90s")
	lab := labtest.Labels{"service": "lab"}
	const requests = 50
	for range requests {
		conn, err := net.Dial("tcp", server.Listen[0])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "GET /slow?ms=10000 HTTP/1.1\r\nHost: lab\r\n\r\n")
	}
	labtest.Eventually(t, func() error {
		if n := exporter.Scrape().Value("tcpslo_http_requests_in_flight", lab); n != requests {
			return fmt.Errorf("%v requests in flight, want %d", n, requests)
		}
		return nil
	})
	began := time.Now()
	time.Sleep(1200 * time.Millisecond)
	exposition := exporter.Scrape()
	if age := exposition.Value("tcpslo_http_oldest_request_seconds", lab); age < time.Since(began).Seconds()-0.5 || age > 10 {
		t.Errorf("the oldest request is %v s old, it has waited at least 1.2 s", age)
	}
	for timeout, want := range map[string]float64{"read_header": 7, "idle": 90, "read": 0, "write": 0} {
		if got := exposition.Value("tcpslo_http_server_timeout_seconds", lab.With("timeout", timeout)); got != want {
			t.Errorf("timeout %s: %v s, want %v", timeout, got, want)
		}
	}
	server.Kill()
	labtest.Eventually(t, func() error {
		exposition := exporter.Scrape()
		if n := len(exposition.Series("tcpslo_http_requests_in_flight", lab)); n != 0 {
			return errors.New("requests of a dead process are still in flight")
		}
		if n := exposition.Value("tcpslo_map_entries", labtest.Labels{"map": "goroutines"}); n != 0 {
			return fmt.Errorf("%v entries are left in the map", n)
		}
		return nil
	})
}
