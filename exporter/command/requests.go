// SPDX-License-Identifier: Apache-2.0

package command

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"
	promconfig "github.com/prometheus/common/config"

	"github.com/tcpslo/tcpslo/exporter/timeline"
)

// Requests is the command that shows slow requests stage by stage.
type Requests struct {
	command    *kingpin.CmdClause
	parameters map[string]*string // of the query, by name
	all        *bool
	follow     *bool
	output     *string
	url        *string
	httpConfig *string
	again      time.Duration // from one attempt to connect to the next
}

// AddRequests adds the command "requests".
func AddRequests(app *kingpin.Application) *Requests {
	c := app.Command("requests", `Show the slow requests that a running exporter has kept, or with --follow those that end from now on: where between the SYN and the acknowledgement of the response each spent its time. Needs no privilege.

The bar of each stage lies where the stage lies in time; the longest is marked. A stage that was not seen is not there: a handshake belongs to the first request of a connection alone.`)
	flag := func(name, help, placeholder string) *string {
		return c.Flag(name, help).PlaceHolder(placeholder).String()
	}
	return &Requests{
		command: c,
		parameters: map[string]*string{
			"service":     flag("service", "Only those of this service.", "NAME"),
			"path":        flag("path", "Only those of this route, such as /orders/{id}.", "ROUTE"),
			"method":      flag("method", "Only those with this method.", "METHOD"),
			"status_code": flag("status", `Only those with this status, such as 503, 5xx, panic or hijacked.`, "STATUS"),
			"slower_than": flag("slower-than", "Only those that took longer, such as 200ms.", "DURATION"),
			"max_age":     flag("max-age", "Only those that ended within this time, such as 10m; without --follow.", "DURATION"),
			"limit":       flag("limit", "How many at most, 0 for all that are kept; without --follow. Default: 20.", "20"),
			"order":       flag("order", "slowest or newest first; without --follow. Default: slowest.", "slowest"),
		},
		all:        c.Flag("all", "Also requests that were not slow: the exporter keeps a sample of them.").Bool(),
		follow:     c.Flag("follow", "Show each request when it ends, until Ctrl-C.").Short('f').Bool(),
		output:     c.Flag("output", "text, coloured on a terminal unless NO_COLOR is set, else plain ASCII; or json, one object a line.").Short('o').Default("text").Enum("text", "json"),
		url:        c.Flag("url", "Where the exporter is.").Default("http://localhost:10984").String(),
		httpConfig: c.Flag("http.config.file", "How to connect, for an exporter with TLS or authentication: basic_auth, authorization, tls_config, as in Prometheus's scrape_config.").PlaceHolder("FILE").String(),
		again:      time.Second,
	}
}

// Name is the name of the command.
func (r *Requests) Name() string { return r.command.FullCommand() }

// Execute prints requests; notes gets what is not one.
func (r *Requests) Execute(out, notes io.Writer) error {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	return r.run(ctx, out, notes)
}

// run ends without an error when the context is done.
func (r *Requests) run(ctx context.Context, out, notes io.Writer) error {
	query, err := r.query()
	if err != nil {
		return err
	}
	client, err := r.client()
	if err != nil {
		return err
	}
	print := newWaterfall(out).draw
	if *r.output == "json" {
		print = func(out io.Writer, request timeline.Request) error {
			return json.NewEncoder(out).Encode(request)
		}
	}
	show := func(request timeline.Request) error { return print(out, request) }
	if *r.follow {
		err = r.stream(ctx, client, query, show, notes)
	} else {
		err = r.list(ctx, client, query, show, notes)
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// query is what the exporter is asked for.
func (r *Requests) query() (string, error) {
	values := url.Values{}
	for name, value := range r.parameters {
		if *value != "" {
			values.Set(name, *value)
		}
	}
	if !*r.all {
		values.Set("slow", "true")
	}
	if *r.follow {
		_, err := timeline.ParseFilter(values.Encode())
		if err != nil {
			err = fmt.Errorf("with --follow: %w", err)
		}
		return values.Encode(), err
	}
	values.Set("limit", cmp.Or(values.Get("limit"), "20"))
	_, err := timeline.ParseQuery(values.Encode())
	return values.Encode(), err
}

func (r *Requests) client() (*http.Client, error) {
	c := &promconfig.DefaultHTTPClientConfig
	if *r.httpConfig != "" {
		var err error
		if c, _, err = promconfig.LoadHTTPConfigFile(*r.httpConfig); err != nil {
			return nil, fmt.Errorf("--http.config.file=%s: %w", *r.httpConfig, err)
		}
	}
	return promconfig.NewClientFromConfig(*c, "tcpslo_exporter")
}

// list shows the requests that are kept.
func (r *Requests) list(ctx context.Context, client *http.Client, query string, show func(timeline.Request) error, notes io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	body, err := r.get(ctx, client, "/api/v1/requests?"+query)
	if err != nil {
		return err
	}
	defer body.Close()
	var answer struct {
		Requests []timeline.Request `json:"requests"`
	}
	if err := json.NewDecoder(body).Decode(&answer); err != nil {
		return fmt.Errorf("answer of %s: %w", r.base(), err)
	}
	for _, request := range answer.Requests {
		if err := show(request); err != nil {
			return err
		}
	}
	if len(answer.Requests) == 0 {
		fmt.Fprintln(notes, "No request of the last hour is like that; --all also shows those that were not slow, --follow waits for more.")
	}
	return nil
}

// stream shows requests as they end. An exporter that has answered once and goes away
// may come back.
func (r *Requests) stream(ctx context.Context, client *http.Client, query string, show func(timeline.Request) error, notes io.Writer) error {
	for answered := false; ; {
		body, err := r.get(ctx, client, "/api/v1/requests/stream?"+query)
		if err != nil && !(answered && errors.Is(err, errNoAnswer)) {
			return err
		}
		if err == nil {
			answered = true
			fmt.Fprintf(notes, "Following requests at %s, Ctrl-C ends it.\n", r.base())
			var failed error
			err = timeline.ReadEvents(body, func(event timeline.Event) error {
				failed = r.event(event, show, notes)
				return failed
			})
			body.Close()
			if failed != nil || ctx.Err() != nil {
				return failed
			}
			fmt.Fprintf(notes, "The exporter at %s has gone (%v); waiting for it to come back.\n", r.base(), err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(r.again):
		}
	}
}

// event shows what is in an event.
func (r *Requests) event(event timeline.Event, show func(timeline.Request) error, notes io.Writer) error {
	switch event.Name {
	case timeline.EventRequest:
		var request timeline.Request
		if err := json.Unmarshal(event.Data, &request); err != nil {
			return fmt.Errorf("event of %s: %w", r.base(), err)
		}
		return show(request)
	case timeline.EventLost:
		var loss timeline.Loss
		if err := json.Unmarshal(event.Data, &loss); err != nil {
			return fmt.Errorf("event of %s: %w", r.base(), err)
		}
		fmt.Fprintf(notes, "%d requests came faster than they could be shown and are left out.\n", loss.Lost)
	}
	return nil // a newer exporter may have more kinds of events
}

// errNoAnswer says that nobody answers HTTP there.
var errNoAnswer = errors.New("no exporter answers")

// get asks the exporter. The errors tell a person what to do.
func (r *Requests) get(ctx context.Context, client *http.Client, path string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base()+path, nil)
	if err != nil {
		return nil, fmt.Errorf("--url=%s: %w", *r.url, withoutURL(err))
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%w at %s: %w; start one with \"tcpslo_exporter run\", or say where it is with --url", errNoAnswer, r.base(), withoutURL(err))
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	defer response.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(response.Body, 1000))
	switch reason := string(bytes.TrimSpace(said)); response.StatusCode {
	case http.StatusNotFound:
		return nil, fmt.Errorf("%s has no /api/v1/requests: it is not an exporter, an older one, or one that was started with --no-web.enable-api", r.base())
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, fmt.Errorf("%s answers %s: name a file that says how to authenticate with --http.config.file", r.base(), response.Status)
	default:
		return nil, fmt.Errorf("%s answers %s: %s", r.base(), response.Status, reason)
	}
}

// withoutURL is the cause of an error of net/http, which names the whole URL.
func withoutURL(err error) error {
	var of *url.Error
	if errors.As(err, &of) {
		return of.Err
	}
	return err
}

// base is the URL of the exporter, without a slash at its end.
func (r *Requests) base() string {
	base := strings.TrimSuffix(*r.url, "/")
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	return base
}
