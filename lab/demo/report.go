// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tcpslo/tcpslo/exporter/slo"
)

// threshold is that of the default latency objective, in seconds.
const threshold = 0.2

// report is what the demo prints: what the exporter counted, beside what the
// client and the kernel counted.
type report struct {
	metrics     exposition
	truth       *counts
	kernelDrops int
	style       style
}

// errDiffers is what a count that is not the true one gives.
type errDiffers struct{ differences int }

func (e errDiffers) Error() string {
	return fmt.Sprintf("%d counts differ from the truth; tcpslo_lost_total and the exporter's log may tell why", e.differences)
}

// requestRow is what is known of requests with the same labels.
type requestRow struct {
	request
	sent    int
	counted uint64
	late    uint64 // above the threshold
	p50     float64
	p99     float64
}

func (r report) print(out io.Writer) error {
	rows, err := r.requests()
	if err != nil {
		return err
	}
	differences := r.printRequests(out, rows)
	r.printStages(out, rows)
	differences += r.printListeners(out)
	r.printObjectives(out)
	r.printFindings(out, rows)
	r.printCost(out, rows)
	if differences > 0 {
		return errDiffers{differences}
	}
	return nil
}

// requests joins what was counted with what was sent. What only one of them
// knows has a row too.
func (r report) requests() ([]requestRow, error) {
	found := map[request]*requestRow{}
	for sent, n := range r.truth.n {
		found[sent] = &requestRow{request: sent, sent: n, p50: math.NaN(), p99: math.NaN()}
	}
	for _, m := range r.metrics.series("tcpslo_http_request_duration_seconds", labels{"service": busyService}) {
		key := request{method: labelOf(m, "method"), path: labelOf(m, "path"), status: labelOf(m, "status_code")}
		row := found[key]
		if row == nil {
			row = &requestRow{request: key}
			found[key] = row
		}
		h := m.GetHistogram()
		fast, err := within(h, threshold)
		if err != nil {
			return nil, err
		}
		row.counted, row.late = h.GetSampleCount(), h.GetSampleCount()-fast
		row.p50, row.p99 = quantile(h, 0.5), quantile(h, 0.99)
	}
	var rows []requestRow
	for _, row := range found {
		rows = append(rows, *row)
	}
	slices.SortFunc(rows, func(a, b requestRow) int {
		return cmp.Or(cmp.Compare(b.sent, a.sent), cmp.Compare(a.path, b.path), cmp.Compare(a.method, b.method), cmp.Compare(a.status, b.status))
	})
	return rows, nil
}

func (r report) printRequests(out io.Writer, rows []requestRow) (differences int) {
	t := table{style: r.style, header: []string{"METHOD", "PATH", "STATUS", ">CLIENT SENT", ">COUNTED", ">P50", ">P99"}}
	for _, row := range rows {
		equal := uint64(row.sent) == row.counted
		if !equal {
			differences++
		}
		t.add(row.method, row.path, r.statusText(row.status), thousands(row.sent), r.verdict(thousands(int(row.counted)), equal),
			milliseconds(row.p50), milliseconds(row.p99))
	}
	r.title(out, busyService, "requests, timed inside a server that was neither changed nor restarted")
	t.print(out)
	return differences
}

func (r report) statusText(status string) string {
	if status == "panic" || status >= "500" {
		return r.style.red(status)
	}
	return status
}

func (r report) printListeners(out io.Writer) (differences int) {
	refusedInAll := 0.0
	t := table{style: r.style, header: []string{"SERVICE", "LISTENER", ">QUEUED NOW", ">LIMIT", ">CONNECTIONS", ">REFUSED", ">HANDSHAKE P50", ">ACCEPT P99"}}
	for _, service := range []string{busyService, stuckService} {
		own := labels{"service": service}
		refused := r.metrics.sum("tcpslo_listen_drops_total", own)
		refusedInAll += refused
		text := thousands(int(refused))
		if refused > 0 {
			text = r.style.red(text)
		}
		t.add(service, r.listener(service),
			thousands(int(r.metrics.sum("tcpslo_listen_accept_queue_connections", own))),
			thousands(int(r.metrics.sum("tcpslo_listen_accept_queue_limit", own))),
			thousands(int(r.metrics.sum("tcpslo_listen_queued_connections_total", own))), text,
			milliseconds(r.quantileOf("tcpslo_tcp_handshake_seconds", own, 0.5)),
			milliseconds(r.quantileOf("tcpslo_accept_wait_seconds", own, 0.99)))
	}
	r.title(out, "listeners", "their accept queues, and what the kernel refused without a word to anyone")
	t.print(out)
	equal := int(refusedInAll) == r.kernelDrops
	if !equal {
		differences++
	}
	fmt.Fprintf(out, "  refused by listener %.0f, ListenDrops in /proc/net/netstat +%s\n", refusedInAll, r.verdict(strconv.Itoa(r.kernelDrops), equal))
	return differences
}

// listener is the address of a service that has one.
func (r report) listener(service string) string {
	for _, m := range r.metrics.series("tcpslo_listen_accept_queue_limit", labels{"service": service}) {
		return labelOf(m, "listener")
	}
	return "-"
}

// quantileOf is NaN unless there is exactly one such series.
func (r report) quantileOf(name string, want labels, q float64) float64 {
	if series := r.metrics.series(name, want); len(series) == 1 {
		return quantile(series[0].GetHistogram(), q)
	}
	return math.NaN()
}

// meanOf is NaN unless there are observations.
func (r report) meanOf(name string, want labels) float64 {
	var sum, count float64
	for _, m := range r.metrics.series(name, want) {
		sum += m.GetHistogram().GetSampleSum()
		count += float64(m.GetHistogram().GetSampleCount())
	}
	return sum / count
}

func (r report) printObjectives(out io.Writer) {
	t := table{style: r.style, header: []string{"SLO", ">OBJECTIVE", ">GOOD", ">BAD", ">BUDGET SPENT"}}
	for _, m := range r.metrics.series("tcpslo_slo_objective_ratio", labels{"service": busyService}) {
		name, objective := labelOf(m, "slo"), m.GetGauge().GetValue()
		counted := func(verdict string) uint64 {
			return uint64(r.metrics.sum("tcpslo_slo_events_total", labels{"service": busyService, "slo": name, "verdict": verdict}))
		}
		events := slo.Events{Good: counted("good"), Bad: counted("bad")}
		burnt := slo.BurnRate(events.ErrorRatio(), 1-objective)
		spent := fmt.Sprintf("%.0f %%", 100*burnt)
		if burnt > 1 {
			spent = r.style.red(spent)
		}
		t.add(name, fmt.Sprintf("%.1f %%", objective*100), fmt.Sprintf("%.2f %%", 100*(1-events.ErrorRatio())), thousands(int(events.Bad)), spent)
	}
	r.title(out, "objectives", fmt.Sprintf("those that a service has by default: no 5xx and no panic; and within %.0f ms, counted and not estimated", threshold*1000))
	t.print(out)
}

func (r report) printFindings(out io.Writer, rows []requestRow) {
	r.title(out, "what to look at", "")
	if refused := r.metrics.sum("tcpslo_listen_drops_total", labels{"service": stuckService}); refused > 0 {
		limit := r.metrics.sum("tcpslo_listen_accept_queue_limit", labels{"service": stuckService})
		fmt.Fprintf(out, "  • %s refused %.0f connection attempts: its accept queue is full (backlog %.0f). Each costs its client a second or more until\n"+
			"    TCP tries again, while CPU, memory and the log of the service look normal.\n", stuckService, refused, limit)
	}
	worst := slices.MaxFunc(rows, func(a, b requestRow) int { return cmp.Compare(a.late, b.late) })
	if worst.late > 0 {
		fmt.Fprintf(out, "  • %s %s: %d of %d requests took longer than %.0f ms in the handler.\n", worst.method, worst.path, worst.late, worst.counted, threshold*1000)
	}
	dripped := labels{"service": busyService, "path": "/status/{code}", "stage": "parse"}
	if parse := r.meanOf("tcpslo_http_request_stage_seconds", dripped); parse > 0.01 {
		fmt.Fprintf(out, "  • GET /status/{code}: the handler is done at once, but requests come in pieces (parse takes %s in the mean): a client or its line is slow.\n", milliseconds(parse))
	}
	for _, row := range rows {
		if row.status == "panic" && row.counted > 0 {
			fmt.Fprintf(out, "  • %s %s panicked %d times: no status code, no access log, and here a row of its own.\n", row.method, row.path, row.counted)
		}
	}
	// Without a ReadHeaderTimeout net/http takes the ReadTimeout.
	unlimited := r.metrics.series("tcpslo_http_server_timeout_seconds", labels{"service": busyService, "timeout": "read_header"})
	for _, name := range []string{"read_header", "read"} {
		if r.metrics.sum("tcpslo_http_server_timeout_seconds", labels{"service": busyService, "timeout": name}) > 0 {
			unlimited = nil
		}
	}
	if len(unlimited) > 0 {
		fmt.Fprintf(out, "  • %s has neither http.Server.ReadHeaderTimeout nor ReadTimeout (read from the live server): a client can hold a connection for ever.\n", busyService)
	}
}

func (r report) printCost(out io.Writer, rows []requestRow) {
	var total uint64
	for _, row := range rows {
		total += row.counted
	}
	own := labels{"service": busyService}
	hits, overhead := r.metrics.sum("tcpslo_probe_service_hits_total", own), r.metrics.sum("tcpslo_probe_overhead_seconds_total", own)
	trap := r.metrics.sum("tcpslo_uprobe_trap_seconds", nil)
	fmt.Fprintf(out, "\n  What it cost %s: %.2f probe hits and %.1f µs a request; a hit's trap alone takes %.1f µs on this machine.\n\n",
		busyService, hits/float64(total), overhead/float64(total)*1e6, trap*1e6)
}

func (r report) title(out io.Writer, title, text string) {
	fmt.Fprintf(out, "\n%s\n", strings.TrimRight(r.style.bold(strings.ToUpper(title))+"  "+r.style.dim(text), " "))
}

func (r report) verdict(text string, equal bool) string {
	if equal {
		return text + " " + r.style.green("✓")
	}
	return text + " " + r.style.red("✗")
}

// milliseconds writes seconds with three significant digits.
func milliseconds(seconds float64) string {
	switch ms := seconds * 1000; {
	case math.IsNaN(ms):
		return "-"
	case ms < 1:
		return fmt.Sprintf("%.3f ms", ms)
	case ms < 10:
		return fmt.Sprintf("%.2f ms", ms)
	default:
		return fmt.Sprintf("%.1f ms", ms)
	}
}

// thousands writes 12345 as 12,345.
func thousands(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// steps says what has been done, and how long it took.
type steps struct {
	out   io.Writer
	style style
	began time.Time
}

func newSteps(out io.Writer) *steps { return &steps{out: out, style: styleOf(out), began: time.Now()} }

func (s *steps) done(format string, args ...any) {
	fmt.Fprintf(s.out, "  %s %s %s\n", s.style.green("✓"), fmt.Sprintf(format, args...), s.style.dim(fmt.Sprintf("%.1f s", time.Since(s.began).Seconds())))
	s.began = time.Now()
}
