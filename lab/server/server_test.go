// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/lab/gobuild"
	"github.com/tcpslo/tcpslo/lab/truth"
)

func TestEach_router_shows_its_own_pattern_on_the_request_that_net_http_made(t *testing.T) {
	for router, want := range map[string]string{
		"mux":     "GET /hello/{name}",
		"wrapped": "GET /hello/{name}",
		"copy":    "",
		"bare":    "",
		"fill":    "/hello/{name}",
	} {
		handler, err := newHandler(router, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, w := httptest.NewRequest("GET", "/hello/you", nil), httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Body.String() != "hello, you\n" {
			t.Errorf("router %q answered %d %q", router, w.Code, w.Body)
		}
		if r.Pattern != want {
			t.Errorf("router %q left pattern %q, want %q", router, r.Pattern, want)
		}
	}
}

func TestRoutes_match_as_ServeMux_matches_them(t *testing.T) {
	table := []route{}
	for _, rt := range routes {
		rt.handle = func(http.ResponseWriter, *http.Request) string { return "" }
		table = append(table, rt)
	}
	mux := newMux(table).(*http.ServeMux)
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE"} {
		for _, path := range []string{"/", "/hello/you", "/hello/", "/hello", "/hello/a/b", "/items", "/items/", "/items/7", "/items/7/x", "/slow", "/status/404", "/panic"} {
			_, pattern := mux.Handler(httptest.NewRequest(method, path, nil))
			got := ""
			if rt, ok := find(table, method, path); ok {
				got = rt.method + " " + rt.path
			}
			if got != pattern {
				t.Errorf("%s %s: found route %q, ServeMux found %q", method, path, got, pattern)
			}
		}
	}
}

func TestOnly_the_wrapped_router_hides_the_connection(t *testing.T) {
	for router, want := range map[string]string{"mux": "*net.TCPConn", "wrapped": "*main.wrappedConn"} {
		listeners, addresses, err := openAll(&options{router: router, listen: []listenSpec{{network: "tcp", address: "127.0.0.1:0", sockets: 1}}})
		if err != nil {
			t.Fatal(err)
		}
		defer closeAll(listeners)
		client := dial(t, addresses[0])
		defer client.Close()
		conn, err := listeners[0].Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if got := fmt.Sprintf("%T", conn); got != want {
			t.Errorf("router %q: accepted a %s, want a %s", router, got, want)
		}
	}
}

func TestThe_backlog_is_the_kernels_accept_queue_limit(t *testing.T) {
	somaxconn, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err != nil {
		t.Fatal(err)
	}
	for backlog, want := range map[int]string{3: "3", 0: strings.TrimSpace(string(somaxconn))} {
		for _, value := range []string{"127.0.0.1:0", "127.0.0.1:0,reuseport=2"} {
			spec, err := parseListen(value)
			if err != nil {
				t.Fatal(err)
			}
			listeners, _, err := openAll(&options{backlog: backlog, listen: []listenSpec{spec}})
			if err != nil {
				t.Fatal(err)
			}
			defer closeAll(listeners)
			for _, l := range listeners {
				// tcp_get_info, net/ipv4/tcp.c: of a listening socket tcpi_sacked is
				// sk_max_ack_backlog.
				info, err := unix.GetsockoptTCPInfo(l.fd, unix.SOL_TCP, unix.TCP_INFO)
				if err != nil {
					t.Fatal(err)
				}
				if got := fmt.Sprint(info.Sacked); got != want {
					t.Errorf("-listen %s -backlog %d: the limit is %s, want %s", value, backlog, got, want)
				}
			}
		}
	}
}

func TestListeners_report_the_inode_that_the_kernel_knows(t *testing.T) {
	listeners, addresses, err := openAll(&options{listen: []listenSpec{{network: "tcp", address: "127.0.0.1:0", sockets: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(listeners)
	link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", listeners[0].fd))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("socket:[%d]", listeners[0].inode); link != want {
		t.Errorf("descriptor %d of %s is %s, want %s", listeners[0].fd, addresses[0], link, want)
	}
}

func TestA_server_that_does_not_accept_leaves_connections_in_the_queue(t *testing.T) {
	server := start(t, "-no-accept", "-backlog", "8")
	for range 3 {
		defer dial(t, server.Listen[0]).Close()
	}
	if got := acceptQueue(t, server.Listen[0]); got != 3 {
		t.Errorf("the accept queue holds %d connections, want 3", got)
	}
	conn := dial(t, server.Listen[0])
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: lab\r\n\r\n")
	conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes and error %v, want silence", n, err)
	}
}

func TestTimeouts_end_connections_that_wait_too_long(t *testing.T) {
	for _, c := range []struct{ flag, send string }{
		{"-read-header-timeout", "GET / HTTP/1.1\r\n"},
		{"-read-timeout", "POST /items HTTP/1.1\r\nHost: lab\r\nContent-Length: 9\r\n\r\n"},
		{"-idle-timeout", "GET /hello/you HTTP/1.1\r\nHost: lab\r\n\r\n"},
		{"-write-timeout", "GET /slow?ms=60 HTTP/1.1\r\nHost: lab\r\n\r\n"},
	} {
		t.Run(c.flag, func(t *testing.T) {
			server := start(t, c.flag, "50ms")
			conn := dial(t, server.Listen[0])
			defer conn.Close()
			fmt.Fprint(conn, c.send)
			conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			// The server may answer first, but then it hangs up.
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the server kept the connection for 5 s")
			}
		})
	}
}

func TestSIGTERM_ends_the_server_cleanly_whatever_clients_do(t *testing.T) {
	server, err := truth.Start(context.Background(), binary(t))
	if err != nil {
		t.Fatal(err)
	}
	send := func(request string) net.Conn {
		conn := dial(t, server.Listen[0])
		t.Cleanup(func() { conn.Close() }) // after Stop
		fmt.Fprint(conn, request)
		return conn
	}
	send("")
	send("GET /hello/you HTTP/1.1\r\n")
	send("GET /slow?ms=9999 HTTP/1.1\r\nHost: lab\r\n\r\n")
	inFlight := send("GET /slow?ms=500 HTTP/1.1\r\nHost: lab\r\n\r\n")
	// Until both handlers run, a shutdown would be right to close the connections.
	for running := 0; running < 2; time.Sleep(time.Millisecond) {
		resp, err := http.Get("http://" + server.Listen[0] + "/-/stats")
		if err != nil {
			t.Fatal(err)
		}
		page := struct {
			InFlight *int `json:"in_flight"`
		}{&running}
		if err := json.NewDecoder(resp.Body).Decode(&page); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	if err := server.Stop(); err != nil {
		t.Error(err)
	}
	answer, err := io.ReadAll(inFlight)
	if err != nil || !strings.Contains(string(answer), "slept 500ms") {
		t.Errorf("the request in flight was answered %q (%v), want its end", answer, err)
	}
}

func TestWrong_flags_are_refused(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"-listen 127.0.0.1:0,reuseport=0", "at least 1"},
		{"-listen 127.0.0.1:0,reuse=2", `unknown option "reuse=2"`},
		{"-router magic", `unknown router "magic"`},
		{"serve", `unexpected argument "serve"`},
		{"-listen unix:/does/not/exist/sock", `listening on "/does/not/exist/sock"`},
	} {
		_, err := truth.Start(t.Context(), binary(t), strings.Fields(c.args)...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want one with %q", c.args, err, c.want)
		}
	}
}

func TestA_profile_is_written_at_exit(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cpu.pprof")
	server, err := truth.Start(t.Context(), binary(t), "-cpuprofile", file)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(content), "\x1f\x8b") {
		t.Errorf("the profile begins with % x, want gzip's magic number", content[:min(len(content), 4)])
	}
}

func binary(t *testing.T) string {
	t.Helper()
	path, err := gobuild.Build(t.Context(), gobuild.Spec{Package: "."})
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// start runs the server as a process for the length of the test.
func start(t *testing.T, flags ...string) *truth.Server {
	t.Helper()
	server, err := truth.Start(context.Background(), binary(t), flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// acceptQueue reads the length of a listening socket's accept queue: its rx_queue in
// /proc/net/tcp (get_tcp4_sock, net/ipv4/tcp_ipv4.c).
func acceptQueue(t *testing.T, address string) int {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var ip, localPort, remote, state, tx, rx uint64
		var slot string
		fmt.Sscanf(lines.Text(), " %s %x:%x %x:%x %x %x:%x", &slot, &ip, &localPort, &remote, new(uint64), &state, &tx, &rx)
		const listening = 10
		if fmt.Sprint(localPort) == port && state == listening {
			return int(rx)
		}
	}
	t.Fatalf("nobody listens on %s", address)
	return 0
}
