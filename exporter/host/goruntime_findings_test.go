// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/exporter/names"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// clients connects so many clients to a server.
func clients(t *testing.T, server *labtest.Server, n int) []net.Conn {
	t.Helper()
	var all []net.Conn
	for range n {
		conn, err := net.Dial("tcp", server.Listen[0])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		all = append(all, conn)
	}
	return all
}

// request sends a request on each connection and reads the first line of the answer.
func request(t *testing.T, all []net.Conn, path, status string) {
	t.Helper()
	for _, conn := range all {
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: lab\r\n\r\n", path); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil || !strings.Contains(line, status) {
			t.Fatalf("GET %s answered %q, %v; want %s", path, line, err, status)
		}
	}
}

// leave closes the connections.
func leave(all []net.Conn) {
	for _, conn := range all {
		conn.Close()
	}
}

// windows is a collector with a clock.
type windows struct {
	*goRuntime
	now time.Time
}

func newWindows(t *testing.T, server *labtest.Server) *windows {
	w := &windows{goRuntimeOf(t, 20, server.PID), time.Now()}
	w.next(t)
	return w
}

// next lets a window pass.
func (w *windows) next(t *testing.T) *Found {
	t.Helper()
	w.now = w.now.Add(time.Duration(w.options.Window))
	return counted(t, w.goRuntime, w.now)
}

// finds lets windows pass until the only finding is the one that is wanted, and then
// some more, which must not change it.
func (w *windows) finds(t *testing.T, kind FindingKind, count int, creator string) *Found {
	t.Helper()
	check := func() error {
		w.next(t)
		if len(w.findings) != 1 {
			return fmt.Errorf("findings %+v, want one", w.findings)
		}
		f := w.findings[0]
		if f.Kind != kind || f.Count != count || f.Creator != creator || f.Service != "shop" || f.Since.IsZero() || f.Remedy == "" || !strings.Contains(f.Summary, fmt.Sprint(count)) || !strings.Contains(f.Summary, creator) {
			return fmt.Errorf("finding %+v, want %s of %d, created by %q", f, kind, count, creator)
		}
		return nil
	}
	labtest.Eventually(t, check)
	for range 10 {
		if err := check(); err != nil {
			t.Fatal(err)
		}
	}
	return w.next(t)
}

const httpConnections = "net/http.(*Server).Serve"

func TestHijacked_connections_that_were_forgotten_are_found_whether_their_clients_stay_or_leave(t *testing.T) {
	server := startServer(t)
	all := clients(t, server, 5)
	request(t, all, "/hello/you", "200")
	w := newWindows(t, server)
	request(t, all, "/forget", "101")
	f := w.finds(t, hijackedForgotten, 5, httpConnections)
	if got := valuesOf(f, names.FDsWithoutOwner)[""]; got != 5 {
		t.Errorf("%v descriptors without owner, want 5", got)
	}
	leave(all[:2])
	w.finds(t, hijackedForgotten, 5, httpConnections)
}

func TestHijacked_connection_that_nobody_was_seen_to_wait_for_is_found_beside_others_that_are_served(t *testing.T) {
	server := startServer(t)
	request(t, clients(t, server, 4), "/hello/you", "200")
	request(t, clients(t, server, 2), "/stuck", "200")
	request(t, clients(t, server, 3), "/forget", "101")
	newWindows(t, server).finds(t, hijackedForgotten, 3, "")
}

func TestConnections_whose_client_has_left_are_found_with_the_function_that_created_their_goroutine(t *testing.T) {
	for path, creator := range map[string]string{"/abandon": "main.abandon", "/stuck": httpConnections} {
		t.Run(path, func(t *testing.T) {
			server := startServer(t)
			all := clients(t, server, 4)
			request(t, all, "/hello/you", "200")
			w := newWindows(t, server)
			request(t, all, path, "")
			for range 10 { // as long as the clients are there, nothing is wrong
				if w.next(t); len(w.findings) != 0 {
					t.Fatalf("with its clients: %+v", w.findings)
				}
			}
			leave(all[1:])
			f := w.finds(t, closeWait, 3, creator)
			if got := valuesOf(f, names.CloseWaitHeld); len(got) != 1 || got[creator] != 3 {
				t.Errorf("held in CLOSE_WAIT: %v, want 3 by %s", got, creator)
			}
		})
	}
}

func TestIdle_connections_of_a_client_are_no_finding_until_their_server_closes_them(t *testing.T) {
	server := startServer(t)
	clients(t, server, 3) // as in the pool of a database client: nobody reads
	w := &windows{goRuntimeOf(t, 20, os.Getpid()), time.Now()}
	for range 10 {
		if w.next(t); len(w.findings) != 0 {
			t.Fatalf("findings %+v", w.findings)
		}
	}
	server.Kill()
	w.finds(t, closeWait, 3, "")
}

func TestRequests_that_began_before_the_first_look_are_taken_for_served(t *testing.T) {
	server := startServer(t)
	all := clients(t, server, 4)
	request(t, all, "/stuck", "200")
	leave(all[1:]) // net/http waits for them no longer
	w := newWindows(t, server)
	w.finds(t, closeWait, 3, httpConnections)
}

func TestDescriptors_that_are_opened_and_never_closed_are_found(t *testing.T) {
	server := startServer(t)
	w := newWindows(t, server)
	for range 10 {
		server.Get(t, "/open")
		w.next(t)
	}
	f, want := w.next(t), 0.0
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", server.PID))
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && filepath.Dir(target) == "/dev" {
			want++ // standard input, too
		}
	}
	leaked := valuesOf(f, names.FDLeak)
	if len(w.findings) != 1 || w.findings[0].Kind != fdLeak || w.findings[0].Creator != "/dev" || len(leaked) != 1 || leaked["/dev"] != want || want < 10 {
		t.Errorf("findings %+v, leaks %v; want %v in /dev", w.findings, leaked, want)
	}
}

func TestServer_under_all_kinds_of_good_use_has_no_finding(t *testing.T) {
	server := startServer(t)
	w := newWindows(t, server)
	idle := clients(t, server, 10)
	request(t, idle, "/hello/you", "200")
	for range 10 {
		short := clients(t, server, 3)
		request(t, short[:2], "/hijack", "101")
		request(t, short[2:], "/slow?ms=1", "200")
		leave(short)
		request(t, clients(t, server, 1), "/hello/you", "200") // and stays
		for _, conn := range idle[:3] {
			fmt.Fprint(conn, "GET /stream HTTP/1.1\r\nHost: lab\r\n\r\n")
		}
		if w.next(t); len(w.findings) != 0 {
			t.Fatalf("findings %+v", w.findings)
		}
	}
}

func TestServer_of_HTTP2_has_no_finding(t *testing.T) {
	server := startServer(t, "-tls")
	w := newWindows(t, server)
	client := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // the lab's own certificate
	defer client.CloseIdleConnections()
	for window := range 10 {
		if window < 5 { // then the connection is idle
			response, err := client.Get("https://" + server.Listen[0] + "/hello/you")
			if err != nil {
				t.Fatal(err)
			}
			if response.Body.Close(); response.ProtoMajor != 2 {
				t.Fatalf("answered by %s", response.Proto)
			}
		}
		if w.next(t); len(w.findings) != 0 {
			t.Fatalf("findings %+v", w.findings)
		}
	}
}
