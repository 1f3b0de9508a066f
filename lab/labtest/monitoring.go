// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/child"
)

// StartPrometheus runs Prometheus until the test ends, with the file prometheus.yml of a
// folder, and with its data in the folder data below it.
func StartPrometheus(t testing.TB, folder string, flags ...string) *child.Prometheus {
	t.Helper()
	program := testenv.Need(t, "prometheus", "prometheus")
	p, err := child.StartPrometheus(t.Context(), program, filepath.Join(folder, "prometheus.yml"), filepath.Join(folder, "data"), flags...)
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, p.Process)
	return p
}

// StartAlertmanager runs Alertmanager with a configuration file until the test ends.
func StartAlertmanager(t testing.TB, config string) *child.Alertmanager {
	t.Helper()
	program := testenv.Need(t, "prometheus-alertmanager", "prometheus-alertmanager")
	a, err := child.StartAlertmanager(t.Context(), program, config, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, a.Process)
	return a
}

func stopAtEnd(t testing.TB, p *child.Process) {
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
}

// AlertName is how tests write an alert: its name without Tcpslo, its tier if it has one, and the
// value of another of its labels.
func AlertName(labels map[string]string, label string) string {
	words := []string{strings.TrimPrefix(labels["alertname"], "Tcpslo"), labels["burn_tier"], labels[label]}
	return strings.Join(slices.DeleteFunc(words, func(word string) bool { return word == "" }), " ")
}
