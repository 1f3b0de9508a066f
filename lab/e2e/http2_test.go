// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"

	"github.com/tcpslo/tcpslo/lab/labtest"
)

// serveX serves by golang.org/x/net/http2, in the test's own process, and returns the
// address. Its streams come from behind net/http's server, by TLS, or from a handler that
// has taken over a connection without TLS.
func serveX(t *testing.T, path string, secure bool) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc(path, answerLate)
	server := &http.Server{Handler: mux}
	if secure {
		borrowed := httptest.NewTLSServer(nil)
		borrowed.Close()
		server.TLSConfig = &tls.Config{Certificates: borrowed.TLS.Certificates}
		if err := xhttp2.ConfigureServer(server, &xhttp2.Server{}); err != nil {
			t.Fatal(err)
		}
		listener = tls.NewListener(listener, server.TLSConfig)
	} else {
		server.Handler = h2c.NewHandler(mux, &xhttp2.Server{})
	}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return listener.Addr().String()
}

// answerLate answers after as many milliseconds as the query says.
func answerLate(w http.ResponseWriter, r *http.Request) {
	if d, err := time.ParseDuration(r.URL.Query().Get("ms") + "ms"); err == nil {
		time.Sleep(d)
	}
	io.WriteString(w, "hello")
}

// multiplexed is a client with one connection of HTTP/2.
type multiplexed struct {
	*xhttp2.ClientConn
	address netip.AddrPort // its own
	origin  string
}

func multiplex(t *testing.T, server string, secure bool) *multiplexed {
	t.Helper()
	conn, err := net.Dial("tcp", server)
	if err != nil {
		t.Fatal(err)
	}
	return multiplexOver(t, conn, server, secure)
}

func multiplexOver(t *testing.T, conn net.Conn, server string, secure bool) *multiplexed {
	t.Helper()
	var err error
	m := &multiplexed{address: netip.MustParseAddrPort(conn.LocalAddr().String()), origin: "http://" + server}
	if secure {
		m.origin = "https://" + server
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	}
	if m.ClientConn, err = (&xhttp2.Transport{AllowHTTP: true}).NewClientConn(conn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// begin sends n requests at once. The function that it returns waits for their answers.
func (m *multiplexed) begin(t *testing.T, path string, n int) (wait func()) {
	t.Helper()
	ended := make(chan error, n)
	for range n {
		go func() {
			request, err := http.NewRequest(http.MethodGet, m.origin+path, nil)
			if err != nil {
				ended <- err
				return
			}
			response, err := m.RoundTrip(request)
			if err == nil {
				_, err = io.Copy(io.Discard, response.Body)
				response.Body.Close()
			}
			ended <- err
		}()
	}
	return func() {
		t.Helper()
		for range n {
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
		}
	}
}

// overHTTP2 is what multiplexes: a kind of server, and its clients.
type overHTTP2 struct {
	ex      *labtest.Exporter
	pid     int
	path    string
	service labtest.Labels
	preface uint64 // requests that a connection begins with, whose handlers take it over
	clients []*multiplexed
}

const perConnection = 100

// overEachHTTP2 has a hundred streams at once on each of four connections to each kind
// of server. Before is called when there is nothing yet, after when all have been answered.
func overEachHTTP2(t *testing.T, before, after func(t *testing.T, o *overHTTP2)) {
	ex := start(t)
	plain := labtest.StartServer(t, labtest.ServerOptions{Flags: []string{"-h2c"}})
	secure := labtest.StartServer(t, labtest.ServerOptions{Flags: []string{"-tls"}})
	for _, c := range []struct {
		sentence string
		tls      bool
		pid      int
		server   string // "": golang.org/x/net/http2
		preface  uint64
	}{
		{"HTTP/2 in TLS", true, secure.PID, secure.Listen[0], 0},
		{"HTTP/2 without TLS", false, plain.PID, plain.Listen[0], 0},
		{"golang.org/x/net/http2 behind net/http", true, os.Getpid(), "", 0},
		{"golang.org/x/net/http2 in a connection that its handler has taken over", false, os.Getpid(), "", 1},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			path := "/slow"
			if c.server == "" {
				path = "/" + strings.ReplaceAll(strings.ReplaceAll(t.Name(), "/", "-"), " ", "-")
				c.server = serveX(t, path, c.tls)
			}
			o := &overHTTP2{ex: ex, pid: c.pid, path: path, service: labtest.Labels{"service": ex.WaitAttached(c.pid).Name}, preface: c.preface}
			before(t, o)
			for range 4 {
				m := multiplex(t, c.server, c.tls)
				o.clients = append(o.clients, m)
				m.begin(t, path+"?ms=1", perConnection)()
			}
			after(t, o)
		})
	}
}

// One of the streams that begin at once, on whatever CPU, has the stages of the connection.
func TestStreams_have_the_stages_of_their_connection_once(t *testing.T) {
	var earlier map[string]stage
	overEachHTTP2(t, func(_ *testing.T, o *overHTTP2) { earlier = stagesOf(o.ex.Scrape(), o.service) }, func(t *testing.T, o *overHTTP2) {
		connections := uint64(len(o.clients))
		since := func(ended, prefaces uint64) {
			t.Helper()
			labtest.Settles(t, func() error {
				x := o.ex.Scrape()
				handled := earlier["handler"].count + ended
				return errors.Join(
					wantStages(x, o.service, earlier["handshake"].count+connections, earlier["accept_queue"].count+connections, prefaces, prefaces, handled, 0, 0),
					exact(x, "requests", x.HistogramCount("tcpslo_http_request_duration_seconds", o.service), handled))
			})
		}
		if o.preface == 0 { // or the stages come when the connection has ended
			since(connections*perConnection, 0)
		}
		for _, m := range o.clients {
			m.Close()
		}
		begun := o.preface * connections
		since(connections*perConnection+begun, begun)
	})
}

func TestStreams_are_requests_of_the_connection_that_is_listed(t *testing.T) {
	overEachHTTP2(t, func(*testing.T, *overHTTP2) {}, func(t *testing.T, o *overHTTP2) {
		began := time.Now()
		wait := o.clients[0].begin(t, o.path+"?ms=2000", perConnection)
		labtest.Eventually(t, func() error {
			all := o.ex.Connections(o.pid)
			var errs []error
			for i, m := range o.clients {
				one, ok := all[m.address]
				want := perConnection + o.preface
				if i == 0 {
					want += perConnection
				}
				if !ok || one.Goroutine == nil {
					errs = append(errs, fmt.Errorf("connection from %v: %+v", m.address, one))
					continue
				}
				errs = append(errs, same(fmt.Sprintf("requests from %v", m.address), one.Requests, want), same("accepted", one.Accepted.IsZero(), false))
				if o.preface == 0 { // or it is the one that has taken over the connection
					errs = append(errs, same("a request is under way", one.Request.After(began), i == 0))
				}
			}
			return errors.Join(errs...)
		})
		wait()
	})
}

// halfOpen is the client's end of a connection that stays open when the server has closed its
// own, whose socket the kernel then keeps for a minute (FIN_WAIT2).
type halfOpen struct {
	net.Conn
	once  sync.Once
	ended chan struct{} // is closed at the end of what the server sends
}

func (o *halfOpen) Close() error { return nil }

func (o *halfOpen) Read(b []byte) (int, error) {
	n, err := o.Conn.Read(b)
	if err != nil {
		o.once.Do(func() { close(o.ended) })
	}
	return n, err
}

// Go makes a new connection's serverConn where an earlier one's was, whose socket is there
// still.
func TestStreams_are_not_those_of_a_connection_that_the_server_has_closed(t *testing.T) {
	ex := start(t)
	server := labtest.StartServer(t, labtest.ServerOptions{Flags: []string{"-h2c", "-idle-timeout", "10ms"}})
	service := labtest.Labels{"service": ex.WaitAttached(server.PID).Name}
	const rounds, connections = 4, 100
	for range rounds {
		var all []*halfOpen
		for range connections {
			conn, err := net.Dial("tcp", server.Listen[0])
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			o := &halfOpen{Conn: conn, ended: make(chan struct{})}
			all = append(all, o)
			multiplexOver(t, o, server.Listen[0], false).begin(t, "/hello/x", 1)()
		}
		for _, o := range all {
			<-o.ended
		}
		server.Get(t, "/deep") // which collects the garbage
	}
	labtest.Settles(t, func() error {
		const n = rounds * connections
		return wantStages(ex.Scrape(), service, n+rounds, n+rounds, rounds, rounds, n+rounds, rounds, rounds)
	})
}
