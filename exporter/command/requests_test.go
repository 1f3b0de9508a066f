// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tcpslo/tcpslo/exporter/server"
	"github.com/tcpslo/tcpslo/exporter/timeline"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// requestsCommand is the command as arguments make it.
func requestsCommand(t *testing.T, arguments ...string) *Requests {
	t.Helper()
	app := kingpin.New("tcpslo_exporter", "")
	r := AddRequests(app)
	if _, err := app.Parse(append([]string{"requests"}, arguments...)); err != nil {
		t.Fatal(err)
	}
	r.again = time.Millisecond
	return r
}

// exporterOf answers as an exporter does that has seen the requests in a store.
func exporterOf(t *testing.T, store *timeline.Store, api bool) http.Handler {
	t.Helper()
	h, err := server.New(server.Options{
		Requests: store, API: api, MetricsPath: "/metrics", Log: slog.New(slog.DiscardHandler), Gatherer: prometheus.ToTransactionalGatherer(prometheus.NewRegistry()),
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// serveAt serves until stop is called, as run does; the address may be 127.0.0.1:0.
func serveAt(t *testing.T, address string, h http.Handler) (url string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &http.Server{Handler: h, BaseContext: func(net.Listener) context.Context { return ctx }}
	go s.Serve(l)
	stop = func() {
		cancel()
		s.Close()
	}
	t.Cleanup(stop)
	return "http://" + l.Addr().String(), stop
}

// terminal collects what a command prints, while it prints.
type terminal struct {
	lock sync.Mutex
	text strings.Builder
}

func (o *terminal) Write(text []byte) (int, error) {
	o.lock.Lock()
	defer o.lock.Unlock()
	return o.text.Write(text)
}

func (o *terminal) String() string {
	o.lock.Lock()
	defer o.lock.Unlock()
	return o.text.String()
}

// shows waits until a text has been printed so many times.
func (o *terminal) shows(t *testing.T, text string, times int) {
	t.Helper()
	labtest.Eventually(t, func() error {
		if n := strings.Count(o.String(), text); n != times {
			return fmt.Errorf("%q is printed %d times, want %d, in\n%s", text, n, times, o)
		}
		return nil
	})
}

// numbered are requests that end now, each slower than those before it; every tenth is
// of a sample.
func numbered(n int) []timeline.Request {
	var all []timeline.Request
	for i := range n {
		r := slowOrder
		r.ID, r.Duration, r.Slow = fmt.Sprintf("%016x", i), time.Second+time.Duration(i)*time.Millisecond, i%10 != 9
		r.Started = time.Now().Add(-r.Duration)
		all = append(all, r)
	}
	return all
}

func TestRequests_are_listed_as_the_flags_say(t *testing.T) {
	store := timeline.NewStore(6 * 2 * 100)
	all := numbered(50)
	for _, r := range all {
		r.Window = timeline.PresentWindow()
		store.Add(r)
	}
	url, _ := serveAt(t, "127.0.0.1:0", exporterOf(t, store, true))
	slices.Reverse(all)
	some := func(want func(r timeline.Request) bool) []timeline.Request {
		return slices.DeleteFunc(slices.Clone(all), func(r timeline.Request) bool { return !want(r) })
	}
	slow := some(func(r timeline.Request) bool { return r.Slow })
	for _, c := range []struct {
		arguments []string
		want      []timeline.Request
	}{
		{nil, slow[:20]},
		{[]string{"--limit=3"}, slow[:3]},
		{[]string{"--limit=0"}, slow},
		{[]string{"--all", "--limit=0"}, all},
		{[]string{"--all"}, all[:20]},
		{[]string{"--slower-than=1045ms"}, some(func(r timeline.Request) bool { return r.Slow && r.Duration > 1045*time.Millisecond })},
		{[]string{"--service=checkout", "--path=/orders/{id}", "--method=post", "--status=5xx", "--max-age=1h", "--order=slowest", "--limit=2"}, slow[:2]},
		{[]string{"--service=inventory"}, nil},
		{[]string{"--path=/orders"}, nil},
		{[]string{"--method=GET"}, nil},
		{[]string{"--status=200"}, nil},
		{[]string{"--max-age=1ns"}, nil},
	} {
		var asJSON, asText, notes strings.Builder
		for output, out := range map[string]*strings.Builder{"json": &asJSON, "text": &asText} {
			r := requestsCommand(t, append(c.arguments, "--url="+url, "-o", output)...)
			if err := r.run(t.Context(), out, &notes); err != nil {
				t.Errorf("%v: %v", c.arguments, err)
			}
		}
		wantJSON, wantText := "", ""
		for _, r := range c.want {
			line, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			wantJSON += string(line) + "\n"
			wantText += drawn(t, waterfall{width: 100}, r)
		}
		if asJSON.String() != wantJSON {
			t.Errorf("%v as JSON: got\n%s\nwant\n%s", c.arguments, asJSON.String(), wantJSON)
		}
		if asText.String() != wantText {
			t.Errorf("%v as text: got\n%s\nwant\n%s", c.arguments, asText.String(), wantText)
		}
		if said := strings.Contains(notes.String(), "No request of the last hour is like that"); said != (len(c.want) == 0) {
			t.Errorf("%v: notes are %q", c.arguments, notes.String())
		}
	}
}

func TestRequests_tells_what_to_do_when_it_cannot_list_them(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := l.Addr().String()
	l.Close()
	store := timeline.NewStore(1)
	url, _ := serveAt(t, "127.0.0.1:0", exporterOf(t, store, true))
	off, _ := serveAt(t, "127.0.0.1:0", exporterOf(t, store, false))
	locked, _ := serveAt(t, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusUnauthorized) }))
	other, _ := serveAt(t, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }))
	missing := filepath.Join(t.TempDir(), "none.yml")
	for _, c := range []struct {
		arguments []string
		want      []string
	}{
		{[]string{"--url=http://" + free}, []string{"no exporter answers at http://" + free + ": ", "connection refused", `start one with "tcpslo_exporter run"`, "--url"}},
		{[]string{"--url=http://" + free, "--follow"}, []string{"no exporter answers at http://" + free}},
		{[]string{"--url=" + free + "/"}, []string{"no exporter answers at http://" + free + ": "}},
		{[]string{"--url=" + off}, []string{off + " has no /api/v1/requests", "--no-web.enable-api"}},
		{[]string{"--url=" + locked}, []string{locked + " answers 401 Unauthorized", "--http.config.file"}},
		{[]string{"--url=" + other}, []string{"answer of " + other + ": invalid character"}},
		{[]string{"--url=http://a b"}, []string{`--url=http://a b: invalid character " " in host name`}},
		{[]string{"--url=" + url, "--status=50"}, []string{`"status_code" must be a status such as 503`, `got "50"`}},
		{[]string{"--url=" + url, "--limit=many"}, []string{`"limit" must be a whole number`}},
		{[]string{"--url=" + url, "--follow", "--limit=3"}, []string{`with --follow: unknown parameter "limit"`}},
		{[]string{"--url=" + url, "--follow", "--slower-than=1"}, []string{`with --follow: parameter "slower_than" must be a duration`}},
		{[]string{"--url=" + url, "--http.config.file=" + missing}, []string{"--http.config.file=" + missing + ": ", "no such file"}},
	} {
		var out strings.Builder
		err := requestsCommand(t, c.arguments...).run(t.Context(), &out, io.Discard)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "/api/v1/requests?") {
				t.Errorf("%v: %v, want %q in it, and no query", c.arguments, err, want)
			}
		}
		if out.Len() > 0 {
			t.Errorf("%v printed %q", c.arguments, out.String())
		}
	}
}

func TestRequests_ends_without_an_error_when_it_is_interrupted_while_it_waits_for_an_answer(t *testing.T) {
	for _, flag := range []string{"--follow", "--no-follow"} {
		ctx, interrupt := context.WithCancel(t.Context())
		url, _ := serveAt(t, "127.0.0.1:0", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			interrupt()
			<-r.Context().Done()
		}))
		if err := requestsCommand(t, flag, "--url="+url).run(ctx, io.Discard, io.Discard); err != nil {
			t.Errorf("%s: %v", flag, err)
		}
	}
}

func TestRequests_are_listed_by_an_exporter_with_TLS_and_a_password(t *testing.T) {
	store := timeline.NewStore(12)
	present := slowOrder
	present.Window = timeline.PresentWindow()
	store.Add(present)
	h := exporterOf(t, store, true)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "secret" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // a client that doesn't trust it is one of the cases
	s.StartTLS()
	defer s.Close()
	folder := t.TempDir()
	for name, text := range map[string]string{
		"ca.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})),
		"good":   "{basic_auth: {username: me, password: secret}, tls_config: {ca_file: ca.pem}}",
		"bad":    "{basic_auth: {username: me, password: wrong}, tls_config: {ca_file: ca.pem}}",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for file, want := range map[string]string{"good": "", "bad": "answers 401 Unauthorized", "": "certificate"} {
		arguments := []string{"--url=" + s.URL, "-o", "json"}
		if file != "" {
			arguments = append(arguments, "--http.config.file="+filepath.Join(folder, file))
		}
		var out strings.Builder
		err := requestsCommand(t, arguments...).run(t.Context(), &out, io.Discard)
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("with %q: %v, want %q in it", file, err, want)
			}
			continue
		}
		var got timeline.Request
		if err := errors.Join(err, json.Unmarshal([]byte(out.String()), &got)); err != nil || got.ID != slowOrder.ID || !reflect.DeepEqual(got.Stages, slowOrder.Stages) {
			t.Errorf("with %q: %v, %+v", file, err, got)
		}
	}
}

// following runs the command until end is called, which returns its error.
func following(t *testing.T, out, notes io.Writer, arguments ...string) (end func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	r := requestsCommand(t, append(arguments, "--follow")...)
	go func() { ended <- r.run(ctx, out, notes) }()
	t.Cleanup(cancel)
	return func() error {
		cancel()
		return <-ended
	}
}

func TestFollowing_shows_each_slow_request_when_it_ends_until_it_is_interrupted(t *testing.T) {
	store := timeline.NewStore(0)
	url, _ := serveAt(t, "127.0.0.1:0", exporterOf(t, store, true))
	var out, everything, notes terminal
	end := following(t, &out, &notes, "--url="+url, "--service=checkout")
	endOther := following(t, &everything, &notes, "--url="+url, "--all", "-o", "json")
	notes.shows(t, "Following requests at "+url+", Ctrl-C ends it.\n", 2)
	want, wantAll := "", ""
	for i, r := range numbered(30) {
		if i%3 == 0 {
			r.Service = "inventory"
		}
		store.Add(r)
		if r.Slow && r.Service == "checkout" {
			want += drawn(t, waterfall{width: 100}, r)
		}
		line, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		wantAll += string(line) + "\n"
	}
	labtest.Eventually(t, func() error {
		if out.String() != want || everything.String() != wantAll {
			return fmt.Errorf("got\n%s\nwant\n%s\ngot\n%s\nwant\n%s", &out, want, &everything, wantAll)
		}
		return nil
	})
	if err := errors.Join(end(), endOther()); err != nil {
		t.Errorf("interrupted, it ends with %v", err)
	}
	labtest.Eventually(t, func() error { // the exporter is told
		lost := store.Lost()
		for range 2000 {
			store.Add(slowOrder)
		}
		if store.Lost() != lost {
			return errors.New("somebody still subscribes")
		}
		return nil
	})
}

func TestFollowing_goes_on_when_the_exporter_has_restarted(t *testing.T) {
	store := timeline.NewStore(0)
	url, stop := serveAt(t, "127.0.0.1:0", exporterOf(t, store, true))
	address := strings.TrimPrefix(url, "http://")
	var out, notes terminal
	end := following(t, &out, &notes, "--url="+address)
	const follows = "Following requests at "
	notes.shows(t, follows, 1)
	for restarts := 1; restarts <= 2; restarts++ {
		stop()
		notes.shows(t, "The exporter at "+url+" has gone (", restarts)
		store = timeline.NewStore(0) // nothing of it survives
		_, stop = serveAt(t, address, exporterOf(t, store, true))
		notes.shows(t, follows, 1+restarts)
		store.Add(slowOrder)
		out.shows(t, "id "+slowOrder.ID, restarts)
	}
	if err := end(); err != nil {
		t.Errorf("interrupted, it ends with %v", err)
	}

	end = following(t, &out, &notes, "--url="+url)
	notes.shows(t, follows, 4)
	stop()
	notes.shows(t, "has gone", 3)
	if err := end(); err != nil {
		t.Errorf("interrupted while it waits, it ends with %v", err)
	}
}

func TestFollowing_ends_when_the_exporter_comes_back_without_requests(t *testing.T) {
	store := timeline.NewStore(0)
	url, stop := serveAt(t, "127.0.0.1:0", exporterOf(t, store, true))
	var notes terminal
	ended := make(chan error, 1)
	r := requestsCommand(t, "--follow", "--url="+url)
	go func() { ended <- r.run(t.Context(), io.Discard, &notes) }()
	notes.shows(t, "Following", 1)
	stop()
	serveAt(t, strings.TrimPrefix(url, "http://"), exporterOf(t, store, false))
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "--no-web.enable-api") {
		t.Errorf("%v, want the reason", err)
	}
}

// stuck is a terminal that shows nothing until it is let go.
type stuck struct {
	terminal
	free chan struct{}
}

func (s *stuck) Write(text []byte) (int, error) {
	<-s.free
	return s.terminal.Write(text)
}

func TestFollowing_says_how_many_requests_a_terminal_that_was_too_slow_has_missed(t *testing.T) {
	store := timeline.NewStore(0)
	url, _ := serveAt(t, "127.0.0.1:0", exporterOf(t, store, true))
	out, notes := &stuck{free: make(chan struct{})}, &terminal{}
	end := following(t, out, notes, "--url="+url, "-o", "json")
	notes.shows(t, "Following", 1)
	added := 0
	large := slowOrder
	large.Path = "/" + strings.Repeat("x", 30_000) // fills the buffers of the connection
	for ; store.Lost() < 10; added++ {
		store.Add(large)
	}
	close(out.free)
	var shown, missed int
	labtest.Eventually(t, func() error {
		shown, missed = strings.Count(out.String(), "\n"), 0
		for line := range strings.Lines(notes.String()) {
			n := 0
			fmt.Sscanf(line, "%d requests came faster than they could be shown and are left out.", &n)
			missed += n
		}
		if shown+missed != added {
			return fmt.Errorf("%d are shown and %d missed of %d", shown, missed, added)
		}
		return nil
	})
	if uint64(missed) != store.Lost() {
		t.Errorf("%d are said to be missed, the exporter has lost %d", missed, store.Lost())
	}
	if err := end(); err != nil {
		t.Error(err)
	}
}
