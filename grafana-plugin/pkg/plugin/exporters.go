// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promapi"
)

// maxExporters bounds how many exporters one query asks.
const maxExporters = 64

// maxExporterAnswer is the longest answer that is read of an exporter, bytes: 1,000 requests take half a
// megabyte.
const maxExporterAnswer = 16 << 20

var errNoExporters = errors.New("no exporter is known: set URLs of exporters, or a query that finds them, in the settings of the datasource")

// exporterURLs are the base URLs of the exporters in the settings and of those that the settings' query finds, or the one of
// them that is asked for. No other address can be asked for: a query must not make Grafana's server call what it likes.
func (d *Datasource) exporterURLs(ctx context.Context, only string) ([]string, error) {
	urls := slices.Clone(d.settings.ExporterURLs)
	if d.settings.ExporterQuery != "" {
		found, err := d.queries.Ask(ctx, promapi.Query{Expr: d.settings.ExporterQuery, Grid: promapi.At(d.clock()), Instant: true})
		if err != nil && len(urls) == 0 {
			return nil, fmt.Errorf("the query that finds exporters: %w", err)
		}
		if err == nil {
			for _, s := range found.Series {
				if address := s.Labels["instance"]; strings.Contains(address, "://") {
					urls = append(urls, strings.TrimRight(address, "/"))
				} else if address != "" {
					urls = append(urls, "http://"+address)
				}
			}
		}
	}
	slices.Sort(urls)
	urls = slices.Compact(urls)
	switch {
	case only != "" && !slices.Contains(urls, only):
		return nil, errQuery{fmt.Errorf("exporter %q is none of those in the settings of the datasource", only)}
	case only != "":
		return []string{only}, nil
	case len(urls) == 0:
		return nil, errNoExporters
	case len(urls) > maxExporters:
		return nil, errQuery{fmt.Errorf("there are %d exporters, and no more than %d are asked at once: choose one", len(urls), maxExporters)}
	}
	return urls, nil
}

// open asks an exporter for a path under /api/v1 and leaves its answer open. The error says which exporter it was.
func open(ctx context.Context, client *http.Client, base, path string, query url.Values, kind string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/api/v1/"+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, fmt.Errorf("exporter %s: the address can't be used", redacted(base))
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("exporter %s: %w", redacted(base), reason(err))
	}
	if got := answer.Header.Get("Content-Type"); answer.StatusCode != http.StatusOK || !strings.HasPrefix(got, kind) {
		defer answer.Body.Close()
		said, _ := io.ReadAll(io.LimitReader(answer.Body, 200))
		if strings.HasPrefix(got, "text/plain") && len(said) > 0 {
			return nil, fmt.Errorf("exporter %s answered %s: %s", redacted(base), answer.Status, strings.TrimSpace(string(said)))
		}
		return nil, fmt.Errorf("exporter %s answered %s with %q, want %q: is that a tcpslo_exporter whose API is on?", redacted(base), answer.Status, got, kind)
	}
	return answer, nil
}

// reason leaves out the URL of an error of net/http, which is named already.
func reason(err error) error {
	var inner *url.Error
	if errors.As(err, &inner) {
		return inner.Err
	}
	return err
}

// redacted hides a password.
func redacted(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return "(no address)"
	}
	return u.Redacted()
}

// each asks all exporters at once for the same, and decodes their answers. The errors are those of the ones that
// failed.
func each[T any](ctx context.Context, d *Datasource, urls []string, path string, query url.Values) (answers map[string]T, errs []error) {
	answers = map[string]T{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, base := range urls {
		all.Go(func() {
			var into T
			err := fetch(ctx, d.exporters, base, path, query, &into)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
				return
			}
			answers[base] = into
		})
	}
	all.Wait()
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return answers, errs
}

func fetch(ctx context.Context, client *http.Client, base, path string, query url.Values, into any) error {
	answer, err := open(ctx, client, base, path, query, "application/json")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxExporterAnswer)).Decode(into); err != nil {
		return fmt.Errorf("exporter %s: its answer can't be read: %w", redacted(base), err)
	}
	return nil
}
