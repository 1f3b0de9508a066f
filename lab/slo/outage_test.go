// SPDX-License-Identifier: Apache-2.0

package slo

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// Two objectives about the same requests: of one an outage burns the budget 50 times faster than allowed, of the other no faster than allowed.
const objectives = `
services:
  - name: shop
    match: {ports: [%d]}
    slos:
      - {name: available, objective: 99, window: 288m, path: "/status/{code}"}
      - {name: lenient, objective: 50, window: 288m, path: "/status/{code}", method: GET}
`

// limit is how long each step may take: the slowest waits for 24 s of failures and for 16 s without.
const limit = 2 * time.Minute

// An outage of half of all requests, from the first failure to the end of the page. Only the fastest tier is heard while it lasts,
// and in the end the error budgets are those of the client's own log, to the last bit.
func TestOutage_is_one_page_and_costs_the_budget_what_the_client_has_logged(t *testing.T) {
	testenv.NeedRoot(t)
	server := labtest.StartServer(t, labtest.ServerOptions{})
	exporter := labtest.StartExporter(t, labtest.Options{
		Config: fmt.Sprintf(objectives, netip.MustParseAddrPort(server.Listen[0]).Port()),
	})
	exporter.WaitAttached(server.PID)
	manager, told := alertmanager(t)
	prom := prometheus(t, exporter.Addr, manager.Address)
	t.Cleanup(func() { t.Logf("notifications:\n%s", told) })

	// The events of all series are 0 at first. They are recorded as differences once Prometheus has known them for one increase and its delay.
	labtest.EventuallyWithin(t, limit, func() error {
		return wantValue(prom, `count(tcpslo_slo_events_total{service="shop"} offset 11s == 0)`, 4)
	})
	const shop = `{service="shop", slo="available"}`
	client := startClient(t, server.Listen[0])
	labtest.EventuallyWithin(t, limit, func() error {
		if events, err := value(prom, "slo:tcpslo_slo_events:increase_window"+shop); err != nil || events < 50 {
			return fmt.Errorf("%v events are recorded (%v)", events, err)
		}
		return nil
	})
	if err := wantValue(prom, `count(ALERTS{service="shop"}) or vector(0)`, 0); err != nil || told.String() != "" {
		t.Errorf("although all is well: %v\n%s", err, told)
	}

	client.fails.Store(true)
	labtest.EventuallyWithin(t, limit, func() error {
		have, err := manager.Inhibited(short)
		if err != nil {
			return err
		}
		delete(have, "ErrorBudgetBurn trickle available") // after 72 s, on a slow machine
		want := map[string]bool{
			"ErrorBudgetBurn fast available": false, "ErrorBudgetBurn medium available": true, "ErrorBudgetBurn slow available": true,
			"ErrorBudgetExhausted available": false,
		}
		if !maps.Equal(have, want) {
			return fmt.Errorf("kept back:\n%v, want\n%v", have, want)
		}
		return nil
	})
	const page, ticket = "firing: ErrorBudgetBurn fast available firing", "firing: ErrorBudgetExhausted available firing"
	heard := func() error {
		if pages, tickets := told.to("pager"), told.to("tickets"); !slices.Equal(pages, []string{page}) || !slices.Equal(tickets, []string{ticket}) {
			return fmt.Errorf("the pager was told %q, want %q\nthe tickets were told %q, want %q", pages, page, tickets, ticket)
		}
		return nil
	}
	labtest.Eventually(t, heard)

	// The fastest tier ends first. The page goes on with the next until all of it is over.
	client.fails.Store(false)
	labtest.EventuallyWithin(t, limit, func() error {
		pages := told.to("pager")
		if last := pages[len(pages)-1]; !strings.HasPrefix(last, "resolved: ") {
			return fmt.Errorf("the pager was last told %q", last)
		}
		return nil
	})
	ended := 0
	for _, line := range told.to("pager")[1:] {
		if strings.Contains(line, "fast available firing") {
			t.Errorf("the pager was told again: %q", line)
		}
		ended += strings.Count(line, "fast available resolved")
	}
	if ended == 0 {
		t.Errorf("the pager was told %q, and not that the fastest tier has ended", told.to("pager"))
	}
	if strings.Contains(told.String(), "lenient") {
		t.Error("there were notifications of an objective that was met")
	}

	all, bad := client.log()
	if bad == 0 || bad >= all/2 {
		t.Fatalf("%d of %d requests failed: there was no outage, or it did not end", bad, all)
	}
	ratio := float64(bad) / float64(all)
	recorded := func() error {
		var errs []error
		for slo, objective := range map[string]float64{"available": 0.99, "lenient": 0.5} {
			labels := fmt.Sprintf(`{service="shop", slo="%s"}`, slo)
			errs = append(errs,
				wantValue(prom, "sum(tcpslo_slo_events_total"+labels+")", float64(all)),
				wantValue(prom, "slo:tcpslo_slo_events:increase_window"+labels, float64(all)),
				wantValue(prom, "slo:tcpslo_slo_bad_events:increase_window"+labels, float64(bad)),
				wantValue(prom, "slo:tcpslo_slo_error:ratio_window"+labels, ratio),
				wantValue(prom, "slo:tcpslo_slo_error_budget_remaining:ratio"+labels, 1-ratio/(1-objective)))
		}
		return errors.Join(errs...)
	}
	labtest.EventuallyWithin(t, limit, recorded)
	labtest.Settles(t, recorded)
}
