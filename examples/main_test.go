// SPDX-License-Identifier: Apache-2.0

// Package examples runs the examples the way a user would, and holds what they
// count against what the test did.
package examples

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

// startWith runs an exporter with the probes in a folder.
func startWith(t *testing.T, folder string) *labtest.Exporter {
	t.Helper()
	testenv.NeedRoot(t)
	folder, err := filepath.Abs(folder) // a relative name would be one beside tcpslo.yml
	if err != nil {
		t.Fatal(err)
	}
	return labtest.StartExporter(t, labtest.Options{Config: "probe_files: [" + filepath.Join(folder, "*.yaml") + "]\n"})
}
