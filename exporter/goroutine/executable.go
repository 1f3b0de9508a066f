// SPDX-License-Identifier: Apache-2.0

package goroutine

import (
	"errors"
	"fmt"
	"math"

	"github.com/tcpslo/tcpslo/exporter/goexe"
)

// executable is what is the same in all processes that execute a file.
type executable struct {
	path      string // of the file, by a process that executes it
	refused   error  // why it never will do
	open      *goexe.Executable
	entry     uint64
	fields    fields
	poll      pollFields
	slices    []uint64          // one of which is runtime.allgs
	reasons   []uint64          // one of which is runtime.waitReasonStrings
	functions map[uint64]string // names by program counter, as far as they were asked for
	lines     map[uint64]string // files and lines, likewise
}

// fields are offsets in runtime.g, in bytes, from where it is read.
type fields struct {
	extent
	goid, atomicstatus, waitreason, gopc, startpc, parentGoid uint64
	hasParent                                                 bool // since Go 1.21
}

// pollFields are those in runtime.pollDesc.
type pollFields struct {
	extent
	fd, rg, wg uint64
}

// extent is the part of a struct that is read: its offset and size in bytes.
type extent struct{ first, size uint64 }

// mostFunctions bounds the names and the lines that are kept, whatever a process claims to have
// as program counters.
const mostFunctions = 1 << 14

// newExecutable looks into a file.
func newExecutable(path string) (*executable, error) {
	x := &executable{path: path, functions: map[uint64]string{}, lines: map[uint64]string{}}
	file, err := x.file()
	if errors.Is(err, goexe.ErrNotGo) || errors.Is(err, goexe.ErrUnsupportedVersion) || errors.Is(err, goexe.ErrUnsupportedArch) {
		x.refused = err
		return x, nil
	}
	if err != nil {
		return nil, err
	}
	defer x.close()
	x.entry = file.Entry()
	if x.slices, err = file.References("runtime.allgadd"); err != nil {
		return nil, err
	}
	if x.reasons, err = file.References("runtime.goroutineheader"); err != nil {
		return nil, err
	}
	return x, errors.Join(x.fields.find(file), x.poll.find(file))
}

func (f *fields) find(file *goexe.Executable) error {
	wanted := map[string]*uint64{
		"goid": &f.goid, "atomicstatus": &f.atomicstatus, "waitreason": &f.waitreason, "gopc": &f.gopc, "startpc": &f.startpc,
	}
	_, err := file.FieldOffset("runtime.g", "parentGoid")
	if f.hasParent = !errors.Is(err, goexe.ErrNoField); f.hasParent {
		wanted["parentGoid"] = &f.parentGoid
	}
	return f.extent.find(file, "runtime.g", wanted)
}

func (f *pollFields) find(file *goexe.Executable) error {
	return f.extent.find(file, "runtime.pollDesc", map[string]*uint64{"fd": &f.fd, "rg": &f.rg, "wg": &f.wg})
}

// find sets the offsets of fields of a struct, none larger than a word, and the
// extent that has them all.
func (e *extent) find(file *goexe.Executable, structType string, wanted map[string]*uint64) error {
	e.first = math.MaxUint64
	last := uint64(0)
	for name, offset := range wanted {
		var err error
		if *offset, err = file.FieldOffset(structType, name); err != nil {
			return err
		}
		e.first, last = min(e.first, *offset), max(last, *offset)
	}
	if e.size = last - e.first + word; e.size > largest {
		return fmt.Errorf("fields of %q are %d bytes apart, more than %d", structType, e.size, largest)
	}
	for _, offset := range wanted {
		*offset -= e.first
	}
	return nil
}

// largest is how much is read of a struct at most, in bytes; it is 176 of a
// runtime.g up to Go 1.27.
const largest = 512

// file opens the file for as long as something is asked of it: an open one takes a
// megabyte, and its functions are asked for once.
func (x *executable) file() (*goexe.Executable, error) {
	if x.open != nil {
		return x.open, nil
	}
	var err error
	x.open, err = goexe.Open(x.path)
	return x.open, err
}

func (x *executable) close() {
	if x.open != nil {
		x.open.Close()
		x.open = nil
	}
}

// function is the name of the function that holds an address in the file, "" if
// there is none.
func (x *executable) function(address uint64) string {
	return x.lookUp(x.functions, address, func(file *goexe.Executable) string {
		f, err := file.FunctionAt(address)
		if err != nil {
			return ""
		}
		return goexe.WithoutTypeArguments(f.Name)
	})
}

// line is the file and the line that an address in the file comes from, "" if there
// is none.
func (x *executable) line(address uint64) string {
	return x.lookUp(x.lines, address, func(file *goexe.Executable) string {
		name, line, err := file.Line(address)
		if err != nil {
			return ""
		}
		return fmt.Sprintf("%s:%d", name, line)
	})
}

// lookUp asks the file what is not known yet.
func (x *executable) lookUp(known map[uint64]string, address uint64, ask func(*goexe.Executable) string) string {
	if text, ok := known[address]; ok {
		return text
	}
	file, err := x.file()
	if err != nil {
		return "" // it is asked for again
	}
	text := ask(file)
	if len(known) < mostFunctions {
		known[address] = text
	}
	return text
}
