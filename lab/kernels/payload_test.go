// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writeELF writes the headers of an executable, which is all that is read of one.
func writeELF(t *testing.T, machine elf.Machine, loader string) string {
	t.Helper()
	header := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Phoff: 64, Ehsize: 64, Phentsize: 56,
	}
	var file bytes.Buffer
	parts := []any{&header}
	if loader != "" {
		header.Phnum = 1
		parts = append(parts, elf.Prog64{Type: uint32(elf.PT_INTERP), Off: 64 + 56, Filesz: uint64(len(loader)) + 1}, []byte(loader+"\x00"))
	}
	for _, part := range parts {
		if err := binary.Write(&file, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(t.TempDir(), "binary")
	if err := os.WriteFile(name, file.Bytes(), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestChoose(t *testing.T) {
	arm64 := payload{binary: writeELF(t, elf.EM_AARCH64, "")}
	t.Run("of all kernels those of the binary's architecture are chosen and the others named", func(t *testing.T) {
		chosen, leftOut, err := arm64.choose(matrix, []string{"all"})
		if err != nil || len(chosen) != 1 || chosen[0].name != "6.12-arm64" || len(leftOut) != len(matrix)-1 {
			t.Errorf("chosen %v, left out %v, %v", chosen, leftOut, err)
		}
	})
	t.Run("a kernel named that the binary cannot run on is an error that says how to build it", func(t *testing.T) {
		_, _, err := arm64.choose(matrix, []string{"all", "6.1"})
		if err == nil || !strings.Contains(err.Error(), `"6.1"`) || !strings.Contains(err.Error(), "GOARCH=amd64") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a machine that the matrix has no kernel for is an error", func(t *testing.T) {
		p := payload{binary: writeELF(t, elf.EM_RISCV, "")}
		if _, _, err := p.choose(matrix, []string{"all"}); err == nil || !strings.Contains(err.Error(), "EM_RISCV") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a dynamically linked binary is refused unless its loader is copied too", func(t *testing.T) {
		p := payload{binary: writeELF(t, elf.EM_X86_64, "/lib64/ld.so")}
		if _, _, err := p.choose(matrix, []string{"6.1"}); err == nil || !strings.Contains(err.Error(), "CGO_ENABLED=0") {
			t.Errorf("without the loader: %v", err)
		}
		if err := p.addFile("/lib64/ld.so=" + p.binary); err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.choose(matrix, []string{"6.1"}); err != nil {
			t.Errorf("with the loader: %v", err)
		}
	})
	t.Run("a script is refused", func(t *testing.T) {
		p := payload{binary: filepath.Join(t.TempDir(), "script")}
		if err := os.WriteFile(p.binary, []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.choose(matrix, []string{"6.1"}); err == nil {
			t.Error("no error")
		}
	})
}

func TestAddFile(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "sub/b"} {
		if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("a file is copied under its new name, a folder with all below it", func(t *testing.T) {
		var p payload
		for _, text := range []string{"/bin/x=" + dir + "/a", "/data/=" + dir} {
			if err := p.addFile(text); err != nil {
				t.Fatal(err)
			}
		}
		want := map[string]string{"/bin/x": dir + "/a", "/data/a": dir + "/a", "/data/sub/b": dir + "/sub/b"}
		if !maps.Equal(p.files, want) {
			t.Errorf("got %v, want %v", p.files, want)
		}
	})
	for sentence, text := range map[string]string{
		"a file that would be hidden by a mount is refused":   "/tmp/../tmp/x=" + dir + "/a",
		"a folder that would be hidden by a mount is refused": "/sys=" + dir,
		"a relative place in the guest is refused":            "bin/x=" + dir + "/a",
		"a place in the guest alone is refused":               "/bin/x",
		"a file that is not there is refused":                 "/bin/x=" + dir + "/none",
	} {
		t.Run(sentence, func(t *testing.T) {
			var p payload
			if err := p.addFile(text); err == nil {
				t.Errorf("%q was accepted as %v", text, p.files)
			}
		})
	}
	t.Run("a name that only begins like a mount is accepted", func(t *testing.T) {
		var p payload
		if err := p.addFile("/system/x=" + dir + "/a"); err != nil {
			t.Error(err)
		}
	})
}
