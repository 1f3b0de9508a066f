// SPDX-License-Identifier: Apache-2.0

// Command reference writes the reference of all metrics from where they are
// defined: the probes' YAML files and the package names. It writes
// docs/metrics.md, and in README.md what stands between two markers. Run it in
// the root of the repository:
//
//	go run ./exporter/names/reference
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := write("."); err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}

// write brings the files below a folder up to date.
func write(root string) error {
	files, err := generate(root)
	if err != nil {
		return err
	}
	for path, content := range files {
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
