// SPDX-License-Identifier: Apache-2.0

package matrix

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/tcpslo/tcpslo/lab/gobuild"
	"github.com/tcpslo/tcpslo/lab/labtest"
	"github.com/tcpslo/tcpslo/lab/truth"
)

// cells are the executables to test: every release stripped and every mode of
// the newest two, or with TCPSLO_MATRIX=full every mode of every release.
func cells() []gobuild.Spec {
	versions := gobuild.Versions()
	newest := versions[len(versions)-2:]
	var all []gobuild.Spec
	for _, version := range versions {
		for _, mode := range gobuild.Modes() {
			if mode == gobuild.Stripped || slices.Contains(newest, version) || os.Getenv("TCPSLO_MATRIX") == "full" {
				all = append(all, gobuild.Spec{Toolchain: version, Mode: mode})
			}
		}
	}
	return all
}

// patternless releases have no Request.Pattern, and no pat either.
var patternless = []string{gobuild.Go118, gobuild.Go119, gobuild.Go120, gobuild.Go121}

func TestEvery_release_and_build_mode_counts_exactly_with_two_hits_a_request(t *testing.T) {
	for _, spec := range cells() {
		t.Run(fmt.Sprintf("%s %s", spec.Toolchain, spec.Mode), func(t *testing.T) {
			if spec.Mode == gobuild.PGO && slices.Index(gobuild.Versions(), spec.Toolchain) < slices.Index(gobuild.Versions(), gobuild.Go120) {
				return // profile-guided optimisation came with Go 1.20: there is no such build
			}
			executable := build(t, spec)
			config, plan := withService(executable), truth.Plan{Requests: 2000, Seed: 2, Concurrency: 4}
			if slices.Contains(patternless, spec.Toolchain) {
				config, plan.Label = withRoutes(executable), truth.ByTemplates(templates, "")
			}
			// In a wrapper, where all stages are seen if each type tells the way to the next.
			exporter, server := service(t, executable, config, "-router", "wrapped")
			mixed := run(t, "http://"+server.Listen[0], plan)
			compare(t, exporter, "lab", mixed.Counts)

			secure := labtest.StartServer(t, labtest.ServerOptions{Executable: executable, Flags: []string{"-tls"}})
			exporter.WaitAttached(secure.PID)
			streams := plan
			streams.Requests, streams.Seed = 300, 4
			compare(t, exporter, "lab", add(mixed.Counts, run(t, "h2://"+secure.Listen[0], streams).Counts))

			before, parsed := hits(exporter), stageCount(exporter, "parse")
			const requests = 1000
			result := run(t, "http://"+server.Listen[0], truth.Plan{Requests: requests, Seed: 3, Concurrency: 1, Mix: truth.Mix{"GET /hello/{name}": 1}})
			labtest.Settles(t, func() error {
				// One hit more for each connection: its end, where a panic would show.
				if n := hits(exporter) - before; n != 2*requests+float64(result.Connections) {
					return fmt.Errorf("%v hits for %d requests on %d connection, want 2 hits a request and 1 a connection", n, requests, result.Connections)
				}
				if n := stageCount(exporter, "parse") - parsed; n != requests {
					return fmt.Errorf("%d requests have the stage parse, want %d", n, requests)
				}
				return nil
			})
			wantTraces(t, exporter, server)
			for _, key := range []string{"map_full", "user_memory_unreadable"} {
				if n := exporter.Scrape().Value("tcpslo_lost_total", labtest.Labels{"probe": "http", "reason": key}); n != 0 {
					t.Error(errors.New("lost: "+key), n)
				}
			}
		})
	}
}

// stageCount is how many requests of the server have a stage.
func stageCount(exporter *labtest.Exporter, stage string) uint64 {
	return exporter.Scrape().HistogramCount("tcpslo_http_request_stage_seconds", labtest.Labels{"service": "lab", "stage": stage})
}

// hits is how often the server ran into a probe.
func hits(exporter *labtest.Exporter) float64 {
	return exporter.Scrape().Value("tcpslo_probe_service_hits_total", labtest.Labels{"service": "lab"})
}
