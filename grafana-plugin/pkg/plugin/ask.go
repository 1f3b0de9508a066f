// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promapi"
)

// need is what happens where a question has no answer.
type need int

const (
	essential need = iota // the query fails
	wanted                // what it gives is missing, and a notice says so
	spare                 // nothing: it asks for what most servers don't have
)

// question is one thing that a query asks of Prometheus.
type question struct {
	name string // what a notice calls it
	expr string
	over bool // over the grid, and not only now
	need need
}

// answers are those to the questions of a query, by name.
type answers struct {
	by      map[string]*promapi.Result
	notices []data.Notice
}

// series are those of an answer, none if there is none.
func (a answers) series(name string) []promapi.Series {
	if result := a.by[name]; result != nil {
		return result.Series
	}
	return nil
}

// put asks all questions at once. The error is that of the first one that the query can't do without.
func (r *request) put(ctx context.Context, questions []question) (answers, error) {
	results, errs := make([]*promapi.Result, len(questions)), make([]error, len(questions))
	var all sync.WaitGroup
	for i, q := range questions {
		query := promapi.Query{Expr: q.expr, Grid: promapi.At(r.now), Instant: true}
		if q.over {
			query = promapi.Query{Expr: q.expr, Grid: r.grid}
		}
		all.Go(func() { results[i], errs[i] = r.queries.Ask(ctx, query) })
	}
	all.Wait()
	given := answers{by: map[string]*promapi.Result{}}
	for i, q := range questions {
		switch err := errs[i]; {
		case err == nil:
			given.by[q.name] = results[i]
			given.notices = append(given.notices, noticesOf(q.name, results[i])...)
		case q.need == essential, errors.Is(err, context.Canceled):
			return given, fmt.Errorf("%s: %w", q.name, err)
		case q.need == wanted:
			given.notices = append(given.notices, data.Notice{Severity: data.NoticeSeverityWarning, Text: fmt.Sprintf("%s is missing: %s", q.name, err)})
		}
	}
	return given, nil
}

// maxNotices bounds what a panel shows of one answer.
const maxNotices = 5

func noticesOf(name string, result *promapi.Result) (all []data.Notice) {
	for _, warning := range result.Warnings {
		all = append(all, data.Notice{Severity: data.NoticeSeverityWarning, Text: name + ": " + warning})
	}
	for _, info := range result.Infos {
		all = append(all, data.Notice{Severity: data.NoticeSeverityInfo, Text: name + ": " + info})
	}
	if len(all) > maxNotices {
		all = append(all[:maxNotices:maxNotices], data.Notice{Severity: data.NoticeSeverityInfo, Text: fmt.Sprintf("%s: and %d more", name, len(all)-maxNotices)})
	}
	if result.Histograms > 0 {
		all = append(all, data.Notice{Severity: data.NoticeSeverityInfo, Text: fmt.Sprintf("%s: native histograms of %d series are left out", name, result.Histograms)})
	}
	return all
}
