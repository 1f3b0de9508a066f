// SPDX-License-Identifier: Apache-2.0

// Command render writes what the mixin evaluates to: the rules and alerts in rules/,
// and the dashboards. Run it in the root of the repository:
//
//	go run ./mixin/render
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/tcpslo/tcpslo/mixin"
)

func main() {
	if err := write("."); err != nil {
		fmt.Fprintln(os.Stderr, "render:", err)
		os.Exit(1)
	}
}

// write brings the files below a folder up to date.
func write(root string) error {
	files, err := mixin.Files(root)
	if err != nil {
		return err
	}
	for path, content := range files {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
