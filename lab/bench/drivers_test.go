// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

const wrkOutput = `Running 2s test @ http://127.0.0.1:8080/hello/x
  1 threads and 4 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   110.63us  194.62us   5.06ms   96.62%
    Req/Sec    45.82k     4.13k   51.45k    76.19%
  Latency Distribution
     50%   69.00us
     75%   95.00us
     90%  156.00us
     99%    1.03ms
  95633 requests in 2.10s, 11.67MB read
Requests/sec:  45545.02
Transfer/sec:      5.56MB
`

func TestWrk_is_read(t *testing.T) {
	got, err := parseWrk([]byte(wrkOutput))
	if want := (result{requests: 95633, p50: 69e-6, p99: 1.03e-3, rps: 45545.02}); err != nil || got != want {
		t.Errorf("read %+v (%v), want %+v", got, err, want)
	}
}

func TestWrk_with_failed_requests_is_an_error(t *testing.T) {
	for _, line := range []string{"  Socket errors: connect 0, read 3, write 0, timeout 0\n", "  Non-2xx or 3xx responses: 95633\n"} {
		output := strings.Replace(wrkOutput, "Requests/sec", line+"Requests/sec", 1)
		if _, err := parseWrk([]byte(output)); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(line)) {
			t.Errorf("error %v, want one that tells %q", err, line)
		}
	}
}

func TestWrk_that_prints_something_else_is_an_error(t *testing.T) {
	if got, err := parseWrk([]byte("unable to connect\n")); err == nil {
		t.Errorf("read %+v", got)
	}
}
