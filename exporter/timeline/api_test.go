// SPDX-License-Identifier: Apache-2.0

package timeline

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// exporter is a server of a store's API, reached without a network, so that it
// lives in the time of a synctest bubble. A pipe holds nothing: what the client doesn't
// read, the server has not written.
type exporter struct {
	store  *Store
	api    *API
	server *http.Server
	client *http.Client
	stop   context.CancelFunc // ends the requests
	pipes  chan net.Conn
}

func newExporter(t *testing.T, protocol string) *exporter {
	var protocols http.Protocols
	protocols.SetHTTP1(protocol == "HTTP/1")
	protocols.SetUnencryptedHTTP2(protocol == "HTTP/2")
	e := &exporter{store: newStore(100), pipes: make(chan net.Conn)}
	e.api = NewAPI(e.store)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/requests", e.api.List)
	mux.HandleFunc("GET /api/v1/requests/stream", e.api.Stream)
	ctx, stop := context.WithCancel(t.Context())
	e.stop = stop
	e.server = &http.Server{Handler: mux, ReadTimeout: time.Minute, Protocols: &protocols, BaseContext: func(net.Listener) context.Context { return ctx }}
	go e.server.Serve(e)
	e.client = &http.Client{Transport: &http.Transport{
		Protocols: &protocols, HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10}, // 4 MB by default
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			e.pipes <- server
			return client, nil
		},
	}}
	t.Cleanup(func() {
		stop()
		e.client.CloseIdleConnections()
		e.server.Close()
	})
	return e
}

// Accept, Close and Addr make it a net.Listener.
func (e *exporter) Accept() (net.Conn, error) {
	c, open := <-e.pipes
	if !open {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (e *exporter) Close() error   { close(e.pipes); return nil }
func (e *exporter) Addr() net.Addr { return &net.UnixAddr{} }

// inBothProtocols runs a test in a bubble for HTTP/1 and in one for HTTP/2.
func inBothProtocols(t *testing.T, test func(*testing.T, *exporter)) {
	for _, protocol := range []string{"HTTP/1", "HTTP/2"} {
		t.Run(protocol, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, newExporter(t, protocol)) })
		})
	}
}

// open asks for a stream, which has begun when it returns.
func (e *exporter) open(t *testing.T, query string) *http.Response {
	t.Helper()
	response, err := e.client.Get("http://exporter/api/v1/requests/stream" + query)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	return response
}

func TestList_answers_with_the_requests_that_are_asked_for(t *testing.T) {
	s := newStore(100)
	whole := full
	whole.Window = testWindow()
	s.Add(whole)
	s.Add(slow("inventory", time.Minute))
	api := NewAPI(s)
	for _, c := range []struct {
		query, contentType string
		code               int
		ids                []string
		body               string
	}{
		{"", "application/json", 200, []string{"inventory-60000000000", full.ID}, ""},
		{"?service=checkout", "application/json", 200, []string{full.ID}, ""},
		{"?service=nobody", "application/json", 200, []string{}, "{\n  \"requests\": []\n}\n"},
		{"?slow=maybe", "text/plain; charset=utf-8", 400, nil, "parameter \"slow\" must be true or false, got \"maybe\"\n"},
	} {
		answer := httptest.NewRecorder()
		api.List(answer, httptest.NewRequest(http.MethodGet, "/api/v1/requests"+c.query, nil))
		body := answer.Body.String()
		if answer.Code != c.code || answer.Header().Get("Content-Type") != c.contentType || c.body != "" && body != c.body {
			t.Errorf("%q: %d, %q\n%s", c.query, answer.Code, answer.Header().Get("Content-Type"), body)
		}
		if c.ids == nil {
			continue
		}
		var got struct{ Requests []Request }
		if err := json.Unmarshal([]byte(body), &got); err != nil || !slices.Equal(ids(got.Requests), c.ids) {
			t.Errorf("%q: %v, %v, want %v", c.query, ids(got.Requests), err, c.ids)
		}
		if i := slices.Index(c.ids, full.ID); i >= 0 && !reflect.DeepEqual(got.Requests[i], full) {
			t.Errorf("%q: got\n%+v\nwant\n%+v", c.query, got.Requests[i], full)
		}
	}
}

func TestStream_carries_each_request_that_its_filter_lets_through_when_it_ends(t *testing.T) {
	inBothProtocols(t, func(t *testing.T, e *exporter) {
		e.store.Add(full) // before the stream
		response := e.open(t, "?service=checkout")
		if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" || response.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s, %v", response.Status, response.Header)
		}
		stream := bufio.NewReader(response.Body)
		text, err := json.Marshal(full)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			e.store.Add(slow("inventory", 1))
			e.store.Add(full)
			for _, want := range []string{"event: request\n", "id: " + full.ID + "\n", "data: " + string(text) + "\n", "\n"} {
				if got, err := stream.ReadString('\n'); err != nil || got != want {
					t.Fatalf("%v, got %q, want %q", err, got, want)
				}
			}
		}
		response.Body.Close()
		synctest.Wait()
		if n := len(e.api.streams) + len(e.store.subscriptions); n != 0 {
			t.Errorf("%d streams and subscriptions are left after the client has gone", n)
		}
	})
}

func TestStream_says_every_15_seconds_of_silence_that_it_is_alive_however_long_it_lasts(t *testing.T) {
	inBothProtocols(t, func(t *testing.T, e *exporter) {
		stream := bufio.NewReader(e.open(t, "").Body)
		read := func(want string) {
			t.Helper()
			if got, err := stream.ReadString('\n'); err != nil || got != want {
				t.Fatalf("%v, got %q, want %q", err, got, want)
			}
		}
		for range 10 { // two and a half minutes, longer than http.Server.ReadTimeout
			began := time.Now()
			read(": keep-alive\n")
			read("\n")
			if silent := time.Since(began); silent != 15*time.Second {
				t.Errorf("silent for %v, want 15 s", silent)
			}
		}
		time.Sleep(10 * time.Second)
		e.store.Add(full)
		began := time.Now()
		for range 4 {
			if line, err := stream.ReadString('\n'); err != nil || strings.HasPrefix(line, ":") {
				t.Fatalf("%v, got %q, want the event", err, line)
			}
		}
		read(": keep-alive\n")
		if silent := time.Since(began); silent != 15*time.Second {
			t.Errorf("silent for %v after an event, want 15 s", silent)
		}
	})
}

func TestStream_tells_a_client_that_was_too_slow_how_many_requests_it_has_lost(t *testing.T) {
	inBothProtocols(t, func(t *testing.T, e *exporter) {
		const first, second = 5000, 1000
		slowly, other := e.open(t, ""), e.store.Subscribe(Filter{})
		sent := 0
		send := func(n int) {
			for range n {
				sent++
				e.store.Add(slow("checkout", time.Duration(sent)))
				<-other.Requests()
				if sent%100 == 0 {
					synctest.Wait() // until the server waits for the client
				}
			}
		}
		send(first)
		go func() {
			time.Sleep(time.Minute)
			e.stop()
		}()
		time.Sleep(writeTimeout / 2)
		var got, lost uint64
		var last time.Duration
		err := ReadEvents(slowly.Body, func(event Event) error {
			switch event.Name {
			case EventRequest:
				var r Request
				if err := json.Unmarshal(event.Data, &r); err != nil {
					return err
				}
				if r.Duration <= last {
					t.Errorf("%d comes after %d", r.Duration, last)
				}
				got, last = got+1, r.Duration
			case EventLost:
				var loss Loss
				if err := json.Unmarshal(event.Data, &loss); err != nil {
					return err
				}
				if lost += loss.Lost; lost == loss.Lost {
					send(second) // while the client doesn't read for a second time
				}
			}
			return nil
		})
		if !errors.Is(err, io.EOF) {
			t.Errorf("the stream ends with %v, want EOF", err)
		}
		if sent != first+second || got+lost != uint64(sent) {
			t.Errorf("%d came and %d are told to be lost, want %d together", got, lost, sent)
		}
		if e.store.Lost() != lost || other.Lost() != 0 {
			t.Errorf("the store has lost %d and told %d; the other subscriber lost %d", e.store.Lost(), lost, other.Lost())
		}
	})
}

func TestStream_ends_when_its_client_does_not_read_for_10_seconds(t *testing.T) {
	inBothProtocols(t, func(t *testing.T, e *exporter) {
		response := e.open(t, "")
		for range 1000 { // more than buffers on the way hold
			e.store.Add(full)
		}
		time.Sleep(writeTimeout - 1)
		synctest.Wait()
		if n := len(e.api.streams); n != 1 {
			t.Errorf("%d streams are open after less than 10 s, want 1", n)
		}
		time.Sleep(1)
		synctest.Wait()
		if n := len(e.api.streams) + len(e.store.subscriptions); n != 0 {
			t.Errorf("%d streams and subscriptions are left after 10 s", n)
		}
		if _, err := io.Copy(io.Discard, response.Body); err == nil {
			t.Error("the client takes the stream for complete")
		}
	})
}

func TestStreams_are_32_at_once_and_another_may_begin_when_one_has_ended(t *testing.T) {
	inBothProtocols(t, func(t *testing.T, e *exporter) {
		var open []*http.Response
		for range 32 {
			open = append(open, e.open(t, ""))
		}
		refused := e.open(t, "")
		said, _ := io.ReadAll(refused.Body)
		if want := "32 streams are open, which is all that there may be; close one, or ask /api/v1/requests\n"; refused.StatusCode != http.StatusServiceUnavailable || string(said) != want {
			t.Errorf("the 33rd: %s, %q", refused.Status, said)
		}
		open[7].Body.Close()
		synctest.Wait()
		if again := e.open(t, ""); again.StatusCode != http.StatusOK {
			t.Errorf("after one has ended: %s", again.Status)
		}
		if n := len(e.store.subscriptions); n != 32 {
			t.Errorf("%d subscribe, want 32", n)
		}
	})
}

func TestStream_ends_cleanly_when_the_server_shuts_down_and_does_not_hold_it_up(t *testing.T) {
	inBothProtocols(t, func(t *testing.T, e *exporter) {
		response := e.open(t, "")
		time.Sleep(keepAlive - 1) // silent for longer than a write may take
		e.stop()
		if err := ReadEvents(response.Body, nil); !errors.Is(err, io.EOF) {
			t.Errorf("the stream ends with %v, want EOF", err)
		}
		e.client.CloseIdleConnections()
		grace, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := e.server.Shutdown(grace); err != nil {
			t.Errorf("not shut down within 3 s: %v", err)
		}
	})
}

func TestStream_that_cannot_be_is_refused(t *testing.T) {
	api := NewAPI(newStore(1))
	for query, want := range map[string]string{
		"?limit=3": "400 unknown parameter \"limit\", must be one of \"service\", \"path\", \"method\", \"status_code\", \"slower_than\", \"slow\"\n",
		"":         "500 this connection cannot carry a stream: feature not supported\n", // a recorder has no deadlines
	} {
		answer := httptest.NewRecorder()
		api.Stream(answer, httptest.NewRequest(http.MethodGet, "/api/v1/requests/stream"+query, nil))
		if got := strconv.Itoa(answer.Code) + " " + answer.Body.String(); got != want {
			t.Errorf("%q: %q, want %q", query, got, want)
		}
	}
	if n := len(api.streams) + len(api.store.subscriptions); n != 0 {
		t.Errorf("%d streams and subscriptions are left", n)
	}
}

func TestStream_is_not_begun_for_who_asks_for_its_header(t *testing.T) {
	inBothProtocols(t, func(t *testing.T, e *exporter) {
		response, err := e.client.Head("http://exporter/api/v1/requests/stream")
		if err != nil || response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatal(response, err)
		}
		synctest.Wait()
		if n := len(e.api.streams); n != 0 {
			t.Errorf("%d streams are open, want none", n)
		}
	})
}
