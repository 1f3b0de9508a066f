// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"maps"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// exporterMaps opens the exporter's maps of that name, as many as it says there are. No other
// exporter runs beside a test's.
func exporterMaps(t *testing.T, ex *labtest.Exporter, name string) []*ebpf.Map {
	t.Helper()
	want := len(ex.Scrape().Series("tcpslo_map_entries", labtest.Labels{"map": name}))
	cut := name[:min(len(name), unix.BPF_OBJ_NAME_LEN-1)]
	var found []*ebpf.Map
	for id, err := ebpf.MapGetNextID(0); ; id, err = ebpf.MapGetNextID(id) {
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		m, err := ebpf.NewMapFromID(id)
		if errors.Is(err, os.ErrNotExist) { // it has gone meanwhile
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		info, err := m.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Name != cut {
			m.Close()
			continue
		}
		t.Cleanup(func() { m.Close() })
		found = append(found, m)
	}
	if len(found) != want || want == 0 {
		t.Fatalf("%d maps named %s, %d in the exposition", len(found), name, want)
	}
	return found
}

func entries(t *testing.T, m *ebpf.Map) map[uint64]string {
	t.Helper()
	all := map[uint64]string{}
	var key uint64
	value := make([]byte, m.ValueSize())
	walk := m.Iterate()
	for walk.Next(&key, &value) {
		all[key] = string(value)
	}
	if err := walk.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// beyond returns the entries of all whose keys are not in known.
func beyond(known, all map[uint64]string) map[uint64]string {
	more := maps.Clone(all)
	maps.DeleteFunc(more, func(key uint64, _ string) bool { _, ok := known[key]; return ok })
	return more
}

// records are those of connections in one map.
type records struct {
	*ebpf.Map
	others map[uint64]string // than those of the visits
	left   map[uint64]string // of visits that have ended
}

// putBack does as if the end of the visits had not been seen.
func (r *records) putBack(t *testing.T) {
	t.Helper()
	for key, value := range r.left {
		if err := r.Put(key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
}

func (r *records) none(t *testing.T) error {
	return same("records of visits", len(beyond(r.others, entries(t, r.Map))), 0)
}

// await waits until the end of all visits was seen.
func (r *records) await(t *testing.T) {
	t.Helper()
	labtest.Settles(t, func() error { return r.none(t) })
}

// The kernel may leave out the program that sees a connection end. Here the test puts back
// what that program has removed: the kernel gives the same memory to a later socket, and
// that is a connection of its own. What is at no later one is removed at a scrape.
func TestConnection_whose_end_was_not_seen_is_no_part_of_another(t *testing.T) {
	ex := start(t)
	server := labtest.StartServer(t, labtest.ServerOptions{})
	service := labtest.Labels{"service": ex.WaitAttached(server.PID).Name}
	var both []*records // what the probes share, and the window's own
	for _, m := range exporterMaps(t, ex, "connections") {
		both = append(both, &records{m, entries(t, m), nil})
	}
	const visits = 10
	again := 0
	for range visits {
		for _, m := range both {
			m.putBack(t)
		}
		v := visit(t, server)
		socket := v.askDeaf(t, request("/hello/x")) // what is put back waits for an acknowledgement
		for _, m := range both {
			now := beyond(m.others, entries(t, m.Map))
			for key, value := range m.left {
				if now[key] != value {
					again++
					continue
				}
				delete(now, key)
				if err := m.Delete(key); err != nil {
					t.Fatal(err)
				}
			}
			m.left = now
		}
		socket.Hear(t)
		v.answer(t)
		v.Close()
		for _, m := range both {
			m.await(t)
		}
	}
	if again == 0 {
		t.Fatal("no socket came to be where one before it was")
	}
	t.Logf("%d times a socket came to be where one of the visit before was", again)
	var many []*visitor
	for range visits {
		v := visit(t, server)
		v.ask(t, "/hello/x")
		v.answer(t)
		many = append(many, v)
	}
	for _, m := range both {
		m.left = beyond(m.others, entries(t, m.Map))
		if len(m.left) < visits {
			t.Fatalf("%d connections, want at least %d", len(m.left), visits)
		}
	}
	for _, v := range many {
		v.Close()
	}
	for _, m := range both {
		m.await(t)
		m.putBack(t)
	}
	all := uint64(2 * visits)
	labtest.Settles(t, func() error { return wantStages(ex.Scrape(), service, all, all, all, all, all, all, all) })
	for _, m := range both {
		if err := m.none(t); err != nil {
			t.Error(err)
		}
	}
}

// What a probe keeps by the socket while it waits for its reader goes with the socket, also if nobody saw it end.
func TestSockets_whose_end_was_not_seen_wait_for_no_reader(t *testing.T) {
	testenv.NeedRoot(t)
	ex := labtest.StartExporter(t, labtest.Options{Config: "collectors: {netpoll: true}\n"})
	server := labtest.StartServer(t, labtest.ServerOptions{})
	ex.WaitAttached(server.PID)
	l := listen(t, ex, labtest.ListenOptions{Addr: "127.0.0.1:0"})

	const waiting, visits = 5, 10
	clients := labtest.DialMany(t, nil, l.Addr, waiting, labtest.DialOptions{})
	labtest.WaitConnected(t, clients)
	for _, c := range clients {
		c.Send(t, "hello")
	}

	shared := exporterMaps(t, ex, "connections")[0]
	others := entries(t, shared)
	var many []*visitor
	for range visits {
		v := visit(t, server)
		v.ask(t, "/hello/x")
		v.answer(t)
		many = append(many, v)
	}
	ended := beyond(others, entries(t, shared))
	if len(ended) < visits {
		t.Fatalf("%d connections, want at least %d", len(ended), visits)
	}
	for _, v := range many {
		v.Close()
	}
	labtest.Settles(t, func() error { return same("connections of visits", len(beyond(others, entries(t, shared))), 0) })

	for name, least := range map[string]int{"waiting": waiting, "unread_connections": waiting, "wakeups": 0} {
		for _, m := range exporterMaps(t, ex, name) {
			live := entries(t, m)
			if len(live) < least {
				t.Fatalf("%d sockets in %s, want at least %d", len(live), name, least)
			}
			for key := range ended {
				if err := m.Put(key, make([]byte, m.ValueSize())); err != nil {
					t.Fatal(err)
				}
			}
			labtest.Settles(t, func() error {
				ex.Scrape()
				now := entries(t, m)
				left := maps.Clone(ended)
				maps.DeleteFunc(left, func(key uint64, _ string) bool { _, still := now[key]; return !still })
				return errors.Join(
					same("sockets in "+name+" that have ended", len(left), 0),
					atLeast("sockets in "+name+" that wait", len(now), least),
				)
			})
		}
	}
}
