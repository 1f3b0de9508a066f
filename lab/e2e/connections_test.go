// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/lab/labtest"
)

// counted is a visitor that counts what goes in and what comes out.
type counted struct {
	net.Conn
	in, out uint64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.in += uint64(n)
	return n, err
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.out += uint64(n)
	return n, err
}

func visitCounted(t *testing.T, server *labtest.Server) (*visitor, *counted) {
	t.Helper()
	v := visit(t, server)
	c := &counted{Conn: v.Conn}
	v.Conn = c
	v.answers.Reset(c)
	return v, c
}

func addressOf(v *visitor) netip.AddrPort { return netip.MustParseAddrPort(v.LocalAddr().String()) }

// cookies are those of the sockets of a server, as ss shows them, by the address of
// their client.
func cookies(t *testing.T, server *labtest.Server) map[string]string {
	t.Helper()
	port := netip.MustParseAddrPort(server.Listen[0]).Port()
	out, err := exec.Command("ss", "-Htne", "state", "connected", fmt.Sprintf("sport = :%d", port)).CombinedOutput()
	if err != nil {
		t.Fatalf("ss: %v: %s", err, out)
	}
	all := map[string]string{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		for _, field := range fields {
			if cookie, ok := strings.CutPrefix(field, "sk:"); ok {
				all[fields[4]] = cookie
			}
		}
	}
	return all
}

// Each connection is told with what its client, ss, /proc and its own handler know of it.
func TestConnections_are_those_that_client_and_server_have(t *testing.T) {
	ex := start(t)
	server := labtest.StartServer(t, labtest.ServerOptions{})
	ex.WaitAttached(server.PID)

	began := time.Now()
	silent, _ := visitCounted(t, server) // has never asked
	idle, idleBytes := visitCounted(t, server)
	var goroutine string
	for range 3 {
		idle.ask(t, "/goroutine")
		response, err := http.ReadResponse(idle.answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		goroutine = string(body)
	}
	busy, busyBytes := visitCounted(t, server)
	busy.ask(t, "/slow?ms=10000")
	left, _ := visitCounted(t, server) // closes its end while its handler works
	left.ask(t, "/slow?ms=10000")
	left.Conn.(*counted).Conn.(*net.TCPConn).CloseWrite()

	labtest.Settles(t, func() error {
		all := ex.Connections(server.PID)
		ended := time.Now() // a client is done with its part before the server accepts
		if len(all) != 4 {
			return fmt.Errorf("%d connections, want 4: %+v", len(all), all)
		}
		ss := cookies(t, server)
		var errs []error
		for name, v := range map[string]*visitor{"silent": silent, "idle": idle, "busy": busy, "left": left} {
			c, ok := all[addressOf(v)]
			if !ok {
				return fmt.Errorf("%s: no connection from %v", name, addressOf(v))
			}
			link, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", server.PID, c.FD))
			errs = append(errs, same(name+": what its descriptor is", link, fmt.Sprintf("socket:[%d]", c.Inode)),
				same(name+": cookie", c.Cookie, ss[addressOf(v).String()]), same(name+": local address", c.Local.String(), server.Listen[0]))
			if c.Goroutine == nil {
				errs = append(errs, fmt.Errorf("%s: no goroutine", name))
				continue
			}
			errs = append(errs, same(name+": created by", c.Goroutine.CreatedBy, "net/http.(*Server).Serve"))
			if c.Opened.Before(began.Add(-time.Millisecond)) || c.Accepted.Before(c.Opened) || c.Accepted.After(ended) {
				if name != "silent" { // the probes have not met it
					errs = append(errs, fmt.Errorf("%s: opened %v, accepted %v, want times from %v to %v", name, c.Opened, c.Accepted, began, ended))
				}
			}
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
		s, i, b, l := all[addressOf(silent)], all[addressOf(idle)], all[addressOf(busy)], all[addressOf(left)]
		return errors.Join(
			same("requests of the silent one", s.Requests, 0), same("requests of the idle one", i.Requests, 3), same("requests of the busy one", b.Requests, 1),
			same("goroutine of the idle one", strconv.FormatUint(i.Goroutine.ID, 10), goroutine),
			same("what the idle one waits for", i.Goroutine.WaitReason, "IO wait"), same("what the busy one waits for", b.Goroutine.WaitReason, "sleep"),
			same("a request of the idle one", i.Request.IsZero(), true), same("a request of the busy one", b.Request.After(began) && b.Request.Before(ended), true),
			same("bytes from the idle one", i.Received, idleBytes.out), same("bytes to the idle one", i.Acknowledged, idleBytes.in), same("bytes from the busy one", b.Received, busyBytes.out),
			same("state of the busy one", b.State, "established"), same("state of the one that left", l.State, "close_wait"),
			same("who closed the busy one", b.ClosedBy, ""), same("who closed the one that left", l.ClosedBy, "client"),
		)
	})
}
