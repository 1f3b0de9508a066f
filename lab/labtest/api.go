// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"
)

// Service is one element of GET /api/v1/services.
type Service struct {
	Name       string `json:"name"`
	Executable string `json:"executable"`
	PIDs       []int  `json:"pids"`
	GoVersion  string `json:"go_version"`
	HTTP       struct {
		State  string `json:"state"` // "attached" or "not_attached"
		Reason string `json:"reason"`
	} `json:"http"`
	Listeners []struct {
		Listener string `json:"listener"`
		NetNS    string `json:"netns"`
		Inode    uint64 `json:"inode"`
	} `json:"listeners"`
}

// ListenerInfo is one element of GET /api/v1/listeners: a listening socket.
type ListenerInfo struct {
	Listener string `json:"listener"`
	NetNS    string `json:"netns"`
	Service  string `json:"service"`
	PID      int    `json:"pid"`
	Worker   string `json:"worker"`
}

// Request is one element of GET /api/v1/requests.
type Request struct {
	ID        string         `json:"id"`
	Service   string         `json:"service"`
	PID       int            `json:"pid"`
	Goroutine uint64         `json:"goroutine"`
	Method    string         `json:"method"`
	Path      string         `json:"path"`
	Status    string         `json:"status_code"`
	Local     netip.AddrPort `json:"local"`
	Remote    netip.AddrPort `json:"remote"`
	Trace     string         `json:"traceparent"`
	Started   time.Time      `json:"started"`
	Slow      bool           `json:"slow"`
	Seconds   float64        `json:"duration_seconds"`
	Threshold float64        `json:"threshold_seconds"`
	Stages    []struct {
		Stage   string  `json:"stage"`
		Seconds float64 `json:"seconds"`
	} `json:"stages"`
}

// Requests reads GET /api/v1/requests with a query.
func (e *Exporter) Requests(query string) []Request {
	e.t.Helper()
	var answer struct {
		Requests []Request `json:"requests"`
	}
	e.getJSON("/api/v1/requests?"+query, &answer)
	return answer.Requests
}

// Hotspot is one element of GET /api/v1/hotspots.
type Hotspot struct {
	Service string  `json:"service"`
	Path    string  `json:"path"`
	Samples int     `json:"samples"`
	CPU     float64 `json:"cpu_seconds"`
	Frames  []struct {
		Function string `json:"function"`
		File     string `json:"file"`
		Line     int    `json:"line"`
	} `json:"frames"`
}

// Hotspots reads GET /api/v1/hotspots with a query.
func (e *Exporter) Hotspots(query string) []Hotspot {
	e.t.Helper()
	var answer struct {
		Hotspots []Hotspot `json:"hotspots"`
	}
	e.getJSON("/api/v1/hotspots?"+query, &answer)
	return answer.Hotspots
}

// SLO is one element of GET /api/v1/slos.
type SLO struct {
	Service string    `json:"service"`
	Name    string    `json:"name"`
	Since   time.Time `json:"since"`
	Good    float64   `json:"good"`
	Bad     float64   `json:"bad"`
	Paths   []struct {
		Path string  `json:"path"`
		Good float64 `json:"good"`
		Bad  float64 `json:"bad"`
	} `json:"paths"`
}

// SLOs reads GET /api/v1/slos.
func (e *Exporter) SLOs() []SLO {
	e.t.Helper()
	var answer struct {
		SLOs []SLO `json:"slos"`
	}
	e.getJSON("/api/v1/slos", &answer)
	return answer.SLOs
}

// Connection is one element of GET /api/v1/connections.
type Connection struct {
	Service        string         `json:"service"`
	PID            int            `json:"pid"`
	FD             int            `json:"fd"`
	Inode          uint64         `json:"inode"`
	Cookie         string         `json:"cookie"`
	Local          netip.AddrPort `json:"local"`
	Remote         netip.AddrPort `json:"remote"`
	State          string         `json:"state"`
	ClosedBy       string         `json:"closed_by"`
	Received       uint64         `json:"received_bytes"`
	Acknowledged   uint64         `json:"acknowledged_bytes"`
	Unread         uint64         `json:"unread_bytes"`
	Unacknowledged uint64         `json:"unacknowledged_bytes"`
	Opened         time.Time      `json:"opened"`
	Accepted       time.Time      `json:"accepted"`
	Requests       uint64         `json:"requests"`
	Request        time.Time      `json:"request_since"`
	Goroutine      *struct {
		ID         uint64 `json:"id"`
		Parent     uint64 `json:"parent"`
		Status     string `json:"status"`
		WaitReason string `json:"wait_reason"`
		CreatedBy  string `json:"created_by"`
	} `json:"goroutine"`
}

// Connections reads GET /api/v1/connections, those of one process by the address of
// their client.
func (e *Exporter) Connections(pid int) map[netip.AddrPort]Connection {
	e.t.Helper()
	return ByClient(e.AllConnections(), pid)
}

// AllConnections reads GET /api/v1/connections.
func (e *Exporter) AllConnections() []Connection {
	e.t.Helper()
	var answer struct {
		Connections []Connection `json:"connections"`
		Incomplete  string       `json:"incomplete"`
	}
	e.getJSON("/api/v1/connections", &answer)
	if answer.Incomplete != "" {
		e.t.Errorf("/api/v1/connections is incomplete: %s", answer.Incomplete)
	}
	return answer.Connections
}

// ByClient selects the connections of one process, by the address of their client.
func ByClient(connections []Connection, pid int) map[netip.AddrPort]Connection {
	all := map[netip.AddrPort]Connection{}
	for _, c := range connections {
		if c.PID == pid {
			all[c.Remote] = c
		}
	}
	return all
}

// Finding is one element of GET /api/v1/findings.
type Finding struct {
	Kind      string    `json:"kind"`
	Service   string    `json:"service"`
	PID       int       `json:"pid"`
	Count     int       `json:"count"`
	Since     time.Time `json:"since"`
	CreatedBy string    `json:"created_by"`
	Line      string    `json:"line"`
	Summary   string    `json:"summary"`
	Remedy    string    `json:"remedy"`
}

// Findings reads GET /api/v1/findings, those of one process.
func (e *Exporter) Findings(pid int) []Finding {
	e.t.Helper()
	var answer struct {
		Findings []Finding `json:"findings"`
	}
	e.getJSON("/api/v1/findings", &answer)
	return slices.DeleteFunc(answer.Findings, func(f Finding) bool { return f.PID != pid })
}

// Services reads GET /api/v1/services.
func (e *Exporter) Services() []Service {
	e.t.Helper()
	var answer struct {
		Services []Service `json:"services"`
	}
	e.getJSON("/api/v1/services", &answer)
	return answer.Services
}

// Listeners reads GET /api/v1/listeners.
func (e *Exporter) Listeners() []ListenerInfo {
	e.t.Helper()
	var answer struct {
		Listeners []ListenerInfo `json:"listeners"`
	}
	e.getJSON("/api/v1/listeners", &answer)
	return answer.Listeners
}

// WaitAttached waits until the service that the process pid belongs to has its
// HTTP probes attached, and returns it.
func (e *Exporter) WaitAttached(pid int) Service {
	e.t.Helper()
	var found Service
	Eventually(e.t, func() error {
		for _, s := range e.Services() {
			if slices.Contains(s.PIDs, pid) {
				if s.HTTP.State != "attached" {
					return fmt.Errorf("process %d is service %q, http probes %q: %s", pid, s.Name, s.HTTP.State, s.HTTP.Reason)
				}
				found = s
				return nil
			}
		}
		return fmt.Errorf("no service has process %d", pid)
	})
	return found
}

// WaitListener waits until the exporter knows the process that listens on addr
// ("127.0.0.1:8080") in its own namespace.
func (e *Exporter) WaitListener(addr string) ListenerInfo {
	e.t.Helper()
	return e.WaitListeners(1, func(l ListenerInfo) bool { return l.Listener == addr && l.NetNS == "" && l.PID != 0 })[0]
}

// WaitListeners waits until n listening sockets satisfy match.
func (e *Exporter) WaitListeners(n int, match func(ListenerInfo) bool) []ListenerInfo {
	e.t.Helper()
	var found []ListenerInfo
	Eventually(e.t, func() error {
		all := e.Listeners()
		found = slices.DeleteFunc(slices.Clone(all), func(l ListenerInfo) bool { return !match(l) })
		if len(found) != n {
			return fmt.Errorf("%d listeners match, want %d, among %+v", len(found), n, all)
		}
		return nil
	})
	return found
}

func (e *Exporter) getJSON(path string, into any) {
	e.t.Helper()
	a, err := e.do(http.MethodGet, path, "")
	if err != nil {
		e.t.Fatal(err)
	}
	if a.status != http.StatusOK {
		e.t.Fatalf("GET %s answered %d: %s", path, a.status, a.body)
	}
	if err := json.Unmarshal(a.body, into); err != nil {
		e.t.Fatalf("GET %s: %v in %s", path, err, a.body)
	}
}
