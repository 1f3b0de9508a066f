// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

const (
	wakeupSeconds  = "tcpslo_netpoll_wakeup_seconds"
	wakeupStages   = "tcpslo_netpoll_stage_seconds"
	goroutineStart = "tcpslo_connection_goroutine_start_seconds"
)

// startNetpoll runs an exporter with the collector netpoll and what its tests compare with.
func startNetpoll(t *testing.T) *labtest.Exporter {
	t.Helper()
	testenv.NeedRoot(t)
	return labtest.StartExporter(t, labtest.Options{Config: "collectors: {netpoll: true, listen: false, window: false, skb: false, softirq: false, " +
		"fastopen: false, tls: false, timeline: false, softnet: false, nic: false, sockets: false, sysctl: false, tcpext: false, audit: false}\n"})
}

// wakeups is what the exporter knows of the netpoller of a service.
type wakeups struct {
	count   uint64
	seconds float64
	stages  map[string]stage
}

func wakeupsOf(x *labtest.Exposition, service labtest.Labels) wakeups {
	w := wakeups{count: x.HistogramCount(wakeupSeconds, service), seconds: x.HistogramSum(wakeupSeconds, service), stages: map[string]stage{}}
	for _, name := range []string{"kernel", "poller", "run_queue"} {
		labels := service.With("stage", name)
		w.stages[name] = stage{count: x.HistogramCount(wakeupStages, labels), seconds: x.HistogramSum(wakeupStages, labels)}
	}
	return w
}

// wantWakeups compares the counts of wake-ups and of connections, and what the stages add up to.
func wantWakeups(x *labtest.Exposition, service labtest.Labels, count, connections uint64) error {
	w := wakeupsOf(x, service)
	errs := []error{
		exact(x, "wake-ups", w.count, count),
		exact(x, "goroutines of connections", x.HistogramCount(goroutineStart, service), connections),
		same("lost", x.Value("tcpslo_lost_total", labtest.Labels{"probe": "netpoll"}), 0),
	}
	sum := 0.0
	for name, s := range w.stages {
		errs = append(errs, same("wake-ups with stage "+name, s.count, w.count))
		sum += s.seconds
	}
	if math.Abs(sum-w.seconds) > 0.5e-9 { // nanoseconds are what is counted
		errs = append(errs, fmt.Errorf("the stages add up to %.9f s, the wake-ups took %.9f s", sum, w.seconds))
	}
	return errors.Join(errs...)
}

func TestWakeups_by_bytes_that_a_goroutine_waits_for_are_counted_once_each(t *testing.T) {
	ex := startNetpoll(t)
	server := labtest.StartServer(t, labtest.ServerOptions{Flags: []string{"-router", "wrapped"}})
	service := labtest.Labels{"service": ex.WaitAttached(server.PID).Name}
	count, connections := uint64(0), uint64(0)
	for _, c := range []struct {
		sentence string
		visit    func(t *testing.T, v *visitor)
		want     uint64
	}{
		{"requests one after the other", func(t *testing.T, v *visitor) {
			for range 20 {
				labtest.Quiet(t, server.PID)
				v.ask(t, "/hello/x")
				v.answer(t)
			}
		}, 20},
		{"two requests in one segment", func(t *testing.T, v *visitor) {
			v.write(t, request("/hello/x")+request("/hello/x"))
			v.answer(t)
			v.answer(t)
		}, 1},
		{"a request in two pieces", func(t *testing.T, v *visitor) {
			text := request("/hello/x")
			v.write(t, text[:20])
			labtest.Quiet(t, server.PID)
			v.write(t, text[20:])
			v.answer(t)
		}, 2},
		{"a body that is there with its request, and takes many reads", func(t *testing.T, v *visitor) {
			hang(t, server.PID)
			v.write(t, "POST /items HTTP/1.1\r\nHost: x\r\nContent-Length: 30000\r\n\r\n"+strings.Repeat("x", 30_000))
			goOn(t, server.PID)
			response, err := http.ReadResponse(v.answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, response.Body)
		}, 1},
		{"a request while the handler of the one before works: net/http reads one byte ahead", func(t *testing.T, v *visitor) {
			v.ask(t, "/slow?ms=1000")
			labtest.Quiet(t, server.PID)
			v.ask(t, "/hello/x")
			v.answer(t)
			v.answer(t)
		}, 2},
		{"a line to who has taken the connection over", func(t *testing.T, v *visitor) {
			v.ask(t, "/hijack")
			labtest.Quiet(t, server.PID)
			v.write(t, "line\n")
			labtest.Eventually(t, func() error {
				_, err := v.answers.ReadString('\n')
				return err
			})
		}, 2},
		{"a client that goes without a word", func(t *testing.T, v *visitor) { v.Close() }, 0},
		{"a client that resets its connection", func(t *testing.T, v *visitor) {
			v.Conn.(*net.TCPConn).SetLinger(0)
			v.Close()
		}, 0},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			v := visit(t, server)
			labtest.Quiet(t, server.PID)
			c.visit(t, v)
			count += c.want
			connections++
			labtest.Settles(t, func() error {
				x := ex.Scrape()
				w := wakeupsOf(x, service)
				errs := []error{
					wantWakeups(x, service, count, connections),
					// As another program saw them, which counts those that nobody was woken for too.
					atLeast("reads", x.HistogramCount("tcpslo_tcp_read_wait_seconds", service), count),
				}
				// In a quiet process a thread sleeps in epoll_wait(), and takes its time to get up.
				if w.stages["kernel"].seconds <= 0 || w.stages["run_queue"].seconds <= 0 {
					errs = append(errs, fmt.Errorf("a stage took no time: %+v", w.stages))
				}
				return errors.Join(errs...)
			})
			v.Close()
		})
	}
}

func TestWakeups_of_a_TLS_server_are_counted(t *testing.T) {
	ex := startNetpoll(t)
	server := labtest.StartServer(t, labtest.ServerOptions{Flags: []string{"-tls"}})
	service := labtest.Labels{"service": ex.WaitAttached(server.PID).Name}
	v := visit(t, server)
	v.Conn = tls.Client(v.Conn, &tls.Config{InsecureSkipVerify: true})
	v.answers.Reset(v.Conn)
	v.ask(t, "/hello/x")
	v.answer(t)
	var before uint64 // of the handshake
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		before = wakeupsOf(x, service).count
		return errors.Join(atLeast("wake-ups", before, 1), wantWakeups(x, service, before, 1))
	})
	const requests = 20
	for range requests {
		labtest.Quiet(t, server.PID)
		v.ask(t, "/hello/x")
		v.answer(t)
	}
	labtest.Settles(t, func() error { return wantWakeups(ex.Scrape(), service, before+requests, 1) })
}

// lab/reader has nothing of net/http, and makes its system calls itself.
func TestWakeups_of_a_Go_program_without_HTTP_are_counted_and_those_from_before_the_exporter_too(t *testing.T) {
	testenv.NeedRoot(t)
	r := startReader(t, nil, "parked", "-reply", "1")
	server := labtest.StartServer(t, labtest.ServerOptions{})
	v, c := visit(t, server), r.connect(t, nil)
	labtest.Quiet(t, server.PID)
	labtest.Quiet(t, r.PID)
	ex := startNetpoll(t)
	service := labtest.Labels{"service": ex.WaitAttached(server.PID).Name}
	const times = 10
	for range times {
		labtest.Quiet(t, server.PID)
		v.ask(t, "/hello/x")
		v.answer(t)
		labtest.Quiet(t, r.PID)
		c.Send(t, "x")
	}
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		return errors.Join(
			wantWakeups(x, service, times, 0),
			wantWakeups(x, r.labels(), times, 0))
	})
}

// Each delay is made where only one stage can be: it has to be there, and nowhere else.
func TestDelay_of_a_goroutine_is_in_its_stage_and_in_no_other(t *testing.T) {
	const delay = 500 * time.Millisecond
	ex := startNetpoll(t)
	t.Setenv("GOMAXPROCS", "1") // of the server
	server := labtest.StartServer(t, labtest.ServerOptions{})
	service := labtest.Labels{"service": ex.WaitAttached(server.PID).Name}
	other := visit(t, server)
	for _, c := range []struct {
		sentence, stage string
		ask             func(t *testing.T, v *visitor)
	}{
		{"a process that is stopped", "kernel", func(t *testing.T, v *visitor) {
			hang(t, server.PID)
			v.ask(t, "/hello/x")
			time.Sleep(delay)
			goOn(t, server.PID)
		}},
		{"a processor that has enough to do", "run_queue", func(t *testing.T, v *visitor) {
			// More than the 256 that a processor's own queue has room for: half of them are
			// then in the queue that a goroutine out of the netpoller has to join the end of
			// (runqputslow() of src/runtime/proc.go), which is else looked at every 61st time.
			other.ask(t, "/busy?n=300")
			other.answer(t)
			v.ask(t, "/hello/x")
		}},
		{"nobody", "", func(t *testing.T, v *visitor) { v.ask(t, "/hello/x") }},
	} {
		t.Run(c.sentence, func(t *testing.T) {
			v := visit(t, server)
			labtest.Quiet(t, server.PID)
			var before wakeups
			labtest.Settles(t, func() error {
				x := ex.Scrape()
				before = wakeupsOf(x, service)
				return exact(x, "goroutines of connections", x.HistogramCount(goroutineStart, service), uint64(x.Value("tcpslo_accepted_connections_total", service)))
			})
			began := time.Now()
			c.ask(t, v)
			v.answer(t)
			took := time.Since(began).Seconds()
			labtest.Settles(t, func() error {
				after := wakeupsOf(ex.Scrape(), service)
				errs := []error{atLeast("wake-ups", after.count, before.count+1)}
				for name, s := range after.stages {
					seconds := s.seconds - before.stages[name].seconds
					switch {
					case name == c.stage && seconds < 0.9*delay.Seconds():
						errs = append(errs, fmt.Errorf("%s took %.3f s, want %v", name, seconds, delay))
					case name != c.stage && seconds > delay.Seconds()/2:
						errs = append(errs, fmt.Errorf("%s took %.3f s, want next to nothing", name, seconds))
					}
				}
				if seconds := after.seconds - before.seconds; seconds > took*float64(after.count-before.count) {
					errs = append(errs, fmt.Errorf("%d wake-ups took %.3f s, the client's own time is %.3f s", after.count-before.count, seconds, took))
				}
				return errors.Join(errs...)
			})
			v.Close()
		})
	}
}

func TestConnection_that_a_listener_keeps_to_itself_waits_for_its_goroutine(t *testing.T) {
	const pause = 500 * time.Millisecond
	ex := startNetpoll(t)
	server := labtest.StartServer(t, labtest.ServerOptions{Flags: []string{"-accept-pause", pause.String()}})
	service := labtest.Labels{"service": ex.WaitAttached(server.PID).Name}
	began := time.Now()
	v := visit(t, server)
	v.ask(t, "/hello/x")
	v.answer(t)
	took := time.Since(began).Seconds()
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		seconds := x.HistogramSum(goroutineStart, service)
		if seconds < pause.Seconds() || seconds > took {
			return fmt.Errorf("the goroutine began %.3f s after accept(), want at least %v and at most the %.3f s of the client", seconds, pause, took)
		}
		// The bytes were there when the goroutine first looked: it did not wait for them.
		return wantWakeups(x, service, 0, 1)
	})
}

func TestNetpoll_leaves_nothing_behind(t *testing.T) {
	ex := startNetpoll(t)
	server := labtest.StartServer(t, labtest.ServerOptions{})
	service := labtest.Labels{"service": ex.WaitAttached(server.PID).Name}
	const connections = 1000
	for i := range connections {
		v := visit(t, server)
		if i%2 == 0 {
			v.ask(t, "/hello/x")
			v.answer(t)
		}
		if i%10 == 0 {
			v.Conn.(*net.TCPConn).SetLinger(0)
		}
		v.Close()
	}
	labtest.Settles(t, func() error {
		x := ex.Scrape()
		return errors.Join(
			wantWakeups(x, service, wakeupsOf(x, service).count, connections),
			atLeast("accepted", x.Value("tcpslo_accepted_connections_total", service), connections),
			same("wake-ups under way", x.Value("tcpslo_map_entries", labtest.Labels{"probe": "netpoll", "map": "wakeups"}), 0))
	})
}

func TestNetpoll_is_off_where_nobody_asks_for_it(t *testing.T) {
	ex := start(t)
	server := labtest.StartServer(t, labtest.ServerOptions{})
	ex.WaitAttached(server.PID)
	x := ex.Scrape()
	if err := errors.Join(
		same("programs", len(x.Series("tcpslo_probe_info", labtest.Labels{"probe": "netpoll"})), 0),
		same("maps", len(x.Series("tcpslo_map_capacity", labtest.Labels{"probe": "netpoll"})), 0),
		atLeast("programs of others", len(x.Series("tcpslo_probe_info", nil)), 1),
		atLeast("maps of others", len(x.Series("tcpslo_map_capacity", nil)), 1),
	); err != nil {
		t.Error(err)
	}
}
