// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"maps"
	"net/http"
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
