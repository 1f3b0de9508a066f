// SPDX-License-Identifier: Apache-2.0

package matrix

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tcpslo/tcpslo/lab/labtest"
)

// wantTraces sends slow requests, each with a Traceparent of its own among more and more
// other headers: the map of headers has another form in each, and in each release of Go.
func wantTraces(t *testing.T, exporter *labtest.Exporter, server *labtest.Server) {
	t.Helper()
	sent := map[string]bool{}
	failed := make([]error, 4)
	var asking sync.WaitGroup
	for i, others := range []int{1, 7, 12, 40} {
		trace := fmt.Sprintf("00-%032x-%016x-01", i+1, i+1)
		sent[trace] = true
		headers := strings.Repeat("X-Other-%d: 1\r\n", others)
		for n := range others {
			headers = strings.Replace(headers, "%d", fmt.Sprint(n), 1)
		}
		asking.Go(func() {
			failed[i] = ask(server.Listen[0], "GET /slow?ms=300 HTTP/1.1\r\nHost: x\r\n"+headers+"traceparent: "+trace+"\r\n\r\n")
		})
	}
	asking.Wait()
	if err := errors.Join(failed...); err != nil {
		t.Fatal(err)
	}
	labtest.Settles(t, func() error {
		got := map[string]bool{}
		for _, r := range exporter.Requests("path=/slow&slow=true&slower_than=250ms") {
			got[r.Trace] = true
		}
		if !maps.Equal(got, sent) {
			return fmt.Errorf("requests with the traces %q are told of, want %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(sent)))
		}
		return nil
	})
}

// ask sends one request and waits for the end of its answer.
func ask(addr, request string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		return err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}
