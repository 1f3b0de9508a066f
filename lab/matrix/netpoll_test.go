// SPDX-License-Identifier: Apache-2.0

package matrix

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tcpslo/tcpslo/exporter/goexe"
	"github.com/tcpslo/tcpslo/lab/gobuild"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// observable tells whether each event that epoll reports can be seen: only a profile can put
// all that is called for one into who calls it.
func observable(t *testing.T, spec gobuild.Spec, executable string) bool {
	t.Helper()
	x, err := goexe.Open(executable)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	_, err = x.CallSitesBesideInlined("runtime.netpollready", "runtime.(*pollDesc).setEventErr")
	if err != nil && spec.Mode != gobuild.PGO {
		t.Error(err)
	}
	return err == nil
}

// One connection to each; what else may wake a goroutine is tested in lab/e2e.
func TestEvery_release_and_build_mode_counts_wakeups(t *testing.T) {
	config := strings.Builder{}
	config.WriteString("collectors: {netpoll: true}\nservices:\n")
	executables := map[gobuild.Spec]string{}
	for _, spec := range cells() {
		if spec.Mode == gobuild.PGO && slices.Index(gobuild.Versions(), spec.Toolchain) < slices.Index(gobuild.Versions(), gobuild.Go120) {
			continue // there is no such build
		}
		executables[spec] = build(t, spec)
		fmt.Fprintf(&config, "  - name: %q\n    match: {executable: %q}\n", spec.Toolchain+" "+string(spec.Mode), executables[spec])
	}
	exporter := labtest.StartExporter(t, labtest.Options{Config: config.String()})
	for spec, executable := range executables {
		name := spec.Toolchain + " " + string(spec.Mode)
		t.Run(name, func(t *testing.T) {
			server := labtest.StartServer(t, labtest.ServerOptions{Executable: executable})
			exporter.WaitAttached(server.PID)
			c, err := net.Dial("tcp", server.Listen[0])
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			const requests = 20
			answers := bufio.NewReader(c)
			for range requests {
				labtest.Quiet(t, server.PID)
				io.WriteString(c, "GET /hello/x HTTP/1.1\r\nHost: x\r\n\r\n") //nolint:errcheck // no answer comes then
				answer, err := http.ReadResponse(answers, nil)
				if err != nil {
					t.Fatal(err)
				}
				io.Copy(io.Discard, answer.Body) //nolint:errcheck // the next answer tells
			}
			wakeups, connections := uint64(requests), uint64(1)
			if !observable(t, spec, executable) {
				wakeups, connections = 0, 0
			}
			labtest.Settles(t, func() error {
				x, service := exporter.Scrape(), labtest.Labels{"service": name}
				if got := x.HistogramCount("tcpslo_netpoll_wakeup_seconds", service); got != wakeups {
					return fmt.Errorf("%d wake-ups, want %d", got, wakeups)
				}
				if got := x.HistogramCount("tcpslo_connection_goroutine_start_seconds", service); got != connections {
					return fmt.Errorf("%d goroutines of connections, want %d", got, connections)
				}
				return nil
			})
		})
	}
}
