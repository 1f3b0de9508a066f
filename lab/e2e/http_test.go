// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/lab/labtest"
)

// What lab/matrix tests thoroughly, in short: on every kernel, with uprobe.multi
// and with plain uprobes.
func TestRequests_to_a_Go_HTTP_server_are_counted_by_route_and_status(t *testing.T) {
	ex := start(t)
	server := labtest.StartServer(t, labtest.ServerOptions{})
	service := ex.WaitAttached(server.PID).Name
	want := map[string]uint64{"200": 30, "404": 7, "503": 3}
	client := http.Client{Timeout: 30 * time.Second} // keeps its connection
	for status, n := range want {
		for range n {
			get(t, &client, "http://"+server.Listen[0]+"/status/"+status, status)
		}
	}
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		mine := labtest.Labels{"service": service, "method": "GET"}
		var errs []error
		for status, n := range want {
			got := x.HistogramCount("tcpslo_http_request_duration_seconds", mine.With("status_code", status).With("path", "/status/{code}"))
			errs = append(errs, exact(x, fmt.Sprintf("requests answered with %s", status), got, n))
		}
		return errors.Join(append(errs,
			exact(x, "requests of the service", x.HistogramCount("tcpslo_http_request_duration_seconds", labtest.Labels{"service": service}), 40))...)
	})
}

// get wants a status and reads the answer to its end.
func get(t *testing.T, client *http.Client, url, status string) {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	if strconv.Itoa(resp.StatusCode) != status {
		t.Fatalf("%s answered %s, want %s", url, resp.Status, status)
	}
}
