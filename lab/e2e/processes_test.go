// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tcpslo/tcpslo/lab/labtest"
)

// Ten executables, each new, each run thirty times and then deleted, as a
// machine sees them in a day of deployments. The first run of each lives until
// the exporter has attached to it; the others are gone as soon as they listen.
func TestShort_lived_Go_servers_leave_nothing_behind(t *testing.T) {
	const executables, runs = 10, 30
	ex := start(t)
	ex.WaitListener(ex.Addr)
	files, entries := ex.OpenFiles(), mapEntries(ex.Scrape())
	if len(entries) == 0 {
		t.Fatal("tcpslo_map_entries has no series")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for i := range executables {
		exe := filepath.Join(dir, fmt.Sprintf("short-lived-%d", i))
		labtest.CopyFile(t, exe, self)
		for run := range runs {
			w := labtest.StartWorker(t, nil, labtest.WorkerOptions{HTTP: "127.0.0.1:0", Executable: exe})
			if run == 0 {
				if s := ex.WaitAttached(w.PID); s.Name != filepath.Base(exe) || s.Executable != exe {
					t.Errorf("process %d is service %q of %q, want %q of %q", w.PID, s.Name, s.Executable, filepath.Base(exe), exe)
				}
			}
			w.Kill()
		}
		if err := os.Remove(exe); err != nil {
			t.Fatal(err)
		}
	}
	labtest.EventuallyWithin(t, 40*time.Second, func() error {
		var errs []error
		for _, s := range ex.Services() {
			if strings.HasPrefix(s.Executable, dir) {
				errs = append(errs, fmt.Errorf("service %q is still listed with processes %v", s.Name, s.PIDs))
			}
		}
		// One leak for each executable would be 10, for each process 300.
		return errors.Join(append(errs,
			grown(files, ex.OpenFiles(), 2),
			grown(entries, mapEntries(ex.Scrape()), executables/2),
		)...)
	})
}
