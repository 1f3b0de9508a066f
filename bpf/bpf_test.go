// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/tcpslo/tcpslo/bpf"
	"github.com/tcpslo/tcpslo/exporter/probe"
)

func TestEvery_probe_has_a_definition_that_is_valid(t *testing.T) {
	for _, p := range bpf.Probes() {
		d, err := probe.ReadDefinition(p.File, p.YAML)
		if err != nil {
			t.Error(err)
			continue
		}
		if d.Name != p.Name {
			t.Errorf("%s defines the probe %q", p.File, d.Name)
		}
		for _, m := range d.Metrics {
			if m.Unit == "" {
				t.Errorf("%s: metric %q has no unit", p.File, m.Name)
			}
			if !strings.HasSuffix(m.Help, ".") {
				t.Errorf("%s: the help of metric %q is no sentence: %q", p.File, m.Name, m.Help)
			}
		}
	}
}

func TestEvery_source_has_an_object_for_each_architecture(t *testing.T) {
	sources, err := filepath.Glob("*.bpf.c")
	if err != nil || len(sources) == 0 {
		t.Fatalf("no sources: %v", err)
	}
	for _, source := range sources {
		for _, arch := range []string{"amd64", "arm64"} {
			if _, err := os.Stat(filepath.Join("object", arch, strings.TrimSuffix(source, ".c")+".o")); err != nil {
				t.Error(err)
			}
		}
		if _, err := bpf.Object(strings.TrimSuffix(source, ".bpf.c")); err != nil {
			t.Error(err)
		}
	}
	objects, err := filepath.Glob("object/*/*.o")
	if err != nil || len(objects) != 2*len(sources) {
		t.Errorf("%d objects of %d sources for two architectures (%v)", len(objects), len(sources), err)
	}
}

// Linux 5.10 is the oldest kernel. An instruction or helper that it does not
// know would be found only there.
func TestObjects_use_nothing_that_Linux_5_10_does_not_have(t *testing.T) {
	const lastHelper = 155 // bpf_redirect_peer, include/uapi/linux/bpf.h of Linux 5.10
	later := map[string][]asm.BuiltinFunc{
		// Its variant requires drop reasons of Linux 5.18, so it is not loaded before.
		"no_room__backlog": {asm.FnGetFuncRet}, // Linux 5.17
		// Dead code where the enum bpf_func_id has no BPF_FUNC_task_pt_regs.
		"sample":      {asm.FnGetCurrentTaskBtf, asm.FnTaskPtRegs}, // Linux 5.11, 5.15
		"thread_runs": {asm.FnTaskPtRegs},
	}
	objects, err := filepath.Glob("object/*/*.o")
	if err != nil {
		t.Fatal(err)
	}
	var programs, atomics int
	for _, path := range objects {
		object, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for name, program := range spec.Programs {
			programs++
			for i, in := range program.Instructions {
				switch {
				case in.IsBuiltinCall() && in.Constant > lastHelper && !slices.Contains(later[name], asm.BuiltinFunc(in.Constant)):
					t.Errorf("%s: %s calls %v at instruction %d", path, name, asm.BuiltinFunc(in.Constant), i)
				case in.IsKfuncCall():
					t.Errorf("%s: %s calls a kfunc at instruction %d", path, name, i)
				case in.OpCode.Mode() == asm.AtomicMode:
					// Before Linux 5.12 the only atomic instruction adds and returns nothing.
					if atomics++; in.OpCode.AtomicOp() != asm.AddAtomic {
						t.Errorf("%s: %s has %v at instruction %d", path, name, in, i)
					}
				case in.OpCode.Class() == asm.Jump32Class:
					t.Errorf("%s: %s has %v at instruction %d, which -mcpu=v2 does not", path, name, in, i)
				}
			}
		}
	}
	if programs < 20 || atomics == 0 {
		t.Errorf("looked at %d programs with %d atomic instructions", programs, atomics)
	}
}
