// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
)

// series is one kernel of the matrix. Debian replaces point versions and deletes
// the old ones, so a kernel is named by its series and resolved when it is fetched.
type series struct {
	// name is what -kernel takes.
	name string

	// version is the series, for example "6.1"; empty means the highest that the
	// suite has.
	version string

	// suite is the Debian suite that carries the series.
	suite string

	// arch is the architecture by the name that Debian and Go share.
	arch string
}

// matrix are the kernels that the project promises to run on: the oldest that
// BPF ring buffers and trampolines are complete on, the long-term ones that the
// distributions ship, and the newest there is. Debian's cloud flavour is used: it
// is the one with everything a virtual machine needs to boot built in.
var matrix = []series{
	{"5.10", "5.10", "bullseye-security", "amd64"},
	{"6.1", "6.1", "bookworm-security", "amd64"},
	{"6.12", "6.12", "trixie-security", "amd64"},
	{"6.18", "6.18", "trixie-backports", "amd64"},
	{"newest", "", "trixie-backports", "amd64"},
	{"6.12-arm64", "6.12", "trixie-security", "arm64"},
}

// selectSeries returns the kernels named, in the matrix's order and each once;
// no name, or "all", means all of them.
func selectSeries(names []string) ([]series, error) {
	known := make([]string, len(matrix))
	for i, s := range matrix {
		known[i] = s.name
	}
	for _, name := range names {
		if name != "all" && !slices.Contains(known, name) {
			return nil, fmt.Errorf("unknown kernel %q; the matrix has all, %s", name, strings.Join(known, ", "))
		}
	}
	if len(names) == 0 || slices.Contains(names, "all") {
		return matrix, nil
	}
	var chosen []series
	for _, s := range matrix {
		if slices.Contains(names, s.name) {
			chosen = append(chosen, s)
		}
	}
	return chosen, nil
}
