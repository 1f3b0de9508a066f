// SPDX-License-Identifier: Apache-2.0

package hotspot

import (
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/exporter/goexe"
	"github.com/tcpslo/tcpslo/exporter/goroutine"
)

// What stands in a stack in place of a function.
const (
	inKernel = "[kernel]" // the program was in the kernel: a system call, a page fault
	notGo    = "[not Go]" // code that is not in Go's text: C, the vDSO
)

// symbols names the functions of stacks. What it has found out it keeps by file: the
// numbers of executables are given anew.
type symbols struct {
	procfs      string
	executables map[fileState]*executable
}

// fileState tells a file from what is written to its place.
type fileState struct {
	device, inode  uint64
	size, modified int64
}

// executable is what is the same in all processes that execute a file. It is open for as
// long as something is asked of it: that takes a megabyte.
type executable struct {
	open   *goexe.Executable
	entry  uint64
	places map[uint64]place // by address in the file, as far as they were asked for
}

// place is an instruction.
type place struct {
	frames []goexe.Frame
	// frameless says that the function has no stack frame there: its return address
	// is on top of the stack, or in the link register.
	frameless bool
}

// What is kept is bounded, whatever processes come and go.
const (
	mostExecutables = 64
	mostPlaces      = 1 << 14
)

func newSymbols(procfs string) *symbols {
	return &symbols{procfs: procfs, executables: map[fileState]*executable{}}
}

// stack is the calls of a stack of a process that runs, the innermost first.
func (s *symbols) stack(pid uint32, raw *rawStack) (frames []goexe.Frame, err error) {
	x, bias, err := s.find(pid)
	if err != nil {
		return nil, err
	}
	if raw.InKernel != 0 {
		frames = append(frames, goexe.Frame{Function: inKernel})
	}
	for i, address := range raw.Addresses {
		if address == 0 {
			break
		}
		if i > 0 {
			address-- // into the call
		}
		at := x.place(address - bias)
		frames = appendFrames(frames, at.frames)
		if i == 0 && at.frameless && raw.ReturnAddress != 0 {
			frames = appendFrames(frames, x.place(raw.ReturnAddress-1-bias).frames)
		}
	}
	return frames, nil
}

// appendFrames leaves one of several calls in succession that are not Go's: without frame
// pointers most of them are none.
func appendFrames(frames, more []goexe.Frame) []goexe.Frame {
	if n := len(frames); n > 0 && len(more) == 1 && more[0].Function == notGo && frames[n-1].Function == notGo {
		return frames
	}
	return append(frames, more...)
}

// find finds the executable of a process, and by how much its addresses are higher in
// memory than in the file.
func (s *symbols) find(pid uint32) (x *executable, bias uint64, err error) {
	directory := filepath.Join(s.procfs, strconv.FormatUint(uint64(pid), 10))
	path := filepath.Join(directory, "exe")
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return nil, 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	state := fileState{uint64(stat.Dev), stat.Ino, stat.Size, stat.Mtim.Nano()}
	x, known := s.executables[state]
	if !known || x.open == nil {
		file, err := goexe.Open(path)
		if err != nil {
			return nil, 0, err
		}
		if !known {
			if len(s.executables) >= mostExecutables {
				s.close()
				clear(s.executables)
			}
			x = &executable{entry: file.Entry(), places: map[uint64]place{}}
			s.executables[state] = x
		}
		x.open = file
	}
	entry, err := goroutine.Entry(directory)
	return x, entry - x.entry, err
}

// place looks at an address in the file.
func (x *executable) place(address uint64) place {
	if at, ok := x.places[address]; ok {
		return at
	}
	at := place{frames: []goexe.Frame{{Function: notGo}}}
	if frames, err := x.open.Frames(address); err == nil {
		depth, err := x.open.StackDepth(address)
		at = place{frames, err == nil && depth == 0}
	}
	if len(x.places) < mostPlaces {
		x.places[address] = at
	}
	return at
}

// close closes the files; what was found out stays.
func (s *symbols) close() {
	for _, x := range s.executables {
		if x.open != nil {
			x.open.Close()
			x.open = nil
		}
	}
}
