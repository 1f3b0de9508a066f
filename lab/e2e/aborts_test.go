// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

const closeWait = 8 // include/net/tcp_states.h: a FIN has come

const abortedDurations = "tcpslo_http_aborted_request_duration_seconds"

// policies are an objective for each policy, and one about a latency that no handler that waits
// can meet.
const policies = `
      - {name: judged, objective: 99}
      - {name: good, objective: 99, client_aborts: good}
      - {name: bad, objective: 99, client_aborts: bad}
      - {name: ignored, objective: 99, client_aborts: ignore}
      - {name: instant, objective: 99, latency: 1us, client_aborts: ignore}
`

// What handlers say: those who notice that the client has gone, and those who answer. The
// statuses differ, so that each count tells which of them it is.
const (
	ok, failed                       = "200", "500"
	noticed, failedThen, panickedAny = "499", "503", "panic"
)

// gone are the ways for a handler to end when its client has gone.
var gone = []string{noticed, failedThen, panickedAny}

// waiter is a server whose handlers of /wait answer when they are released, and what
// its clients have logged.
type waiter struct {
	*labtest.Server
	origin string
	dialer net.Dialer // of the clients that wait
	client *http.Client
	log    map[string]float64 // by what the handler is to say
}

func startWaiter(t *testing.T, scheme string, flags ...string) *waiter {
	t.Helper()
	server := labtest.StartServer(t, labtest.ServerOptions{Flags: flags})
	return &waiter{
		Server: server, origin: scheme + "://" + server.Listen[0], log: map[string]float64{},
		client: &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}},
	}
}

func (w *waiter) secure() bool { return w.origin[:5] == "https" }

// path asks for an answer, or for what the handler is to say once the client has gone.
func (w *waiter) path(says string) string {
	w.log[says]++
	if says == ok || says == failed {
		return "/wait?gone=400&answer=" + says
	}
	return "/wait?answer=400&gone=" + says
}

// handled waits until so many handlers wait, and returns what the others of /wait said.
func (w *waiter) handled(t *testing.T, waiting int) map[string]float64 {
	t.Helper()
	counts := map[string]float64{}
	labtest.Eventually(t, func() error {
		var stats struct {
			InFlight int `json:"in_flight"`
			Requests []struct {
				Path   string  `json:"path"`
				Status string  `json:"status"`
				Count  float64 `json:"count"`
			} `json:"requests"`
		}
		response, err := w.client.Get(w.origin + "/-/stats")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if err := json.NewDecoder(response.Body).Decode(&stats); err != nil {
			return err
		}
		clear(counts)
		for _, r := range stats.Requests {
			if r.Path == "/wait" {
				counts[r.Status] += r.Count
			}
		}
		return same("handlers that wait", stats.InFlight, waiting)
	})
	return counts
}

func (w *waiter) release(t *testing.T) {
	t.Helper()
	response, err := w.client.Get(w.origin + "/-/release")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
}

// dial connects; the first connection is TCP's own, to be closed in any way, and the second one what
// is spoken over.
func (w *waiter) dial(t *testing.T) (*net.TCPConn, net.Conn) {
	t.Helper()
	conn, err := w.dialer.Dial("tcp", w.Listen[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	if !w.secure() {
		return conn.(*net.TCPConn), conn
	}
	return conn.(*net.TCPConn), tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
}

// leave are the ways to go away.
var leave = map[string]func(tcp *net.TCPConn, conn net.Conn) error{
	"close": func(_ *net.TCPConn, conn net.Conn) error { return conn.Close() },
	"reset": func(tcp *net.TCPConn, _ net.Conn) error { return errors.Join(tcp.SetLinger(0), tcp.Close()) },
	"half": func(_ *net.TCPConn, conn net.Conn) error { // TLS tells that by itself, and TCP nothing
		return conn.(interface{ CloseWrite() error }).CloseWrite()
	},
}

// wantAborts compares all that is told of /wait with the clients' log and with what the
// server says.
func (w *waiter) wantAborts(t *testing.T, ex *labtest.Exporter, service string) {
	t.Helper()
	if says := w.handled(t, 0); !maps.Equal(says, w.log) {
		t.Fatalf("the server says %v, its clients %v", says, w.log)
	}
	aborted := w.log[noticed] + w.log[failedThen] + w.log[panickedAny]
	good, bad := w.log[ok], w.log[failed]
	want := map[judged]float64{}
	for slo, events := range map[string][2]float64{
		"judged":  {good + w.log[noticed], bad + w.log[failedThen] + w.log[panickedAny]},
		"good":    {good + aborted, bad},
		"bad":     {good, bad + aborted},
		"ignored": {good, bad},
		"instant": {0, good + bad},
	} {
		want[judged{slo, "/wait", "good"}], want[judged{slo, "/wait", "bad"}] = events[0], events[1]
	}
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		var errs []error
		for j, n := range want {
			errs = append(errs, exact(x, fmt.Sprintf("%+v", j), eventsOf(x, service)[j], n))
		}
		labels := labtest.Labels{"service": service, "path": "/wait"}
		for says, n := range w.log {
			errs = append(errs, exact(x, "requests "+says, float64(x.HistogramCount(requestDurations, labels.With("status_code", says))), n))
		}
		for _, says := range gone {
			errs = append(errs, exact(x, "aborted "+says, float64(x.HistogramCount(abortedDurations, labels.With("status_code", says))), w.log[says]))
		}
		// Clients that close their connection once they have the answer have not gone before.
		return errors.Join(append(errs, exact(x, "aborted", float64(x.HistogramCount(abortedDurations, labtest.Labels{"service": service})), aborted))...)
	})
}

// one has a client with a connection of HTTP/1 for each that leaves or stays.
func (w *waiter) one(t *testing.T) {
	t.Helper()
	type client struct {
		tcp     *net.TCPConn
		conn    net.Conn
		answers *bufio.Reader
	}
	ask := func(says string) client {
		tcp, conn := w.dial(t)
		if _, err := fmt.Fprint(conn, request(w.path(says))); err != nil {
			t.Fatal(err)
		}
		return client{tcp, conn, bufio.NewReader(conn)}
	}
	answers := func(c client, says string) {
		response, err := http.ReadResponse(c.answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if err := same("answer", strconv.Itoa(response.StatusCode), says); err != nil {
			t.Error(err)
		}
	}
	leavers := map[string][]client{}
	for way := range leave {
		for _, says := range gone {
			leavers[way] = append(leavers[way], ask(says))
		}
	}
	keeps, fails := ask(ok), ask(failed)
	w.handled(t, len(leave)*len(gone)+2)
	for way, clients := range leavers {
		for _, c := range clients {
			if err := leave[way](c.tcp, c.conn); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.handled(t, 2)
	for i, says := range gone[:2] { // they can still read what nobody else can
		answers(leavers["half"][i], says)
	}
	w.release(t)
	answers(keeps, ok)
	answers(fails, failed)
	fails.conn.Close()

	// The same connection again.
	if _, err := fmt.Fprint(keeps.conn, request(w.path(ok))); err != nil {
		t.Fatal(err)
	}
	w.handled(t, 1)
	w.release(t)
	answers(keeps, ok)
	keeps.conn.Close()
}

// many has clients whose connections carry several streams, all of which leave, or one of them.
func (w *waiter) many(t *testing.T) {
	t.Helper()
	type stream struct {
		says   string
		cancel context.CancelFunc
		ended  chan error
	}
	ask := func(m *multiplexed, says string) stream {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, m.origin+w.path(says), nil)
		if err != nil {
			t.Fatal(err)
		}
		s := stream{says, cancel, make(chan error, 1)}
		go func() {
			response, err := m.RoundTrip(r)
			if err == nil {
				response.Body.Close()
				err = same("answer", strconv.Itoa(response.StatusCode), says)
			}
			s.ended <- err
		}()
		return s
	}
	connect := func() (*net.TCPConn, *multiplexed) {
		conn, err := w.dialer.Dial("tcp", w.Listen[0])
		if err != nil {
			t.Fatal(err)
		}
		return conn.(*net.TCPConn), multiplexOver(t, conn, w.Listen[0], w.secure())
	}
	leavers := map[string]*net.TCPConn{}
	for way := range leave {
		tcp, m := connect()
		leavers[way] = tcp
		for _, says := range gone {
			ask(m, says)
		}
	}
	_, m := connect()
	var resets, stays []stream
	for _, says := range gone {
		resets = append(resets, ask(m, says))
	}
	for _, says := range []string{ok, failed} {
		stays = append(stays, ask(m, says))
	}
	w.handled(t, (len(leave)+1)*len(gone)+len(stays))
	for way, tcp := range leavers {
		if err := leave[way](tcp, tcp); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range resets {
		s.cancel()
	}
	w.handled(t, len(stays))
	w.release(t)
	for _, s := range stays {
		if err := <-s.ended; err != nil {
			t.Error(err)
		}
	}
}

// A client has gone if net/http has cancelled the context of its request, which the
// handlers report by their status.
func TestAborts_are_those_of_which_net_http_has_cancelled_the_context_and_are_judged_by_policy(t *testing.T) {
	testenv.NeedRoot(t)
	plain, secure := startWaiter(t, "http", "-h2c"), startWaiter(t, "https", "-tls", "-write-timeout=1h")
	config := "services:\n"
	for name, w := range map[string]*waiter{"plain": plain, "secure": secure} {
		config += fmt.Sprintf("  - name: %s\n    match: {ports: [%d]}\n    slos:%s", name, netip.MustParseAddrPort(w.Listen[0]).Port(), policies)
	}
	ex := labtest.StartExporter(t, labtest.Options{Config: config})
	for name, w := range map[string]*waiter{"plain": plain, "secure": secure} {
		ex.WaitAttached(w.PID)
		w.one(t)
		w.wantAborts(t, ex, name)
		w.many(t)
		w.wantAborts(t, ex, name)
	}
}

// The socket of the process is not the one that TCP has for such a connection.
func TestAborts_are_those_of_MPTCP_clients_too(t *testing.T) {
	testenv.NeedRoot(t)
	needMPTCP(t)
	w := startWaiter(t, "http")
	ex := labtest.StartExporter(t, labtest.Options{Config: shopConfig(w.Server, policies)})
	ex.WaitAttached(w.PID)
	w.dialer.SetMultipathTCP(true)
	tcp, conn := w.dial(t)
	if multipath, err := tcp.MultipathTCP(); !multipath || err != nil {
		t.Fatalf("the connection is one of MPTCP: %v (%v)", multipath, err)
	}
	conn.Close()
	w.one(t)
	w.wantAborts(t, ex, "shop")
}

// net/http stops to look at a connection once a byte of the next request is there, and does
// not see that nothing follows.
func TestAborts_are_not_requests_with_another_one_behind_them(t *testing.T) {
	testenv.NeedRoot(t)
	w := startWaiter(t, "http")
	ex := labtest.StartExporter(t, labtest.Options{})
	service := ex.WaitAttached(w.PID).Name
	tcp, conn := w.dial(t)
	if _, err := fmt.Fprint(conn, request(w.path(ok))); err != nil {
		t.Fatal(err)
	}
	w.handled(t, 1)
	if _, err := fmt.Fprint(conn, request("/implicit")); err != nil {
		t.Fatal(err)
	}
	if err := tcp.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, func() error {
		for _, s := range labtest.Sockets(t, nil) {
			if s.Local.String() == w.Listen[0] && s.Remote.String() == conn.LocalAddr().String() {
				return same("state of the connection", s.State, closeWait)
			}
		}
		return errors.New("the server has no such connection")
	})
	w.release(t)
	answers := bufio.NewReader(conn)
	for range 2 {
		response, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := same("answer", strconv.Itoa(response.StatusCode), ok); err != nil {
			t.Error(err)
		}
		response.Body.Close()
	}
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		labels := labtest.Labels{"service": service, "path": "/wait"}
		return errors.Join(
			exact(x, "requests", x.HistogramCount(requestDurations, labels), 1),
			exact(x, "aborted", x.HistogramCount(abortedDurations, labels), 0))
	})
}

// WriteTimeout ends a stream, too, and so does the head of an answer that has no body.
func TestAborts_are_not_what_the_server_has_ended(t *testing.T) {
	testenv.NeedRoot(t)
	for _, c := range []struct {
		method, path string
		flags        []string
		answers      bool
	}{
		{"GET", "/slow?ms=1000", []string{"-tls", "-write-timeout=100ms"}, false},
		{"HEAD", "/stream", []string{"-tls"}, true},
	} {
		t.Run(c.method, func(t *testing.T) {
			server := labtest.StartServer(t, labtest.ServerOptions{Flags: c.flags})
			ex := labtest.StartExporter(t, labtest.Options{})
			service := labtest.Labels{"service": ex.WaitAttached(server.PID).Name}
			conn, err := net.Dial("tcp", server.Listen[0])
			if err != nil {
				t.Fatal(err)
			}
			m := multiplexOver(t, conn, server.Listen[0], true)
			request, err := http.NewRequest(c.method, m.origin+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := m.RoundTrip(request)
			if err == nil {
				response.Body.Close()
			}
			if (err == nil) != c.answers {
				t.Errorf("got %v", err)
			}
			labtest.Settles(t, func() error {
				x := ex.Scrape()
				return errors.Join(
					exact(x, "requests", x.HistogramCount(requestDurations, service), 1),
					exact(x, "aborted", x.HistogramCount(abortedDurations, service), 0))
			})
		})
	}
}

// net/http reads a connection no further than the body that its handler leaves unread; the
// kernel has seen the client go.
func TestAborts_are_those_of_clients_whose_body_nobody_reads(t *testing.T) {
	testenv.NeedRoot(t)
	w := startWaiter(t, "http")
	ex := labtest.StartExporter(t, labtest.Options{})
	service := ex.WaitAttached(w.PID).Name
	_, conn := w.dial(t)
	if _, err := fmt.Fprint(conn, "GET "+w.path(ok)+" HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"); err != nil {
		t.Fatal(err)
	}
	w.handled(t, 1)
	conn.Close()
	labtest.Eventually(t, func() error {
		for _, s := range labtest.Sockets(t, nil) {
			if s.Local.String() == w.Listen[0] && s.Remote.String() == conn.LocalAddr().String() {
				return same("state of the connection", s.State, closeWait)
			}
		}
		return errors.New("the server has no such connection")
	})
	w.release(t)
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		labels := labtest.Labels{"service": service, "path": "/wait", "status_code": ok}
		return errors.Join(
			exact(x, "requests", x.HistogramCount(requestDurations, labels), 1),
			exact(x, "aborted", x.HistogramCount(abortedDurations, labels), 1))
	})
}

// net/http looks at such a connection no more, whose end is its handler's affair.
func TestAborts_are_not_connections_that_were_taken_over(t *testing.T) {
	const n = 20
	testenv.NeedRoot(t)
	w := startWaiter(t, "http")
	ex := labtest.StartExporter(t, labtest.Options{})
	service := ex.WaitAttached(w.PID).Name
	for range n {
		tcp, conn := w.dial(t)
		_, err := fmt.Fprint(conn, request("/forget"))
		if err := errors.Join(err, tcp.CloseWrite()); err != nil {
			t.Fatal(err)
		}
	}
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		labels := labtest.Labels{"service": service, "path": "/forget"}
		return errors.Join(
			exact(x, "requests", x.HistogramCount(requestDurations, labels.With("status_code", "hijacked")), n),
			exact(x, "aborted", x.HistogramCount(abortedDurations, labels), 0))
	})
}
