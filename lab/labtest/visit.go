// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Visit is what a client asks on each of its connections.
type Visit struct {
	From netip.Addr // port 0: the kernel chooses
	To   netip.AddrPort
	Ask  string // a request
	End  string // of its answer
}

// Do connects, asks and reads the answer to its end. The connection, which is blocking,
// has no goroutine, no buffer and no poller.
func (v Visit) Do() (*Conn, error) {
	fd, err := unix.Socket(family(v.To), unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open socket to visit: %w", err)
	}
	c := &Conn{FD: fd}
	if err := v.ask(c); err != nil {
		c.Close()
		return nil, fmt.Errorf("visit %s from %s: %w", v.To, v.From, err)
	}
	return c, nil
}

func (v Visit) ask(c *Conn) error {
	if err := unix.SetsockoptTimeval(c.FD, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 60}); err != nil {
		return err
	}
	// A port that another destination has will do: connect() chooses it, which is faster.
	if err := unix.SetsockoptInt(c.FD, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return err
	}
	if err := unix.Bind(c.FD, sockaddr(netip.AddrPortFrom(v.From, 0))); err != nil {
		return err
	}
	if err := unix.Connect(c.FD, sockaddr(v.To)); err != nil {
		return err
	}
	if _, err := unix.Write(c.FD, []byte(v.Ask)); err != nil {
		return err
	}
	answer, size := make([]byte, 1024), 0
	for !bytes.HasSuffix(answer[:size], []byte(v.End)) {
		n, err := unix.Read(c.FD, answer[size:])
		if err == unix.EINTR { // a signal of Go's runtime
			continue
		}
		if n == 0 && err == nil {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("after %q: %w", answer[:size], err)
		}
		size += n
	}
	return nil
}

// Visitors is a child process with connections that have asked once and stay.
type Visitors struct {
	Addresses []netip.AddrPort // their own
	worker    *Worker
}

// StartVisitors makes n connections and returns when the last one has its answer.
func StartVisitors(t testing.TB, n int, visit Visit) *Visitors {
	t.Helper()
	w := StartWorker(t, nil, WorkerOptions{Visit: &visit, Visits: n})
	return &Visitors{w.Visitors, w}
}

// Leave closes all of the connections.
func (v *Visitors) Leave() { v.worker.Kill() }

// visit is the process of StartVisitors. It holds the connections until its stdin ends.
func visit(opts WorkerOptions, in io.Reader, reply *json.Encoder) error {
	self := Worker{PID: os.Getpid()}
	for range opts.Visits {
		c, err := opts.Visit.Do()
		if err != nil {
			return err
		}
		name, err := unix.Getsockname(c.FD)
		if err != nil {
			return fmt.Errorf("read own address: %w", err)
		}
		port := name.(*unix.SockaddrInet4).Port
		self.Visitors = append(self.Visitors, netip.AddrPortFrom(opts.Visit.From, uint16(port)))
	}
	if err := reply.Encode(self); err != nil {
		return fmt.Errorf("report addresses: %w", err)
	}
	_, err := io.Copy(io.Discard, in)
	return err
}
