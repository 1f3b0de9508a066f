// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

const stageSeconds = "tcpslo_http_request_stage_seconds"

var stages = []string{"handshake", "accept_queue", "read_wait", "parse", "handler", "first_packet", "ack"}

// stage is what the exporter knows of one stage.
type stage struct {
	count   uint64
	seconds float64
	long    uint64 // above a boundary of about a third of a second
	tooLong uint64 // above one of ten seconds
}

// stagesOf reads all stages of a service.
func stagesOf(x *labtest.Exposition, service labtest.Labels) map[string]stage {
	all := map[string]stage{}
	for _, name := range stages {
		labels := service.With("stage", name)
		one := stage{count: x.HistogramCount(stageSeconds, labels), seconds: x.HistogramSum(stageSeconds, labels)}
		var short, notTooLong uint64
		for le, n := range x.HistogramBuckets(stageSeconds, labels) {
			if le < 0.4 {
				short = max(short, n)
			}
			if le < 11 {
				notTooLong = max(notTooLong, n)
			}
		}
		one.long, one.tooLong = one.count-short, one.count-notTooLong
		all[name] = one
	}
	return all
}

// wantStages compares the counts of all stages, in their order.
func wantStages(x *labtest.Exposition, service labtest.Labels, want ...uint64) error {
	var errs []error
	got := stagesOf(x, service)
	for i, name := range stages {
		errs = append(errs, exact(x, name, got[name].count, want[i]))
		if want[i] == 0 { // which is not a 0, but nothing
			errs = append(errs, same("series of "+name, len(x.Series(stageSeconds, service.With("stage", name))), 0))
		}
	}
	return errors.Join(append(errs, same("lost", x.Value("tcpslo_lost_total", labtest.Labels{"probe": "http"}), 0))...)
}

// visitor is a client that writes what it is told and reads answers.
type visitor struct {
	net.Conn
	answers *bufio.Reader
}

func visit(t *testing.T, server *labtest.Server) *visitor {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listen[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	return &visitor{conn, bufio.NewReader(conn)}
}

func (v *visitor) write(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(v, text); err != nil {
		t.Fatal(err)
	}
}

func (v *visitor) ask(t *testing.T, path string) { t.Helper(); v.write(t, request(path)) }

func request(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n" }

// closing is a request after which the server closes the connection.
func closing(path string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
}

// socket is the client's, for what a net.Conn cannot do. It is v's to close.
func (v *visitor) socket(t *testing.T) *labtest.Conn {
	t.Helper()
	raw, err := v.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	c := &labtest.Conn{}
	if err := raw.Control(func(fd uintptr) { c.FD = int(fd) }); err != nil {
		t.Fatal(err)
	}
	return c
}

// answer reads one answer to its end.
func (v *visitor) answer(t *testing.T) {
	t.Helper()
	response, err := http.ReadResponse(v.answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", response.Status, err)
	}
}

// askDeaf has the client throw away the response to what it writes.
func (v *visitor) askDeaf(t *testing.T, text string) *labtest.Conn {
	t.Helper()
	socket := v.socket(t)
	socket.Deafen(t)
	v.write(t, text)
	// The first may be an acknowledgement; then it is the response, and again.
	labtest.Eventually(t, func() error { return atLeast("segments that the client threw away", socket.Drops(t), 3) })
	return socket
}

// Each delay is made where only one stage can be: it has to be in that stage and in
// no other.
func TestDelay_is_in_its_stage_and_in_no_other(t *testing.T) {
	const delay = 500 * time.Millisecond
	ex := start(t)
	server := labtest.StartServer(t, labtest.ServerOptions{})
	service := labtest.Labels{"service": ex.WaitAttached(server.PID).Name}
	deaf := func(request string) func(*testing.T, *visitor) {
		return func(t *testing.T, v *visitor) {
			socket := v.askDeaf(t, request)
			time.Sleep(delay)
			socket.Hear(t)
			v.answer(t)
		}
	}
	for _, c := range []struct {
		sentence, stage string
		visit           func(t *testing.T, v *visitor)
		dialed          bool // the connection has had a request before
	}{
		{"a handler that sleeps", "handler", func(t *testing.T, v *visitor) {
			v.ask(t, fmt.Sprintf("/slow?ms=%d", delay.Milliseconds()))
			v.answer(t)
		}, false},
		{"a client that writes its request in two pieces", "parse", func(t *testing.T, v *visitor) {
			text := request("/hello/x")
			v.write(t, text[:20])
			time.Sleep(delay)
			v.write(t, text[20:])
			v.answer(t)
		}, false},
		{"a server that hangs while a request comes over an idle connection", "read_wait", func(t *testing.T, v *visitor) {
			hang(t, server.PID)
			v.ask(t, "/hello/x")
			time.Sleep(delay)
			goOn(t, server.PID)
			v.answer(t)
		}, true},
		{"a server that hangs while a connection and its request come", "accept_queue", func(t *testing.T, _ *visitor) {
			hang(t, server.PID)
			late := visit(t, server)
			late.ask(t, "/hello/x")
			time.Sleep(delay)
			goOn(t, server.PID)
			late.answer(t)
		}, true},
		{"a client that does not hear of the response", "ack", deaf(request("/hello/x")), true},
		{"a client that does not hear of the response of a server that closes", "ack", deaf(closing("/hello/x")), true},
		{"a client that does not hear of what left before the handler returned", "ack", deaf(request("/stream")), true},
		{"nobody: the connection is idle after a response that left before its handler returned", "", func(t *testing.T, v *visitor) {
			v.ask(t, "/stream")
			v.answer(t)
			time.Sleep(delay)
			v.ask(t, "/hello/x")
			v.answer(t)
		}, true},
		{"nobody: the connection is idle between two requests", "", func(t *testing.T, v *visitor) {
			v.ask(t, "/hello/x")
			v.answer(t)
			time.Sleep(delay)
			v.ask(t, "/hello/x")
			v.answer(t)
		}, true},
		{"nobody: the connection is idle after a body that the handler did not read", "", func(t *testing.T, v *visitor) {
			v.write(t, "GET /hello/x HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n"+strings.Repeat("x", 50_000))
			v.answer(t)
			time.Sleep(delay)
			v.ask(t, "/hello/x")
			v.answer(t)
		}, true},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			var v *visitor
			if c.dialed {
				v = visit(t, server)
				v.ask(t, "/hello/x")
				v.answer(t)
			}
			var before map[string]stage
			labtest.Settles(t, func() error {
				x := ex.Scrape()
				before = stagesOf(x, service)
				return exact(x, "handled", before["handler"].count, x.HistogramCount("tcpslo_http_request_duration_seconds", service))
			})
			began := time.Now()
			if !c.dialed {
				v = visit(t, server)
			}
			c.visit(t, v)
			took := time.Since(began).Seconds()
			labtest.Settles(t, func() error {
				var errs []error
				var all float64
				after := stagesOf(ex.Scrape(), service)
				for _, name := range stages {
					seconds := after[name].seconds - before[name].seconds
					if name != "ack" { // which may come when the client has read the answer
						all += seconds
					}
					long := uint64(0)
					if name == c.stage {
						long = 1
					}
					errs = append(errs, same(name+" that was long", after[name].long-before[name].long, long), same(name+" that was too long", after[name].tooLong, 0))
					switch {
					case name == c.stage && seconds < 0.95*delay.Seconds():
						errs = append(errs, fmt.Errorf("%s took %.3f s, want %v", name, seconds, delay))
					case name != c.stage && seconds > delay.Seconds()/2:
						errs = append(errs, fmt.Errorf("%s took %.3f s, want next to nothing", name, seconds))
					}
				}
				if all > took {
					errs = append(errs, fmt.Errorf("the stages add up to %.3f s, the client's own time is %.3f s", all, took))
				}
				return errors.Join(errs...)
			})
		})
	}
}

// The responses to a client that does not read fill its window; the next one is
// written into the send buffer and leaves when the client reads.
func TestResponse_that_a_full_window_holds_back_waits_for_its_first_packet(t *testing.T) {
	ex := start(t)
	server := labtest.StartServer(t, labtest.ServerOptions{})
	service := labtest.Labels{"service": ex.WaitAttached(server.PID).Name}
	v := visit(t, server)
	v.Conn.(*net.TCPConn).SetReadBuffer(1) // the kernel makes it the least there is
	asked := uint64(0)
	labtest.EventuallyWithin(t, time.Minute, func() error {
		v.ask(t, "/hello/x")
		asked++
		labtest.Settles(t, func() error {
			x := ex.Scrape()
			return exact(x, "handled", stagesOf(x, service)["handler"].count, asked)
		})
		if sent := stagesOf(ex.Scrape(), service)["first_packet"].count; sent == asked {
			return fmt.Errorf("all of %d responses have left", asked)
		}
		return nil
	})
	const held = 500 * time.Millisecond
	time.Sleep(held)
	for range asked {
		v.answer(t)
	}
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		got := stagesOf(x, service)
		if got["first_packet"].seconds < held.Seconds() {
			return fmt.Errorf("first packets took %.3f s, want at least %v", got["first_packet"].seconds, held)
		}
		return errors.Join(
			// The last one that the window let out was not acknowledged when the next one took its place.
			wantStages(x, service, 1, 1, asked, asked, asked, asked, asked-1),
			same("long waits for the first packet", got["first_packet"].long, 1),
			same("waits of more than ten seconds", got["first_packet"].tooLong, 0))
	})
}

// What has left while the handler worked has not waited for it to return.
func TestResponse_that_began_before_its_handler_returned_waits_for_no_first_packet(t *testing.T) {
	ex := start(t)
	server := labtest.StartServer(t, labtest.ServerOptions{})
	service := labtest.Labels{"service": ex.WaitAttached(server.PID).Name}
	v := visit(t, server)
	const requests = 20
	for range requests {
		v.ask(t, "/stream")
		v.answer(t)
	}
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		return errors.Join(
			wantStages(x, service, 1, 1, requests, requests, requests, requests, requests),
			same("seconds until the first packet", stagesOf(x, service)["first_packet"].seconds, 0))
	})
}

func TestStages_are_counted_once_for_each_request_that_has_them(t *testing.T) {
	ex := start(t)
	plain := labtest.StartServer(t, labtest.ServerOptions{})
	secure := labtest.StartServer(t, labtest.ServerOptions{Flags: []string{"-tls"}})
	service := labtest.Labels{"service": ex.WaitAttached(plain.PID).Name}
	ex.WaitAttached(secure.PID)
	all := make([]uint64, len(stages))
	for _, c := range []struct {
		sentence string
		server   *labtest.Server
		visit    func(t *testing.T, server *labtest.Server)
		want     []uint64 // in the order of the stages
	}{
		{"keep-alive", plain, func(t *testing.T, server *labtest.Server) {
			for range 2 {
				v := visit(t, server)
				for range 50 {
					v.ask(t, "/hello/x")
					v.answer(t)
				}
			}
		}, []uint64{2, 2, 100, 100, 100, 100, 100}},
		{"two requests in one segment: the second one was read with the first", plain, func(t *testing.T, server *labtest.Server) {
			v := visit(t, server)
			// The first response is acknowledged while the second handler sleeps.
			v.write(t, request("/hello/x")+request("/slow?ms=500"))
			v.answer(t)
			v.answer(t)
		}, []uint64{1, 1, 1, 2, 2, 2, 2}},
		{"a body that comes while the handler reads", plain, func(t *testing.T, server *labtest.Server) {
			v := visit(t, server)
			for range 3 {
				v.write(t, "POST /items HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
				time.Sleep(20 * time.Millisecond)
				v.write(t, strings.Repeat("x", 100_000))
				response, err := http.ReadResponse(v.answers, nil)
				if err != nil {
					t.Fatal(err)
				}
				io.Copy(io.Discard, response.Body)
			}
		}, []uint64{1, 1, 3, 3, 3, 3, 3}},
		{"responses that begin to leave before the handler returns", plain, func(t *testing.T, server *labtest.Server) {
			v := visit(t, server)
			for range 5 {
				v.ask(t, "/stream")
				v.answer(t)
				v.ask(t, "/big")
				v.answer(t)
			}
		}, []uint64{1, 1, 10, 10, 10, 10, 10}},
		{"responses after which the server closes", plain, func(t *testing.T, server *labtest.Server) {
			for range 20 {
				v := visit(t, server)
				v.write(t, closing("/hello/x"))
				v.answer(t)
			}
		}, []uint64{20, 20, 20, 20, 20, 20, 20}},
		{"a server that has closed before a client hears of the response", plain, func(t *testing.T, server *labtest.Server) {
			v := visit(t, server)
			v.askDeaf(t, closing("/hello/x")).Hear(t)
			v.answer(t)
		}, []uint64{1, 1, 1, 1, 1, 1, 1}},
		{"a client that sends nothing after its request", plain, func(t *testing.T, server *labtest.Server) {
			v := visit(t, server)
			v.ask(t, "/slow?ms=50")
			v.Conn.(*net.TCPConn).CloseWrite()
			v.answer(t)
		}, []uint64{1, 1, 1, 1, 1, 1, 1}},
		{"a client that has gone before it acknowledged", plain, func(t *testing.T, server *labtest.Server) {
			v := visit(t, server)
			v.askDeaf(t, request("/hello/x"))
			v.Conn.(*net.TCPConn).SetLinger(0)
			v.Close()
		}, []uint64{1, 1, 1, 1, 1, 1, 0}},
		{"a handler that panics sends nothing", plain, func(t *testing.T, server *labtest.Server) {
			for range 5 {
				v := visit(t, server)
				v.ask(t, "/panic")
				io.ReadAll(v)
			}
		}, []uint64{5, 5, 5, 5, 5, 0, 0}},
		{"a connection that a handler takes over is its own", plain, func(t *testing.T, server *labtest.Server) {
			v := visit(t, server)
			v.ask(t, "/hijack")
			v.Conn.(*net.TCPConn).CloseWrite()
			io.ReadAll(v)
		}, []uint64{1, 1, 1, 1, 1, 0, 0}},
		{"TLS", secure, func(t *testing.T, server *labtest.Server) {
			client := &http.Client{Transport: &http.Transport{
				TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
			}}
			defer client.CloseIdleConnections()
			for range 20 {
				get(t, client, "https://"+server.Listen[0]+"/hello/x", "200")
			}
		}, []uint64{1, 1, 20, 20, 20, 20, 20}},
		{"HTTP/2: a hundred streams of one connection", secure, func(t *testing.T, server *labtest.Server) {
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}}
			defer client.CloseIdleConnections()
			get(t, client, "https://"+server.Listen[0]+"/hello/x", "200")
			var streams sync.WaitGroup
			for range 99 {
				streams.Go(func() { get(t, client, "https://"+server.Listen[0]+"/hello/x", "200") })
			}
			streams.Wait()
		}, []uint64{1, 1, 0, 0, 100, 0, 0}},
		{"a client that has gone before the answer", plain, func(t *testing.T, server *labtest.Server) {
			v := visit(t, server)
			v.ask(t, "/slow?ms=300")
			time.Sleep(50 * time.Millisecond)
			v.Conn.(*net.TCPConn).SetLinger(0)
			v.Close()
			time.Sleep(400 * time.Millisecond)
		}, []uint64{1, 1, 1, 1, 1, 0, 0}},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			c.visit(t, c.server)
			for i, n := range c.want {
				all[i] += n
			}
			labtest.Settles(t, func() error { return wantStages(ex.Scrape(), service, all...) })
		})
	}
}

// A router that leaves no pattern, and routes that are those of one method.
func TestStages_have_the_paths_that_the_durations_have(t *testing.T) {
	testenv.NeedRoot(t)
	ex := labtest.StartExporter(t, labtest.Options{Config: `services:
  - {name: bare, match: {executable: "*/tcpslo_server"}, routes: ["GET /items/{item}", "POST /items", "DELETE /items/{gone}", "/hello/{name}"]}
`})
	server := labtest.StartServer(t, labtest.ServerOptions{Flags: []string{"-router", "bare"}})
	ex.WaitAttached(server.PID)
	service := labtest.Labels{"service": "bare"}
	v := visit(t, server)
	for _, c := range []struct {
		request string
		times   int
	}{
		{"GET /items/1", 2}, {"DELETE /items/1", 3}, {"POST /items", 4}, {"GET /hello/x", 5}, {"GET /early", 6}, {"GET /nothing", 7},
	} {
		for range c.times {
			v.write(t, c.request+" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
			method, _, _ := strings.Cut(c.request, " ")
			for final := false; !final; {
				response, err := http.ReadResponse(v.answers, &http.Request{Method: method})
				if err != nil {
					t.Fatal(err)
				}
				io.Copy(io.Discard, response.Body)
				final = response.StatusCode >= 200
			}
		}
	}
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		paths := map[string]uint64{}
		for _, s := range x.Series("tcpslo_http_request_duration_seconds", service) {
			paths[s.Labels["path"]] = 0
		}
		for path := range paths {
			paths[path] = x.HistogramCount("tcpslo_http_request_duration_seconds", service.With("path", path))
		}
		errs := []error{
			same("requests of GET /items/{item}", paths["/items/{item}"], 2),
			same("requests of DELETE /items/{gone}", paths["/items/{gone}"], 3),
			same("requests", x.HistogramCount(stageSeconds, service.With("stage", "handler")), 27),
		}
		for path, n := range paths {
			errs = append(errs, exact(x, path, x.HistogramCount(stageSeconds, service.With("stage", "handler").With("path", path)), n))
		}
		return errors.Join(errs...)
	})
}

func TestTimeline_of_a_connection_from_before_the_exporter_lacks_what_was_not_seen(t *testing.T) {
	testenv.NeedRoot(t)
	server := labtest.StartServer(t, labtest.ServerOptions{})
	v := visit(t, server)
	v.ask(t, "/hello/x")
	v.answer(t)
	ex := start(t)
	service := labtest.Labels{"service": ex.WaitAttached(server.PID).Name}
	for range 3 {
		v.ask(t, "/hello/x")
		v.answer(t)
	}
	labtest.Settles(t, func() error { return wantStages(ex.Scrape(), service, 0, 0, 3, 3, 3, 3, 3) })
}

func TestTimeline_leaves_nothing_behind(t *testing.T) {
	ex := start(t)
	server := labtest.StartServer(t, labtest.ServerOptions{})
	service := labtest.Labels{"service": ex.WaitAttached(server.PID).Name}
	const connections = 2000
	for range connections {
		v := visit(t, server)
		v.ask(t, "/hello/x")
		v.answer(t)
		v.Close()
	}
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		got := stagesOf(x, service)
		// Other programs, and other metrics, measure the same for connections and handlers.
		alike := func(stage, metric string) error {
			if seconds := x.HistogramSum(metric, service); math.Abs(got[stage].seconds-seconds) > 1e-9*connections {
				return fmt.Errorf("stage %s adds up to %.9f s, %s to %.9f s", stage, got[stage].seconds, metric, seconds)
			}
			return nil
		}
		return errors.Join(
			wantStages(x, service, connections, connections, connections, connections, connections, connections, connections),
			alike("handshake", handshake), alike("accept_queue", acceptWait), alike("handler", "tcpslo_http_request_duration_seconds"),
			same("goroutines", x.Value("tcpslo_map_entries", labtest.Labels{"map": "goroutines"}), 0),
			// Those of the test itself and of what else runs here are few.
			atLeast("connections that are left, below 100", 100-x.Value("tcpslo_map_entries", labtest.Labels{"map": "connections", "probe": "timeline"}), 0),
		)
	})
}

func TestTimeline_is_off_where_what_it_needs_is(t *testing.T) {
	testenv.NeedRoot(t)
	for _, collectors := range []string{"{timeline: false}", "{socketio: false}"} {
		ex := labtest.StartExporter(t, labtest.Options{Config: "collectors: " + collectors})
		server := labtest.StartServer(t, labtest.ServerOptions{})
		service := labtest.Labels{"service": ex.WaitAttached(server.PID).Name}
		get(t, http.DefaultClient, "http://"+server.Listen[0]+"/hello/x", "200")
		labtest.Settles(t, func() error {
			x := ex.Scrape()
			return errors.Join(
				exact(x, collectors+": requests", x.HistogramCount("tcpslo_http_request_duration_seconds", service), 1),
				same(collectors+": series of stages", len(x.Series(stageSeconds, nil)), 0))
		})
	}
	folder := t.TempDir()
	own := "name: own\nhelp: Of a function.\nneeds: [htpt]\ngo_function: {function: main.main, metric: own_seconds}\n"
	if err := os.WriteFile(folder+"/own.yaml", []byte(own), 0o600); err != nil {
		t.Fatal(err)
	}
	for config, want := range map[string]string{
		"collectors: {timeline: true, socketio: false}": `collector "timeline" needs "socketio", which is off`,
		"probe_files: [" + folder + "/own.yaml]":        folder + `/own.yaml: probe "own" needs "htpt", which is off, or there is none of that name`,
	} {
		path := folder + "/tcpslo.yml"
		if err := os.WriteFile(path, []byte(config+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := labtest.RunExporter(t, "check-config", path); got.ExitCode == 0 || !strings.Contains(got.Output, want) {
			t.Errorf("%s: code %d: %s", config, got.ExitCode, got.Output)
		}
	}
}
