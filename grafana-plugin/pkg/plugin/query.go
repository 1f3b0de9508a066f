// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"strings"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/data"
	"github.com/grafana/grafana-plugin-sdk-go/experimental/concurrent"

	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/models"
	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promapi"
	"github.com/tcpslo/tcpslo/grafana-plugin/pkg/promql"
)

// handler is how a type of query is answered: what is asked of Prometheus, and the frames
// made of the answers. One that asks exporters has no questions, and fetches for itself.
type handler struct {
	ask   func(*request) []question
	show  func(*request, answers) data.Frames
	fetch func(context.Context, *request) (data.Frames, error)
}

var handlers = map[string]handler{
	models.SLOSummary:    {ask: askSummary, show: showSummary},
	models.Budget:        {ask: askBudget, show: showBudget},
	models.Burn:          {ask: askBurn, show: showBurn},
	models.LatencyStages: {ask: askStages, show: showStages},
	models.AcceptBalance: {ask: askBalance, show: showBalance},
	models.ListenQueue:   {ask: askQueue, show: showQueue},
	models.Causes:        {ask: askCauses, show: showCauses},
	models.Breaches:      {ask: askBreaches, show: showBreaches},
	models.Requests:      {fetch: fetchRequests},
	models.Live:          {fetch: fetchLive},
}

// request is one query with what surrounds it.
type request struct {
	models.Query
	*Datasource
	grid     promapi.Grid
	from, to time.Time
	now      time.Time // the end of the range, or the present if that is before it
	alerting bool      // an alert rule asks, which takes one frame of numbers
}

// QueryData answers each query by itself: an error belongs to its RefID, and one query that is slow or
// fails leaves the others alone.
func (d *Datasource) QueryData(ctx context.Context, all *backend.QueryDataRequest) (*backend.QueryDataResponse, error) {
	alerting := all.Headers["FromAlert"] == "true"
	return concurrent.QueryData(ctx, all, func(ctx context.Context, q concurrent.Query) backend.DataResponse {
		r, err := d.request(q.DataQuery, alerting)
		if err != nil {
			return failed(errQuery{err})
		}
		frames, err := r.answer(ctx)
		if err != nil {
			return failed(err)
		}
		for _, frame := range frames {
			frame.RefID = r.RefID
		}
		return backend.DataResponse{Frames: frames, Status: backend.StatusOK}
	}, 10)
}

func (d *Datasource) request(q backend.DataQuery, alerting bool) (*request, error) {
	query, err := models.ParseQuery(q.JSON, q.QueryType)
	if err != nil {
		return nil, err
	}
	query.RefID = q.RefID
	from, to := q.TimeRange.From, q.TimeRange.To
	now := d.clock()
	if to.Before(now) {
		now = to
	}
	points := int(q.MaxDataPoints)
	if points <= 0 {
		points = 500
	}
	grid := promapi.NewGrid(from, to, q.Interval, points)
	if query.QueryType == models.Breaches {
		grid = promapi.NewGrid(from, to, breachStep, breachPoints) // its points are not drawn
	}
	return &request{query, d, grid, from, to, now, alerting}, nil
}

func (r *request) answer(ctx context.Context) (data.Frames, error) {
	h := handlers[r.QueryType]
	if h.fetch != nil {
		return h.fetch(ctx, r)
	}
	questions := h.ask(r)
	given, err := r.put(ctx, questions)
	if err != nil {
		return nil, err
	}
	frames := h.show(r, given)
	if r.alerting {
		frames = frames[:min(1, len(frames))]
	}
	if len(frames) == 0 {
		frames = data.Frames{nothing(questions)}
	}
	frames[0].AppendNotices(given.notices...)
	for _, frame := range frames {
		if frame.Meta == nil {
			frame.Meta = &data.FrameMeta{}
		}
		frame.Meta.ExecutedQueryString = executed(questions)
	}
	return frames, nil
}

// nothing is the answer where there is no data, and says what there is none of.
func nothing(questions []question) *data.Frame {
	frame := data.NewFrame("")
	for _, q := range questions {
		if q.need == essential {
			frame.AppendNotices(data.Notice{Severity: data.NoticeSeverityInfo, Text: "There is no data of " + q.name + ". \"Save & test\" of the datasource tells whether rules are loaded and exporters are scraped."})
			break
		}
	}
	return frame
}

// executed is what Grafana's inspector shows.
func executed(questions []question) string {
	var text strings.Builder
	for i, q := range questions {
		if i > 0 {
			text.WriteString("\n\n")
		}
		text.WriteString("# " + q.name + "\n" + q.expr)
	}
	return text.String()
}

// sel selects series of a metric by matchers and by what the settings say.
func (d *Datasource) sel(metric string, matchers ...promql.Matcher) string {
	return promql.Select(metric, append(matchers, d.matchers...)...)
}

// ofSLO selects series of SLOs.
func (r *request) ofSLO(metric string, more ...promql.Matcher) string {
	return r.sel(metric, append(more, promql.Is("service", r.Services...), promql.Is("slo", r.SLOs...))...)
}

// ofRoute selects series of requests.
func (r *request) ofRoute(metric string, more ...promql.Matcher) string {
	return r.sel(metric, append(more, promql.Is("service", r.Services...), promql.Is("path", r.Paths...))...)
}

// ofListener selects series of listeners.
func (r *request) ofListener(metric string) string {
	matchers := []promql.Matcher{promql.Is("service", r.Services...), promql.Is("listener", r.Listeners...)}
	if r.NetNS != "" {
		matchers = append(matchers, promql.Is("netns", r.NetNS))
	}
	return r.sel(metric, matchers...)
}

// minRate is the shortest window of a rate that has two scrapes in it even if they are a minute apart.
const minRate = 2 * time.Minute

// rate is the window of rates over the grid: none is left out between two points.
func (r *request) rate() string { return duration(max(r.grid.Step, minRate)) }

// span is the whole range, in whole seconds.
func (r *request) span() time.Duration {
	return max(r.now.Sub(r.from).Truncate(time.Second), minRate)
}
