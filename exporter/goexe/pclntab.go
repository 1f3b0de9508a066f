// SPDX-License-Identifier: Apache-2.0

package goexe

import (
	"fmt"
	"slices"
	"sort"
)

// Function is a function as it was compiled: one that was inlined everywhere
// does not exist.
type Function struct {
	// Name is as in a traceback: "net/http.(*conn).serve". Up to Go 1.20, type
	// arguments are "[...]" there.
	Name    string
	Address uint64 // virtual address in the file, before the load bias
	Size    uint64 // in bytes, without padding
}

const (
	// functabEntrySize is the size of runtime.functab, in bytes: the offset of the
	// function from the start of the text and that of its runtime._func from the
	// start of pclntable, both uint32.
	functabEntrySize = 8

	// Fields of runtime._func (runtime/runtime2.go, Go 1.18 to 1.27).
	funcNameOffset = 4  // uint32, in functionNames
	funcStackTable = 16 // uint32, in pcTables
	funcFileTable  = 20 // uint32, in pcTables: numbers of files
	funcLineTable  = 24 // uint32, in pcTables
	funcTableCount = 28 // uint32: npcdata
	funcUnit       = 32 // uint32, in units: where the files of the compilation unit begin

	// maxFunctions bounds the table that a lookup by name keeps, at 4 bytes each.
	// The largest executables have a few hundred thousand.
	maxFunctions = 1 << 22
	// maxFunctionSize bounds the machine code read at once, in bytes.
	maxFunctionSize = 16 << 20
	// maxName is how much of a name is read, in bytes. Those of anonymous structs
	// run to many kilobytes, but nobody asks for them.
	maxName = 4 << 10
)

// functionTable finds functions in the pclntab.
type functionTable struct {
	image       *image
	module      *moduledata
	minor       int
	nameOffsets []uint32 // of each function in address order; nil until one is sought by name
}

func newFunctionTable(img *image, m *moduledata, minor int) *functionTable {
	return &functionTable{image: img, module: m, minor: minor}
}

// Function finds a function by its full name. ErrNoFunction says whether it was
// inlined away or never linked.
func (x *Executable) Function(name string) (Function, error) {
	offset, err := x.functions.nameOffset(name)
	if err != nil {
		return Function{}, fmt.Errorf("function %q: %w", name, err)
	}
	f, err := x.functions.named(name, offset)
	if err != nil {
		return Function{}, fmt.Errorf("function %q: %w", name, err)
	}
	return f, nil
}

// FunctionAt finds the function that holds address, which may be that of any of
// its instructions.
func (x *Executable) FunctionAt(address uint64) (Function, error) {
	f, err := x.functions.at(address)
	if err != nil {
		return Function{}, fmt.Errorf("function at %#x: %w", address, err)
	}
	return f, nil
}

// FunctionsWithPrefix is the names of all functions that begin with prefix,
// sorted. It is empty if there are none, or if the function table is corrupt,
// which Function reports.
func (x *Executable) FunctionsWithPrefix(prefix string) []string {
	names, err := x.functions.withPrefix(prefix)
	if err != nil {
		return nil
	}
	return names
}

func (t *functionTable) count() uint64 { return t.module.functions.n - 1 }

// entry is the i-th function's offset from the start of the text and that of its
// runtime._func from the start of functionInfo. The entry after the last
// function is where the text ends.
func (t *functionTable) entry(i uint64) (text, info uint32, err error) {
	at := t.module.functions.address + i*functabEntrySize
	text, err = t.image.uint32(at)
	if err != nil {
		return 0, 0, err
	}
	info, err = t.image.uint32(at + 4)
	return text, info, err
}

// function is the i-th function; its name is read if it is not given.
func (t *functionTable) function(i uint64, name string) (Function, error) {
	start, info, err := t.entry(i)
	if err != nil {
		return Function{}, err
	}
	end, _, err := t.entry(i + 1)
	if err != nil {
		return Function{}, err
	}
	if end < start || uint64(end) > t.module.etext-t.module.text {
		return Function{}, fmt.Errorf("corrupt function table: function %d from %#x to %#x", i, start, end)
	}
	if name == "" {
		offset, err := t.image.uint32(t.module.functionInfo.address + uint64(info) + funcNameOffset)
		if err != nil {
			return Function{}, err
		}
		if name, err = t.name(offset); err != nil {
			return Function{}, err
		}
	}
	size, err := t.size(info, uint64(end-start))
	if err != nil {
		return Function{}, err
	}
	return Function{Name: name, Address: t.module.text + uint64(start), Size: size}, nil
}

// size is the function's length in bytes. The function table tells only where
// the next function begins, after padding; but the table of stack depths by
// program counter covers the function exactly (cmd/internal/obj, funcpctab). C
// functions have none; for them the room up to the next function has to do.
func (t *functionTable) size(info uint32, room uint64) (uint64, error) {
	offset, err := t.image.uint32(t.module.functionInfo.address + uint64(info) + funcStackTable)
	if err != nil {
		return 0, err
	}
	if offset == 0 || uint64(offset) >= t.module.pcTables.n {
		return room, nil
	}
	var size uint64
	err = t.eachRange(offset, room, func(_ int32, end uint64) { size = end })
	return size, err
}

// eachRange calls visit with each value of a table by program counter and where,
// in bytes from the start of the function, that value ends to hold
// (runtime/symtab.go, step). The function has room for that many bytes.
func (t *functionTable) eachRange(offset uint32, room uint64, visit func(value int32, end uint64)) error {
	at := t.module.pcTables.address + uint64(offset)
	value, end := int32(-1), uint64(0)
	for first := true; end <= room; first = false {
		delta, n, err := t.image.uvarint(at)
		if err != nil {
			return err
		}
		if delta == 0 && !first {
			return nil
		}
		at += n
		value += int32(uint32(delta)>>1) ^ -int32(delta&1)
		length, n, err := t.image.uvarint(at)
		if err != nil {
			return err
		}
		at += n
		if length == 0 || length > room {
			break
		}
		end += length * uint64(t.image.arch.minInstruction)
		visit(value, end)
	}
	return fmt.Errorf("corrupt program counter table at %#x: it does not fit the %d bytes of the function", offset, room)
}

// name is the function name at an offset, cut off at maxName bytes.
func (t *functionTable) name(offset uint32) (string, error) {
	return t.text(t.module.functionNames, offset)
}

// text is the text at an offset among those that end with a zero byte, cut off at
// maxName bytes.
func (t *functionTable) text(all span, offset uint32) (string, error) {
	if uint64(offset) >= all.n {
		return "", fmt.Errorf("corrupt function table: name at %#x of %#x bytes", offset, all.n)
	}
	var text []byte
	for at := all.address + uint64(offset); len(text) < maxName; at++ {
		b, err := t.image.uint8(at)
		if err != nil {
			return "", err
		}
		if b == 0 {
			break
		}
		text = append(text, b)
	}
	return string(text), nil
}

// nameOffset finds a name among the names of functions, those that were inlined
// everywhere included: tracebacks name them too.
func (t *functionTable) nameOffset(name string) (uint32, error) {
	offsets, err := t.nameOffsetsMatching(name+"\x00", 1)
	if err != nil {
		return 0, err
	}
	if len(offsets) == 0 || name == "" {
		return 0, fmt.Errorf("%w: not linked, nothing in the program uses it", ErrNoFunction)
	}
	return offsets[0], nil
}

// nameOffsetsMatching is the offsets, ascending, of the names that begin with
// pattern, at most limit of them unless that is 0.
func (t *functionTable) nameOffsetsMatching(pattern string, limit int) ([]uint32, error) {
	names := t.module.functionNames
	first, err := t.image.bytes(names.address, min(names.n, uint64(len(pattern))))
	if err != nil {
		return nil, err
	}
	var offsets []uint32
	if string(first) == pattern { // only the first name has no NUL before it
		offsets = append(offsets, 0)
	}
	err = t.image.search(names.address, names.n, []byte("\x00"+pattern), func(at uint64) bool {
		offsets = append(offsets, uint32(at+1-names.address))
		return limit == 0 || len(offsets) < limit
	})
	return offsets, err
}

// named is the function whose name is at offset. An assembly function and the
// wrapper that the compiler makes to call it share a name; the first is
// returned.
func (t *functionTable) named(name string, offset uint32) (Function, error) {
	if err := t.loadNameOffsets(); err != nil {
		return Function{}, err
	}
	i := slices.Index(t.nameOffsets, offset)
	if i < 0 {
		return Function{}, fmt.Errorf("%w: inlined away, every call to it is part of its caller", ErrNoFunction)
	}
	return t.function(uint64(i), name)
}

func (t *functionTable) loadNameOffsets() error {
	if t.nameOffsets != nil {
		return nil
	}
	offsets := make([]uint32, t.count())
	for i := range offsets {
		_, info, err := t.entry(uint64(i))
		if err != nil {
			return err
		}
		offsets[i], err = t.image.uint32(t.module.functionInfo.address + uint64(info) + funcNameOffset)
		if err != nil {
			return err
		}
	}
	t.nameOffsets = offsets
	return nil
}

func (t *functionTable) withPrefix(prefix string) ([]string, error) {
	if err := t.loadNameOffsets(); err != nil {
		return nil, err
	}
	offsets, err := t.nameOffsetsMatching(prefix, 0)
	if err != nil {
		return nil, err
	}
	compiled := make([]bool, len(offsets))
	for _, offset := range t.nameOffsets {
		if i, found := slices.BinarySearch(offsets, offset); found {
			compiled[i] = true
		}
	}
	var names []string
	for i, offset := range offsets {
		if !compiled[i] {
			continue
		}
		name, err := t.name(offset)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	sort.Strings(names)
	return names, nil
}

func (t *functionTable) at(address uint64) (Function, error) {
	if address < t.module.text || address >= t.module.etext {
		return Function{}, fmt.Errorf("%w: Go's text is from %#x to %#x", ErrNoFunction, t.module.text, t.module.etext)
	}
	var failure error
	offset := address - t.module.text
	after := sort.Search(int(t.count()), func(i int) bool {
		start, _, err := t.entry(uint64(i))
		if err != nil {
			failure = err
		}
		return uint64(start) > offset
	})
	if failure != nil {
		return Function{}, failure
	}
	if after == 0 {
		return Function{}, fmt.Errorf("%w: before the first one", ErrNoFunction)
	}
	return t.function(uint64(after-1), "")
}

// code is the function's machine code.
func (x *Executable) code(f Function) ([]byte, error) {
	if f.Size > maxFunctionSize {
		return nil, fmt.Errorf("function %q: %d bytes, more than %d", f.Name, f.Size, maxFunctionSize)
	}
	code, err := x.image.bytes(f.Address, f.Size)
	if err != nil {
		return nil, fmt.Errorf("function %q: %w", f.Name, err)
	}
	return code, nil
}
