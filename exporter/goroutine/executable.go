// SPDX-License-Identifier: Apache-2.0

package goroutine

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tcpslo/tcpslo/exporter/goexe"
)

// executable is what is the same in all processes that execute a file.
type executable struct {
	path      string // of the file, by a process that executes it
	refused   error  // why it never will do
	open      *goexe.Executable
	entry     uint64
	fields    fields
	slices    []uint64          // one of which is runtime.allgs
	reasons   []uint64          // one of which is runtime.waitReasonStrings
	functions map[uint64]string // names by program counter, as far as they were asked for
}

// fields are offsets in runtime.g, in bytes: first and size of what is read of it,
// the others from there.
type fields struct {
	first, size                                               uint64
	goid, atomicstatus, waitreason, gopc, startpc, parentGoid uint64
	hasParent                                                 bool // since Go 1.21
}

// mostFunctions bounds the names that are kept, whatever a process claims to have
// as program counters.
const mostFunctions = 1 << 14

// newExecutable looks into a file.
func newExecutable(path string) (*executable, error) {
	x := &executable{path: path, functions: map[uint64]string{}}
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
	return x, x.fields.find(file)
}

func (f *fields) find(file *goexe.Executable) error {
	sizes := map[*uint64]uint64{&f.atomicstatus: 4, &f.waitreason: 1}
	f.hasParent = true
	var end uint64
	f.first = 1 << 32
	all := map[string]*uint64{
		"goid": &f.goid, "atomicstatus": &f.atomicstatus, "waitreason": &f.waitreason,
		"gopc": &f.gopc, "startpc": &f.startpc, "parentGoid": &f.parentGoid,
	}
	for name, offset := range all {
		var err error
		*offset, err = file.FieldOffset("runtime.g", name)
		if name == "parentGoid" && errors.Is(err, goexe.ErrNoField) {
			f.hasParent = false
			continue
		}
		if err != nil {
			return err
		}
		size, ok := sizes[offset]
		if !ok {
			size = word
		}
		f.first, end = min(f.first, *offset), max(end, *offset+size)
	}
	f.size = end - f.first
	if f.size > largest {
		return fmt.Errorf("fields of runtime.g are %d bytes apart, more than %d", f.size, largest)
	}
	for _, offset := range all {
		*offset -= f.first
	}
	return nil
}

// largest is how much is read of a runtime.g at most, in bytes; it is 176 up to Go
// 1.27.
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
	name, known := x.functions[address]
	if known {
		return name
	}
	file, err := x.file()
	if err != nil {
		return "" // it is asked for again
	}
	if f, err := file.FunctionAt(address); err == nil {
		name = withoutTypeArguments(f.Name)
	}
	if len(x.functions) < mostFunctions {
		x.functions[address] = name
	}
	return name
}

// withoutTypeArguments makes "main.run[...]" of "main.run[go.shape.int]", as a
// traceback does (runtime/traceback.go, printFuncName).
func withoutTypeArguments(name string) string {
	begin, end := strings.IndexByte(name, '['), strings.LastIndexByte(name, ']')
	if begin < 0 || end < begin {
		return name
	}
	return name[:begin] + "[...]" + name[end+1:]
}
