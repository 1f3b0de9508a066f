// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// softnetOf scrapes the collector on a /proc that has a text as net/softnet_stat.
func softnetOf(t *testing.T, text string) string {
	t.Helper()
	procfs := t.TempDir()
	if err := os.Mkdir(filepath.Join(procfs, "net"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(procfs, "net", "softnet_stat"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	only(t, softnetKind)
	s := NewSet(Plan{{Name: "softnet", Options: &Common{}}}, Environment{Paths: Paths{Procfs: procfs}, Log: slog.New(slog.DiscardHandler)})
	return scrape(t, s)
}

func TestSoftnet_reads_the_columns_of_each_kernel(t *testing.T) {
	for kernel, columns := range map[string]string{
		"5.10": "",
		"6.10": " 00000002 00000001",
	} {
		t.Run(kernel, func(t *testing.T) {
			got := softnetOf(t, strings.Join([]string{
				"000186a0 00000005 00000007 00000000 00000000 00000000 00000000 00000000 00000000 0000000b 0000000d 00000003 00000000" + columns,
				"ffffffff 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000002" + columns,
			}, "\n")+"\n")
			for _, want := range []string{
				`tcpslo_softnet_processed_total{cpu="0"} 100000`,
				`tcpslo_softnet_dropped_total{cpu="0"} 5`,
				`tcpslo_softnet_time_squeeze_total{cpu="0"} 7`,
				`tcpslo_softnet_received_rps_total{cpu="0"} 11`,
				`tcpslo_softnet_flow_limit_total{cpu="0"} 13`,
				`tcpslo_softnet_backlog_packets{cpu="0"} 3`,
				`tcpslo_softnet_processed_total{cpu="2"} 4.294967295e+09`, // CPU 1 is offline
				`tcpslo_collector_success{collector="softnet"} 1`,
			} {
				if !strings.Contains(got, want+"\n") {
					t.Errorf("no %s in\n%s", want, got)
				}
			}
			if strings.Contains(got, `cpu="1"`) {
				t.Errorf("a CPU that is offline is in\n%s", got)
			}
		})
	}
}

func TestSoftnet_tells_nothing_where_it_cannot_tell_the_CPUs_apart(t *testing.T) {
	for what, text := range map[string]string{
		"a kernel before 5.10": strings.TrimSpace(strings.Repeat("00000001 ", 11)) + "\n",
		"another file":         "one two three\n",
	} {
		got := softnetOf(t, text)
		if strings.Contains(got, "tcpslo_softnet") || !strings.Contains(got, `tcpslo_collector_success{collector="softnet"} 0`+"\n") {
			t.Errorf("%s gives\n%s", what, got)
		}
	}
}

// The figures of a machine that is at work: they grow, and never shrink, from one
// look to the next.
func TestSoftnet_is_what_the_file_says_now(t *testing.T) {
	only(t, softnetKind)
	s := set(t, "")
	processed := func() map[string]float64 {
		text, err := os.ReadFile("/proc/net/softnet_stat")
		if err != nil {
			t.Fatal(err)
		}
		counts := map[string]float64{}
		for line := range strings.Lines(string(text)) {
			var columns [13]uint32
			for i, column := range strings.Fields(line)[:len(columns)] {
				if _, err := fmt.Sscanf(column, "%x", &columns[i]); err != nil {
					t.Fatal(err)
				}
			}
			counts[fmt.Sprintf("{cpu=%q}", fmt.Sprint(columns[12]))] = float64(columns[0])
		}
		return counts
	}
	before := processed()
	got := seriesOf(scrape(t, s), "tcpslo_softnet_processed_total")
	after := processed()
	if len(got) != len(before) {
		t.Errorf("%d CPUs, want %d", len(got), len(before))
	}
	for cpu, count := range before {
		if got[cpu] < count || got[cpu] > after[cpu] {
			t.Errorf("processed%s is %v, the file said %v before and %v after", cpu, got[cpu], count, after[cpu])
		}
	}
}
