// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"path"
	"strings"
)

// File types in the mode of a cpio entry (cpio(5); the values of stat(2)).
const (
	cpioDir  = 0o040000
	cpioChar = 0o020000
	cpioFile = 0o100000
)

// cpioWriter writes the "newc" format, the one that the kernel unpacks as its
// initramfs (Documentation/driver-api/early-userspace/buffer-format.rst). The
// cpio program is no dependency of ours, because the format is these few lines.
type cpioWriter struct {
	w      *bufio.Writer
	offset int64
	inode  int
	dirs   map[string]bool
}

func newCPIOWriter(w io.Writer) *cpioWriter {
	return &cpioWriter{w: bufio.NewWriterSize(w, 1<<20), dirs: map[string]bool{}}
}

// mkdirAll adds the folder name and its parents, each once, with mode 0755.
func (c *cpioWriter) mkdirAll(name string) error {
	name = cpioName(name)
	if name == "" || c.dirs[name] {
		return nil
	}
	if err := c.mkdirAll(path.Dir("/" + name)); err != nil {
		return err
	}
	c.dirs[name] = true
	return c.entry(name, cpioDir|0o755, 0, 0, 0, nil)
}

// device adds a character device with mode 0600.
func (c *cpioWriter) device(name string, major, minor int) error {
	if err := c.mkdirAll(path.Dir(name)); err != nil {
		return err
	}
	return c.entry(cpioName(name), cpioChar|0o600, major, minor, 0, nil)
}

// file adds a regular file of exactly size bytes read from r, and the folders
// above it. perm is the mode's low nine bits.
func (c *cpioWriter) file(name string, perm uint32, size int64, r io.Reader) error {
	if err := c.mkdirAll(path.Dir(name)); err != nil {
		return err
	}
	return c.entry(cpioName(name), cpioFile|perm, 0, 0, size, r)
}

// close ends the archive. It does not close the writer below.
func (c *cpioWriter) close() error {
	if err := c.entry("TRAILER!!!", 0, 0, 0, 0, nil); err != nil {
		return err
	}
	return c.w.Flush()
}

func (c *cpioWriter) entry(name string, mode uint32, major, minor int, size int64, r io.Reader) error {
	if size > math.MaxUint32 {
		return fmt.Errorf("add %q to the initramfs: %d bytes do not fit the format's 32 bits", name, size)
	}
	c.inode++
	// Magic, then 13 fields of 8 hexadecimal digits: inode, mode, uid, gid, links,
	// mtime (0, so that the same input gives the same archive), size, the device
	// that holds the file, the device that it is, length of the name with its NUL,
	// checksum (unused in newc).
	n, err := fmt.Fprintf(c.w, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		c.inode, mode, 0, 0, 1, 0, size, 0, 0, major, minor, len(name)+1, 0, name)
	c.offset += int64(n)
	if err == nil {
		err = c.pad()
	}
	if err == nil && size > 0 {
		var copied int64
		copied, err = io.CopyN(c.w, r, size)
		c.offset += copied
	}
	if err == nil {
		err = c.pad()
	}
	if err != nil {
		return fmt.Errorf("add %q to the initramfs: %w", name, err)
	}
	return nil
}

// pad aligns the archive to 4 bytes, as the format asks for after each name and
// after each file's content.
func (c *cpioWriter) pad() error {
	n, err := c.w.Write(make([]byte, -c.offset&3))
	c.offset += int64(n)
	return err
}

// cpioName is name as an initramfs has it: clean, relative to the root.
func cpioName(name string) string {
	return strings.TrimPrefix(path.Clean("/"+name), "/")
}
