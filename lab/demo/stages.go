// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// What a client on a poor line sends.
const (
	drips     = 20
	dripPause = 60 * time.Millisecond // in the middle of a request
)

// drip sends requests in two pieces: for the handler they are as fast as any.
func (c *counts) drip(ctx context.Context, address string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	answers := bufio.NewReader(conn)
	for range drips {
		if _, err := io.WriteString(conn, "GET /status/200 HTTP/1.1\r\n"); err != nil {
			return err
		}
		if err := sleep(ctx, dripPause); err != nil {
			return err
		}
		if _, err := io.WriteString(conn, "Host: "+address+"\r\n\r\n"); err != nil {
			return err
		}
		response, err := http.ReadResponse(answers, nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if err != nil {
			return err
		}
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("GET /status/200 was answered with %s", response.Status)
		}
		c.mu.Lock()
		c.n[request{"GET", "", "/status/{code}", "200"}]++
		c.mu.Unlock()
	}
	return nil
}

var stages = []string{"handshake", "accept_queue", "read_wait", "parse", "handler", "first_packet", "ack"}

// printStages shows how long requests were in each stage, and marks the longest.
func (r report) printStages(out io.Writer, rows []requestRow) {
	t := table{style: r.style, header: []string{"PATH", ">HANDSHAKE", ">ACCEPT QUEUE", ">READ WAIT", ">PARSE", ">HANDLER", ">FIRST PACKET", ">ACK"}}
	shown := map[string]bool{}
	for _, row := range rows {
		if shown[row.path] {
			continue
		}
		shown[row.path] = true
		cells, longest, most := []string{row.path}, 0, 0.0
		for i, stage := range stages {
			mean := r.meanOf("tcpslo_http_request_stage_seconds", labels{"service": busyService, "path": row.path, "stage": stage})
			if mean > most {
				longest, most = i+1, mean
			}
			cells = append(cells, milliseconds(mean))
		}
		cells[longest] = r.style.bold(cells[longest])
		t.add(cells...)
	}
	r.title(out, "where the time goes", "from the SYN to the acknowledgement of the answer, mean; handshake and queue are those of connections")
	t.print(out)
}
