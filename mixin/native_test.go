// SPDX-License-Identifier: Apache-2.0

package mixin

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/tcpslo/tcpslo/internal/testenv"
)

// promtool3 builds the promtool of Prometheus 3, which has a notation for native histograms. Debian's hasn't. It
// takes minutes, once: go keeps what it has built.
func promtool3(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "promtool")
	// Without clients of clouds, of which service discovery has dozens.
	build := exec.Command("go", "build", "-C", "tools", "-tags", "remove_all_sd", "-ldflags", "-s -w", "-o", path, "github.com/prometheus/prometheus/cmd/promtool")
	if out, err := build.CombinedOutput(); err != nil {
		testenv.Skip(t, "promtool 3 can't be built: "+err.Error()+"\n"+string(out))
	}
	return path
}

// Rules of SLOs read counters, whatever kind histograms are of. Alerts that read histograms take what there is, and
// rules/tests has the classic ones.
func TestAlerts_on_histograms_fire_for_native_ones_as_well(t *testing.T) {
	promtool := promtool3(t)
	files, err := filepath.Glob("../rules/tests/native/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests found: %v", err)
	}
	if out, err := exec.Command(promtool, append([]string{"test", "rules"}, files...)...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := exec.Command(promtool, "check", "rules", "../rules/tcpslo_rules.yaml", "../rules/tcpslo_alerts.yaml").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
