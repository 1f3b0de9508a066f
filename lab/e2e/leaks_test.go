// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"testing"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// Metrics of the collector of goroutines.
const (
	goroutines    = "tcpslo_goroutines"
	goroutineLeak = "tcpslo_goroutine_leak_suspected"
	openFDs       = "tcpslo_open_fds"

	fdsWithoutOwner = "tcpslo_fds_without_owner"
)

// impatient finds leaks within seconds.
const impatient = "collectors: {goruntime: {interval: 0s, leak_window: 1s, leak_windows: 2}}"

// lab is the service label of lab/server.
func lab(t *testing.T, ex *labtest.Exporter, pid int) labtest.Labels {
	t.Helper()
	return labtest.Labels{"service": ex.WaitAttached(pid).Name}
}

func TestLeak_of_goroutines_is_found_with_the_function_that_created_them(t *testing.T) {
	testenv.NeedRoot(t)
	ex := labtest.StartExporter(t, labtest.Options{Config: impatient})
	server := labtest.StartServer(t, labtest.ServerOptions{})
	of := lab(t, ex, server.PID)
	leaked := 0.0
	labtest.Eventually(t, func() error {
		get(t, http.DefaultClient, "http://"+server.Listen[0]+"/leak?n=3", "200")
		leaked += 3
		if len(ex.Scrape().Series(goroutineLeak, of)) == 0 {
			return fmt.Errorf("no leak is suspected after %v goroutines", leaked)
		}
		return nil
	})
	byLeak := maps.Clone(of)
	byLeak["created_by"] = "main.leak"
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		if got := x.Value(goroutineLeak, of); got != leaked || x.Value(goroutineLeak, byLeak) != leaked {
			return fmt.Errorf("%v goroutines left behind, %v of them by main.leak; want %v", got, x.Value(goroutineLeak, byLeak), leaked)
		}
		return same("goroutines created by main.leak", x.Value(goroutines, byLeak), leaked)
	})
}

func TestOpen_descriptors_are_those_of_procfs(t *testing.T) {
	testenv.NeedRoot(t)
	ex := labtest.StartExporter(t, labtest.Options{Config: impatient})
	server := labtest.StartServer(t, labtest.ServerOptions{})
	of := lab(t, ex, server.PID)
	labtest.Settles(t, func() error {
		got := ex.Scrape().Value(openFDs, of)
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", server.PID))
		if err != nil {
			t.Fatal(err)
		}
		return same("open descriptors", got, float64(len(entries)))
	})
}

func TestConnections_that_nobody_serves_are_found_and_a_clean_server_has_no_finding(t *testing.T) {
	testenv.NeedRoot(t)
	ex := labtest.StartExporter(t, labtest.Options{Config: impatient})
	server, clean := labtest.StartServer(t, labtest.ServerOptions{}), labtest.StartServer(t, labtest.ServerOptions{})
	of, ofClean := ex.WaitAttached(server.PID), ex.WaitAttached(clean.PID)
	if of.Name != ofClean.Name {
		t.Fatalf("services %q and %q, want one", of.Name, ofClean.Name)
	}
	addr := netip.MustParseAddrPort(server.Listen[0])
	hijacked := labtest.DialMany(t, nil, addr, 3, labtest.DialOptions{})
	labtest.DialMany(t, nil, netip.MustParseAddrPort(clean.Listen[0]), 3, labtest.DialOptions{})
	for _, conn := range hijacked {
		conn.Send(t, "GET /forget HTTP/1.1\r\nHost: lab\r\n\r\n")
	}
	labtest.Settles(t, func() error {
		found := ex.Findings(server.PID)
		if len(found) != 1 || found[0].Kind != "hijacked_forgotten" || found[0].Count != 3 || found[0].Service != of.Name || found[0].Since.IsZero() || found[0].Summary == "" || found[0].Remedy == "" {
			return fmt.Errorf("findings %+v, want 3 hijacked and forgotten connections", found)
		}
		return same("descriptors without owner", ex.Scrape().Value(fdsWithoutOwner, labtest.Labels{"service": of.Name}), 3)
	})
	if found := ex.Findings(clean.PID); len(found) != 0 {
		t.Errorf("a clean server: %+v", found)
	}
}
