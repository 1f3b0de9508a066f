// SPDX-License-Identifier: Apache-2.0

package matrix

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tcpslo/tcpslo/lab/gobuild"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// handshakes makes n handshakes of a version, and as many that fail because the
// client does not trust the server. It returns how many the client saw succeed.
func handshakes(addr string, version uint16, n int) (succeeded int, err error) {
	for range n {
		conn, err := tls.Dial("tcp", addr, &tls.Config{MinVersion: version, MaxVersion: version, InsecureSkipVerify: true})
		if err != nil {
			return succeeded, err
		}
		if conn.ConnectionState().Version == version {
			succeeded++
		}
		conn.Close()
		if conn, err = tls.Dial("tcp", addr, &tls.Config{MinVersion: version, MaxVersion: version, ServerName: "localhost"}); err == nil {
			conn.Close()
			return succeeded, errors.New("a client has trusted a certificate of its own making")
		}
	}
	return succeeded, nil
}

// One process of each release; what a handshake may be is tested in lab/e2e.
func TestEvery_release_and_build_mode_counts_TLS_handshakes(t *testing.T) {
	config := strings.Builder{}
	config.WriteString("services:\n")
	executables := map[string]string{}
	for _, spec := range cells() {
		if spec.Mode == gobuild.PGO || spec.Mode == gobuild.External {
			continue // crypto/tls is compiled and linked like any other package
		}
		name := fmt.Sprintf("%s %s", spec.Toolchain, spec.Mode)
		executables[name] = build(t, spec)
		fmt.Fprintf(&config, "  - name: %q\n    match: {executable: %q}\n", name, executables[name])
	}
	exporter := labtest.StartExporter(t, labtest.Options{Config: config.String()})
	for name, executable := range executables {
		t.Run(name, func(t *testing.T) {
			const n = 5
			server := labtest.StartServer(t, labtest.ServerOptions{Executable: executable, Flags: []string{"-tls"}})
			exporter.WaitAttached(server.PID)
			for label, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
				succeeded, err := handshakes(server.Listen[0], version, n)
				if err != nil || succeeded != n {
					t.Fatalf("%d handshakes of TLS %s, want %d: %v", succeeded, label, n, err)
				}
				labtest.Settles(t, func() error {
					x := exporter.Scrape()
					for _, result := range []string{"ok", "error"} {
						labels := labtest.Labels{"service": name, "version": label, "resumed": "false", "result": result}
						if got := x.HistogramCount("tcpslo_tls_handshake_seconds", labels); got != n {
							return fmt.Errorf("%d handshakes of TLS %s, result %s, want %d", got, label, result, n)
						}
					}
					return nil
				})
			}
			labtest.Eventually(t, func() error {
				x := exporter.Scrape()
				all := x.HistogramCount("tcpslo_tls_handshake_seconds", labtest.Labels{"service": name})
				waiting := x.Value("tcpslo_tls_handshakes_in_flight", labtest.Labels{"service": name})
				if all != 4*n || waiting != 0 {
					return fmt.Errorf("%d handshakes and %v in flight, want %d and none", all, waiting, 4*n)
				}
				return nil
			})
		})
	}
}
