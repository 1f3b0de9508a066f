// SPDX-License-Identifier: Apache-2.0

package names

// What the collector "goruntime" tells of services whose executable is Go.
var (
	Goroutines           = Metric{"goroutines", "gauge", "Goroutines by the function that created them, those of the Go runtime itself left out, as runtime.NumGoroutine does. The functions that created the most are told, all others are created_by=\"other\": the sum is the number of goroutines.", []string{"service", "created_by"}}
	ConnectionGoroutines = Metric{"connection_goroutines", "gauge", "Goroutines that serve an HTTP connection, one for each that net/http holds open, idle ones too: those created by net/http.(*Server).Serve.", []string{"service"}}
	GoroutineLeak        = Metric{"goroutine_leak_suspected", "gauge", "Goroutines that a function has left behind, window after window, of which none has ended; absent where none is suspected. docs/decisions/leaks.md tells how that is judged.", []string{"service", "created_by"}}

	OpenFDs = Metric{"open_fds", "gauge", "Open file descriptors of the process of the service that is nearest to its limit.", []string{"service"}}
	MaxFDs  = Metric{"max_fds", "gauge", "How many file descriptors that process may have open (RLIMIT_NOFILE, soft): beyond, accept fails with EMFILE.", []string{"service"}}
)

// GoRuntime reads what the Go runtime of a service keeps in its memory.
var GoRuntime = Collector{
	Name: "goruntime", Source: "process_vm_readv",
	Help:    "Goroutines by the function that created them, read from the memory of the service without any probe; suspected leaks; file descriptors.",
	Metrics: []Metric{Goroutines, ConnectionGoroutines, GoroutineLeak, OpenFDs, MaxFDs},
}
