// SPDX-License-Identifier: Apache-2.0

package names

// What the collector "goruntime" tells of services whose executable is Go.
var (
	Goroutines           = Metric{"goroutines", "gauge", "Goroutines by the function that created them, those of the Go runtime itself left out, as runtime.NumGoroutine does. The functions that created the most are told, all others are created_by=\"other\": the sum is the number of goroutines.", []string{"service", "created_by"}}
	ConnectionGoroutines = Metric{"connection_goroutines", "gauge", "Goroutines that serve an HTTP connection, one for each that net/http holds open, idle ones too: those created by net/http.(*Server).Serve.", []string{"service"}}
	GoroutineLeak        = Metric{"goroutine_leak_suspected", "gauge", "Goroutines that a function has left behind, window after window, of which none has ended; absent where none is suspected. docs/decisions/leaks.md tells how that is judged.", []string{"service", "created_by"}}

	CloseWaitHeld   = Metric{"close_wait_held", "gauge", "Connections whose peer has gone and that the service still has open, for longer than leak_window, by the function that created the goroutine that uses them (\"\" if none is known); absent where there is none.", []string{"service", "created_by"}}
	FDsWithoutOwner = Metric{"fds_without_owner", "gauge", "Accepted TCP connections that no goroutine waits for or serves, for longer than leak_window: hijacked and forgotten.", []string{"service"}}
	FDLeak          = Metric{"fd_leak_suspected", "gauge", "File descriptors of a kind (socket, pipe, the directory of a file) that a process has left open, window after window, of which none was closed; absent where none is suspected.", []string{"service", "kind"}}

	OpenFDs = Metric{"open_fds", "gauge", "Open file descriptors of the process of the service that is nearest to its limit.", []string{"service"}}
	MaxFDs  = Metric{"max_fds", "gauge", "How many file descriptors that process may have open (RLIMIT_NOFILE, soft): beyond, accept fails with EMFILE.", []string{"service"}}
)

// GoRuntime reads what the Go runtime of a service keeps in its memory.
var GoRuntime = Collector{
	Name: "goruntime", Source: "process_vm_readv",
	Help:    "Goroutines by the function that created them, read from the memory of the service without any probe; suspected leaks; connections that nobody serves; file descriptors.",
	Metrics: []Metric{Goroutines, ConnectionGoroutines, GoroutineLeak, CloseWaitHeld, FDsWithoutOwner, FDLeak, OpenFDs, MaxFDs},
}
