// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tcpslo/tcpslo/exporter/command"
	"github.com/tcpslo/tcpslo/exporter/config"
)

const root = "../../.."

func TestReference_is_what_make_generate_writes(t *testing.T) {
	files, err := generate(root)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range files {
		have, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(have, want) {
			t.Errorf("%s is stale: run make generate", path)
		}
	}
}

// The metrics are looked up in the YAML text here, not by the loader that the
// generator uses.
func TestReference_has_a_row_for_every_metric_of_every_probe(t *testing.T) {
	probes, err := filepath.Glob(filepath.Join(root, "bpf", "*.yaml"))
	if err != nil || len(probes) == 0 {
		t.Fatalf("no probes found: %v", err)
	}
	metric := regexp.MustCompile(`(?m)^  - name: (\S+)\n    type: `)
	found := 0
	for _, document := range []string{"README.md", "docs/metrics.md"} {
		text, err := os.ReadFile(filepath.Join(root, document))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range probes {
			yaml, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, match := range metric.FindAllSubmatch(yaml, -1) {
				found++
				if row := "| `tcpslo_" + string(match[1]) + "` |"; !bytes.Contains(text, []byte(row)) {
					t.Errorf("%s has no row that begins with %s, defined in %s", document, row, file)
				}
			}
		}
	}
	if found < 2*15 {
		t.Errorf("only %d metrics were found in the YAML files: has their form changed?", found/2)
	}
}

func TestReplaceBetween_refuses_a_file_without_markers(t *testing.T) {
	for _, text := range []string{"", beginMarker, endMarker, endMarker + beginMarker} {
		if got, err := replaceBetween([]byte(text), "x"); err == nil {
			t.Errorf("%q became %q, want an error", text, got)
		}
	}
}

// The collectors that a configuration in the documentation may name.
var collectors = command.Collectors()

func TestDocuments(t *testing.T) {
	var documents []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && (strings.HasPrefix(entry.Name(), ".git") || entry.Name() == "node_modules" || entry.Name() == "build") {
			return filepath.SkipDir
		}
		if err == nil && strings.HasSuffix(path, ".md") {
			documents = append(documents, path)
		}
		return err
	})
	if err != nil || len(documents) < 10 {
		t.Fatalf("found %d documents: %v", len(documents), err)
	}
	link := regexp.MustCompile(`\]\(([^)#:\s]+)(#[^)]*)?\)`)
	example := regexp.MustCompile("(?s)```yaml\n# tcpslo.yml.*?\n(.*?)```")
	examples := 0
	for _, document := range documents {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		t.Run("links of "+document+" lead to files", func(t *testing.T) {
			for _, match := range link.FindAllSubmatch(text, -1) {
				if _, err := os.Stat(filepath.Join(filepath.Dir(document), string(match[1]))); err != nil {
					t.Errorf("link to %s: %v", match[1], err)
				}
			}
		})
		for _, match := range example.FindAllSubmatch(text, -1) {
			examples++
			if _, err := config.Parse(document, match[1], collectors); err != nil {
				t.Errorf("an example of tcpslo.yml in %s is not valid: %v", document, err)
			}
		}
	}
	if examples == 0 {
		t.Error("no document shows a tcpslo.yml")
	}
	if _, err := config.Load(filepath.Join(root, "deploy", "tcpslo.yml"), collectors); err != nil {
		t.Errorf("deploy/tcpslo.yml is not valid: %v", err)
	}
}
