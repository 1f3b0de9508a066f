// SPDX-License-Identifier: Apache-2.0

package examples

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// warehouse is a running program that is measured.
type warehouse struct {
	input  io.WriteCloser
	output *bufio.Reader
}

func buildWarehouse(t *testing.T, name string, flags ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	build := exec.Command(testenv.Need(t, "go", "golang"), append(append([]string{"build", "-o", path}, flags...), "./go_function/warehouse")...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, output)
	}
	return path
}

func startWarehouse(t *testing.T, path string) *warehouse {
	t.Helper()
	command := exec.Command(path)
	command.Stderr = os.Stderr
	input, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		input.Close()
		if err := command.Wait(); err != nil {
			t.Error(err)
		}
	})
	return &warehouse{input, bufio.NewReader(output)}
}

// round returns how many calls have returned so far by the program's own count.
func (w *warehouse) round(t *testing.T) uint64 {
	t.Helper()
	if _, err := io.WriteString(w.input, "\n"); err != nil {
		t.Fatal(err)
	}
	line, err := w.output.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var returned, panicked uint64
	if _, err := fmt.Sscan(line, &returned, &panicked); err != nil || returned == 0 || panicked == 0 {
		t.Fatalf("the program says %q: %v", line, err)
	}
	return returned
}

func TestGo_function_counts_every_call_that_returns(t *testing.T) {
	for _, build := range []struct {
		name  string
		flags []string
	}{{"plain", nil}, {"stripped", []string{"-ldflags=-s -w"}}, {"pie", []string{"-buildmode=pie"}}} {
		t.Run(build.name, func(t *testing.T) {
			testenv.NeedRoot(t)
			name := "warehouse-" + build.name
			path := buildWarehouse(t, name, build.flags...)
			w := startWarehouse(t, path)
			ex := startWith(t, "go_function") // attached before it is ready
			const metric = "tcpslo_warehouse_lookup_seconds"
			service := labtest.Labels{"service": name}
			for range 3 {
				want := w.round(t)
				x := ex.Scrape()
				if got := x.HistogramCount(metric, service); got != want {
					t.Fatalf("counted %d calls, the program %d", got, want)
				}
				if lost := x.Value("tcpslo_lost_total", labtest.Labels{"probe": "lookup"}); lost != 0 {
					t.Errorf("lost %v", lost)
				}
			}
			// The 20 calls of each round that sleep 1 ms in each of two levels: 20 took
			// at least 2 ms and as many at least 1 ms.
			if sum := ex.Scrape().HistogramSum(metric, service); sum < 3*20*0.003 {
				t.Errorf("all calls took %v s, those that sleep alone %v s", sum, 3*20*0.003)
			}
		})
	}
}

func TestGo_function_measures_programs_that_start_later(t *testing.T) {
	testenv.NeedRoot(t)
	path := buildWarehouse(t, "warehouse-later")
	ex := startWith(t, "go_function")
	first := startWarehouse(t, path)
	labtest.Eventually(t, func() error {
		for line := range strings.Lines(ex.Log()) {
			if strings.Contains(line, "probe attached") && strings.Contains(line, "probe=lookup") && strings.Contains(line, path) {
				return nil
			}
		}
		return errors.New("the probe is not attached to " + path)
	})
	second := startWarehouse(t, path) // observed from its first call: the probe stands in the file
	want := first.round(t) + second.round(t)
	if got := ex.Scrape().HistogramCount("tcpslo_warehouse_lookup_seconds", labtest.Labels{"service": "warehouse-later"}); got != want {
		t.Errorf("counted %d calls, the two programs %d", got, want)
	}
}
