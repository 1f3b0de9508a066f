// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
)

// readNewc lists an archive as `cpio -itv` would, from the format's description
// (Documentation/driver-api/early-userspace/buffer-format.rst): every header is
// 110 bytes and starts at a multiple of 4, as does every file's content.
func readNewc(archive []byte) ([]string, error) {
	var list []string
	for at := 0; ; {
		if len(archive) < at+110 || string(archive[at:at+6]) != "070701" {
			return nil, fmt.Errorf("no header at byte %d", at)
		}
		var field [13]int
		for i := range field {
			n, err := strconv.ParseUint(string(archive[at+6+8*i:at+14+8*i]), 16, 32)
			if err != nil {
				return nil, err
			}
			field[i] = int(n)
		}
		mode, size, major, minor, nameLen := field[1], field[6], field[9], field[10], field[11]
		name := string(archive[at+110 : at+110+nameLen])
		content := (at + 110 + nameLen + 3) / 4 * 4
		if name == "TRAILER!!!\x00" {
			return list, nil
		}
		list = append(list, fmt.Sprintf("%06o %d,%d %q %q", mode, major, minor, name, archive[content:content+size]))
		at = (content + size + 3) / 4 * 4
	}
}

func TestCPIOWriter_writes_an_archive_that_the_format_describes(t *testing.T) {
	var archive bytes.Buffer
	w := newCPIOWriter(&archive)
	add := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	add(w.device("/dev/console", 5, 1))
	// Names and contents of every length modulo 4, since padding is what goes wrong.
	for n := range 5 {
		text := strings.Repeat("x", n)
		add(w.file("/opt/deep/"+text+"f", 0o755, int64(n), strings.NewReader(text)))
	}
	add(w.mkdirAll("/opt"))
	add(w.close())

	got, err := readNewc(archive.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`040755 0,0 "dev\x00" ""`,
		`020600 5,1 "dev/console\x00" ""`,
		`040755 0,0 "opt\x00" ""`,
		`040755 0,0 "opt/deep\x00" ""`,
		`100755 0,0 "opt/deep/f\x00" ""`,
		`100755 0,0 "opt/deep/xf\x00" "x"`,
		`100755 0,0 "opt/deep/xxf\x00" "xx"`,
		`100755 0,0 "opt/deep/xxxf\x00" "xxx"`,
		`100755 0,0 "opt/deep/xxxxf\x00" "xxxx"`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestCPIOWriter_refuses_what_the_format_cannot_hold(t *testing.T) {
	w := newCPIOWriter(io.Discard)
	if err := w.file("/large", 0o755, 1<<32, strings.NewReader("")); err == nil {
		t.Error("a file of 4 GiB was accepted")
	}
	if err := w.file("/short", 0o755, 10, strings.NewReader("short")); err == nil {
		t.Error("a file that ends early was accepted")
	}
}
