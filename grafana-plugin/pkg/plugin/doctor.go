// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promapi"
)

// verdict is what a check of the doctor found.
type verdict string

const (
	good    verdict = "ok"
	warning verdict = "warning" // something works less well than it could
	bad     verdict = "error"   // panels are empty or wrong
	unknown verdict = "unknown" // this server does not tell
)

// finding is the result of one check.
type finding struct {
	Check   string  `json:"check"`
	Verdict verdict `json:"verdict"`
	// Text says what was found, Fix what helps; Fix is empty where nothing is wrong.
	Text string `json:"text"`
	Fix  string `json:"fix,omitempty"`
}

// doctor looks at all that SLO panels need, in the order in which one depends on another. Without Prometheus
// it ends after the first.
func (d *Datasource) doctor(ctx context.Context) []finding {
	first := d.checkPrometheus(ctx)
	all := []finding{first}
	if first.Verdict == bad {
		return all
	}
	for _, check := range []func(context.Context) finding{d.checkExporters, d.checkScrapeInterval, d.checkRules, d.checkRecorded, d.checkRetention, d.checkAPI} {
		all = append(all, check(ctx))
	}
	return all
}

func (d *Datasource) now(ctx context.Context, expr string) (*promapi.Result, error) {
	return d.queries.Ask(ctx, promapi.Query{Expr: expr, Grid: promapi.At(d.clock()), Instant: true})
}

func (d *Datasource) checkPrometheus(ctx context.Context) finding {
	const check = "Prometheus"
	if _, err := d.now(ctx, "vector(1)"); err != nil {
		return finding{check, bad, err.Error(), "Set the URL, and user, password, token and TLS if it needs them, in the settings of the datasource; Grafana's server must reach it."}
	}
	var build struct{ Version string }
	if err := d.api.Get(ctx, "status/buildinfo", nil, &build); err != nil || build.Version == "" {
		return finding{check, good, "It answers.", ""}
	}
	return finding{check, good, "It answers: version " + build.Version + ".", ""}
}

func (d *Datasource) checkExporters(ctx context.Context) finding {
	const check = "Exporters"
	versions, err := d.now(ctx, "count by (version) ("+d.sel(buildInfo)+")")
	if err != nil {
		return finding{check, bad, err.Error(), "See what Prometheus says of the query."}
	}
	if len(versions.Series) == 0 {
		return finding{check, bad, "No series of " + buildInfo + ": Prometheus scrapes no tcpslo_exporter, or the selector in the settings leaves all out.", "Add the exporters to scrape_configs, job_name: tcpslo, port 10984."}
	}
	var told []string
	total := 0.0
	for _, s := range sorted(versions.Series) {
		told = append(told, fmt.Sprintf("%.0f of version %s", s.Value(), s.Labels["version"]))
		total += s.Value()
	}
	text := fmt.Sprintf("%.0f scraped: %s.", total, strings.Join(told, ", "))
	// A target that is down has no build info: those of the same jobs count.
	if down, err := d.now(ctx, "("+d.sel("up")+" == 0) and on (job) "+d.sel(buildInfo)); err == nil && len(down.Series) > 0 {
		var names []string
		for _, s := range down.Series {
			names = append(names, s.Labels["instance"])
		}
		slices.Sort(names)
		return finding{check, warning, fmt.Sprintf("%s %d can't be scraped: %s.", text, len(names), strings.Join(names[:min(10, len(names))], ", ")), "Look at Prometheus's page /targets for the reason; events of those machines are in no SLO."}
	}
	if len(told) > 1 {
		return finding{check, warning, text, "Bring all exporters to the same version."}
	}
	return finding{check, good, text, ""}
}

// baseWindow is the shortest window of the rules. Four scrapes must fit into it, for rate() needs two and
// one may fail.
const baseWindow = 5 * time.Minute

func (d *Datasource) checkScrapeInterval(ctx context.Context) finding {
	const check = "Scrape interval"
	samples, err := d.now(ctx, "min(count_over_time("+d.sel(buildInfo)+"["+duration(baseWindow)+"]))")
	if err != nil || len(samples.Series) == 0 {
		return finding{check, unknown, "Nothing is scraped.", ""}
	}
	if n := samples.Series[0].Value(); n < 4 {
		return finding{check, warning, fmt.Sprintf("One exporter was scraped %.0f times in the last 5 minutes.", n), "Set scrape_interval to a minute or less; after a start, wait for five minutes."}
	}
	return finding{check, good, fmt.Sprintf("Each exporter was scraped at least %.0f times in the last 5 minutes.", samples.Series[0].Value()), ""}
}

// checkAPI asks the exporters for what requests and live need.
func (d *Datasource) checkAPI(ctx context.Context) finding {
	const check = "Slow requests"
	const fix = "Set URLs that Grafana's server reaches, and leave the exporters' API on (--web.enable-api)."
	urls, err := d.exporterURLs(ctx, "")
	if errors.Is(err, errNoExporters) {
		return finding{check, warning, "No exporter is known: queries of slow requests and live data have no answer.", "Set URLs of exporters, or a query that finds them such as up{job=\"tcpslo\"}, in the settings."}
	}
	if err != nil {
		return finding{check, warning, err.Error(), fix}
	}
	answers, errs := each[struct{}](ctx, d, urls, "requests", url.Values{"limit": {"1"}})
	if len(errs) > 0 {
		return finding{check, warning, fmt.Sprintf("%d of %d exporters answer. %s", len(answers), len(urls), errs[0]), fix}
	}
	return finding{check, good, fmt.Sprintf("%d exporters answer.", len(answers)), ""}
}
