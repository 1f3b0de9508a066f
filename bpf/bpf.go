// SPDX-License-Identifier: Apache-2.0

// Package bpf holds the built-in probes: a YAML file and a compiled object for
// each.
package bpf

import (
	"embed"
	"fmt"
	"runtime"
	"sort"
	"strings"
)

//go:generate ./generate.sh

//go:embed *.yaml object/*/*.o
var files embed.FS

// Probe is the two files of a built-in probe.
type Probe struct {
	Name string
	File string // name of the YAML file, for messages
	YAML []byte
}

// Probes returns the built-in probes in the order of their names.
func Probes() []Probe {
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(err) // the files are part of the executable
	}
	var probes []Probe
	for _, entry := range entries {
		name, ok := strings.CutSuffix(entry.Name(), ".yaml")
		if !ok {
			continue
		}
		yaml, err := files.ReadFile(entry.Name())
		if err != nil {
			panic(err)
		}
		probes = append(probes, Probe{name, "bpf/" + entry.Name(), yaml})
	}
	sort.Slice(probes, func(i, j int) bool { return probes[i].Name < probes[j].Name })
	return probes
}

// Object returns a compiled object for the architecture that this program was
// built for. name is "listen", or "go_function" for probes without C.
func Object(name string) ([]byte, error) {
	object, err := files.ReadFile(fmt.Sprintf("object/%s/%s.bpf.o", runtime.GOARCH, name))
	if err != nil {
		return nil, fmt.Errorf("no object of probe %q for %s", name, runtime.GOARCH)
	}
	return object, nil
}
