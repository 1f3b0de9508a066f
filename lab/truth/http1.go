// SPDX-License-Identifier: Apache-2.0

package truth

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

// http1 is one worker's HTTP/1.1 client. It keeps one connection alive for as long as
// the server does and never sends a request twice.
type http1 struct {
	destination destination
	run         context.Context // its end closes the connection, whoever reads from it
	seen        *wire

	conn   net.Conn // nil when the next request has to open one
	reader *bufio.Reader
	detach func() bool // from run
}

func (c *http1) exchange(_ context.Context, r request) (status string, took time.Duration, err error) {
	if c.conn == nil {
		if err := c.connect(); err != nil {
			return "", 0, err
		}
	}
	start := time.Now()
	if err := c.conn.SetDeadline(start.Add(requestTimeout)); err != nil {
		return "", 0, err
	}
	status, keep, err := c.roundTrip(r)
	if !keep || err != nil {
		c.close()
	}
	if r.cut && wasCut(err) {
		return "panic", time.Since(start), nil
	}
	return status, time.Since(start), err
}

// roundTrip writes the request and reads all of the answer; keep says whether the
// connection can take another.
func (c *http1) roundTrip(r request) (status string, keep bool, err error) {
	if _, err := c.conn.Write(encode(r)); err != nil {
		return "", false, err
	}
	resp, err := c.readHeader(r.Method)
	if err != nil {
		return "", false, err
	}
	// The body needs no Close, which would wait for the rest of it: it is read to its
	// end, or the connection is closed.
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return "hijacked", false, c.echo()
	}
	status = strconv.Itoa(resp.StatusCode)
	if r.leave {
		_, err = io.ReadFull(resp.Body, make([]byte, 1))
		return status, false, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return status, !resp.Close, err
}

// readHeader reads up to the body of the final response.
func (c *http1) readHeader(method string) (*http.Response, error) {
	for {
		resp, err := http.ReadResponse(c.reader, &http.Request{Method: method})
		if err != nil {
			return nil, err
		}
		final := resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols
		if final {
			return resp, nil
		}
		c.seen.informational.Add(1)
	}
}

// echo talks to the handler of GET /hijack: what goes in comes back, then the
// connection ends.
func (c *http1) echo() error {
	const line = "anyone there?\n"
	if _, err := io.WriteString(c.conn, line); err != nil {
		return err
	}
	back, err := io.ReadAll(c.reader)
	if err != nil {
		return err
	}
	if string(back) != line {
		return fmt.Errorf("hijacked connection echoed %q, want %q", back, line)
	}
	return nil
}

func (c *http1) connect() error {
	conn, err := c.destination.dial(c.run, c.seen)
	if err != nil {
		return err
	}
	c.conn, c.reader = conn, bufio.NewReader(conn)
	c.detach = context.AfterFunc(c.run, func() { conn.Close() })
	return nil
}

func (c *http1) close() {
	if c.conn != nil {
		c.detach()
		c.conn.Close()
		c.conn = nil
	}
}

// encode writes the request out in one piece.
func encode(r request) []byte {
	b := fmt.Appendf(nil, "%s %s%s HTTP/1.1\r\nHost: lab\r\n", r.Method, r.Path, r.query)
	if r.Method == http.MethodPost {
		b = fmt.Appendf(b, "Content-Length: %d\r\n", len(r.body))
	}
	return fmt.Appendf(b, "\r\n%s", r.body)
}

// wasCut tells the end of a connection from other errors.
func wasCut(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}
