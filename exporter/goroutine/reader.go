// SPDX-License-Identifier: Apache-2.0

package goroutine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// Reader reads the goroutines of processes and keeps what it had to find out for
// that. It may be used concurrently.
type Reader struct {
	procfs string

	mu          sync.Mutex
	processes   map[uint32]*process
	executables map[fileState]*executable
	buffer      []byte
	addresses   []uint64
}

// fileState tells a file from what is written to its place.
type fileState struct {
	device, inode  uint64
	size, modified int64
}

// process is a process that executes Go.
type process struct {
	memory      memory
	started     string // when, as /proc/PID/stat has it: another process may get its number
	state       fileState
	executable  *executable
	bias        uint64 // how far from where the file says it was loaded
	array       uint64 // where runtime.allgs is
	waitReasons []string
}

// NewReader makes a reader of the processes in a procfs, as a rule "/proc".
func NewReader(procfs string) *Reader {
	return &Reader{procfs: procfs, processes: map[uint32]*process{}, executables: map[fileState]*executable{}, buffer: make([]byte, batch*largest)}
}

// Keep forgets all processes but these.
func (r *Reader) Keep(pids []uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.processes, func(pid uint32, _ *process) bool { return !slices.Contains(pids, pid) })
	used := map[fileState]bool{}
	for _, p := range r.processes {
		used[p.state] = true
	}
	maps.DeleteFunc(r.executables, func(state fileState, _ *executable) bool { return !used[state] })
}

// process finds out where a process has its goroutines, once.
func (r *Reader) process(pid uint32) (*process, error) {
	directory := filepath.Join(r.procfs, strconv.FormatUint(uint64(pid), 10))
	started, err := startTime(directory)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(directory, "exe")
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	state := fileState{uint64(stat.Dev), stat.Ino, stat.Size, stat.Mtim.Nano()}
	if known, ok := r.processes[pid]; ok && known.started == started && known.state == state {
		known.executable.path = path
		return known, known.executable.refused
	}
	x, ok := r.executables[state]
	if !ok {
		if x, err = newExecutable(path); err != nil {
			return nil, err
		}
		r.executables[state] = x
	}
	x.path = path
	defer x.close()
	p := &process{memory: memory{int(pid)}, started: started, state: state, executable: x}
	if x.refused != nil {
		r.processes[pid] = p
		return nil, x.refused
	}
	entry, err := Entry(directory)
	if err != nil {
		return nil, err
	}
	p.bias = entry - x.entry
	if err := p.findAllgs(r.buffer); err != nil {
		return nil, err
	}
	if err := p.findWaitReasons(r.buffer); err != nil {
		return nil, err
	}
	r.processes[pid] = p
	return p, nil
}

// startTime is the 22nd field of /proc/PID/stat (proc_pid_stat(5)), the 20th after
// the name, which may hold anything.
func startTime(directory string) (string, error) {
	stat, err := os.ReadFile(filepath.Join(directory, "stat"))
	if err != nil {
		return "", err
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return "", fmt.Errorf("%s has %d fields after the name, want 20", filepath.Join(directory, "stat"), len(fields))
	}
	return string(fields[19]), nil
}

// Entry is where the execution of a process began (AT_ENTRY, getauxval(3)), in its memory;
// directory is the process's in procfs. What goexe.Executable.Entry says less is the load bias.
func Entry(directory string) (uint64, error) {
	const atEntry = 9
	vector, err := os.ReadFile(filepath.Join(directory, "auxv"))
	if err != nil {
		return 0, err
	}
	for ; len(vector) >= 2*word; vector = vector[2*word:] {
		if binary.LittleEndian.Uint64(vector) == atEntry {
			return binary.LittleEndian.Uint64(vector[word:]), nil
		}
	}
	return 0, errors.New("auxiliary vector has no entry point")
}

// findAllgs finds runtime.allgs among what the function that appends to it refers
// to: its first element is the goroutine number 1, which runs main.
func (p *process) findAllgs(buffer []byte) error {
	for _, candidate := range p.executable.slices {
		array, _, err := p.allgs(candidate + p.bias)
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ESRCH) {
			return err
		}
		if err != nil {
			continue
		}
		first := make([]byte, word)
		if p.memory.read(first, []span{{array, word}}) != nil {
			continue
		}
		found := false
		err = p.goroutines([]uint64{binary.LittleEndian.Uint64(first)}, buffer, func(g Goroutine) {
			found = g.ID == 1 && g.StartedWith == "runtime.main"
		})
		if found && err == nil {
			p.array = candidate + p.bias
			return nil
		}
	}
	return errors.New("runtime.allgs is not where runtime.allgadd looks for it")
}

// allgs reads the slice header at an address: where its elements are, and how many.
func (p *process) allgs(address uint64) (array, n uint64, err error) {
	head := make([]byte, sliceSize)
	if err := p.memory.read(head, []span{{address, sliceSize}}); err != nil {
		return 0, 0, fmt.Errorf("read memory: %w", err)
	}
	array, n = binary.LittleEndian.Uint64(head), binary.LittleEndian.Uint64(head[word:])
	// More than 4 billion are pointers, not numbers.
	if room := binary.LittleEndian.Uint64(head[2*word:]); array == 0 || n == 0 || n > room || room > math.MaxUint32 {
		return 0, 0, errors.New("no slice there")
	}
	return array, n, nil
}

// findWaitReasons reads runtime.waitReasonStrings, which differs between releases:
// an array of strings that begins with "", "GC assist marking" and "IO wait".
func (p *process) findWaitReasons(buffer []byte) error {
	for _, candidate := range p.executable.reasons {
		reasons := p.strings(candidate+p.bias, buffer)
		if len(reasons) > 2 && reasons[1] == "GC assist marking" && reasons[2] == ioWait {
			p.waitReasons = reasons
			return nil
		}
	}
	return errors.New("runtime.waitReasonStrings is not where runtime.goroutineheader looks for it")
}

const (
	ioWait          = "IO wait"
	mostWaitReasons = 128 // 44 in Go 1.27
	longestReason   = 64  // bytes
)

// strings reads the strings at an address, up to the first one that is too long to
// be a reason.
func (p *process) strings(address uint64, buffer []byte) []string {
	headers := make([]uint64, mostWaitReasons)
	for i := range headers {
		headers[i] = address + uint64(i)*2*word
	}
	var texts []span
	_ = p.memory.readEach(headers, 0, 2*word, buffer, func(_ uint64, header []byte) {
		texts = append(texts, span{binary.LittleEndian.Uint64(header), binary.LittleEndian.Uint64(header[word:])})
	})
	var all []string
	for _, text := range texts {
		if text.size > longestReason {
			break
		}
		content := make([]byte, text.size)
		if text.size > 0 && p.memory.read(content, []span{text}) != nil {
			break
		}
		all = append(all, string(content))
	}
	return all
}

// function is the name of the function that holds an address in the memory of the
// process, "" if there is none.
func (p *process) function(address uint64) string { return p.executable.function(address - p.bias) }
