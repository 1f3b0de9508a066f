// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"

	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
)

// ErrUnavailable is wrapped by every error that says that this kernel does not
// offer a hook; the next variant is tried then.
var ErrUnavailable = errors.New("not available on this kernel")

// Kernel is what the engine knows of the running kernel, read once and shared
// by all probes.
type Kernel struct {
	BTF   *btf.Spec // nil while it is forgotten
	cache *btf.Cache

	mu      sync.Mutex
	symbols []symbol

	uprobeMulti func() error
}

// hasPrivateStacks says whether the kernel may give a program a stack for each CPU, see withOwnStack.
func (k *Kernel) hasPrivateStacks() bool {
	var supported *btf.Func
	return k.BTF.TypeByName("bpf_jit_supports_private_stack", &supported) == nil
}

// symbol is a line of /proc/kallsyms.
type symbol struct {
	address uint64
	name    string
}

// OpenKernel reads the BTF of the running kernel. Without BTF nothing can be
// observed, and the error says what to do.
func OpenKernel() (*Kernel, error) {
	k := &Kernel{uprobeMulti: sync.OnceValue(func() error { return features.HaveBPFLinkUprobeMulti() })}
	return k, k.Remember()
}

// Remember reads what loading probes takes, after it was forgotten.
func (k *Kernel) Remember() error {
	if k.BTF != nil {
		return nil
	}
	cache := btf.NewCache()
	spec, err := cache.Kernel()
	if err != nil {
		return fmt.Errorf("read the kernel's type data (BTF): %w; the kernel must be built with CONFIG_DEBUG_INFO_BTF=y, as those of Debian 11, Ubuntu 20.10, RHEL 8.2 and later are (see /sys/kernel/btf/vmlinux)", err)
	}
	k.BTF, k.cache = spec, cache
	return nil
}

// Forget gives back the memory of what only loading probes takes: symbols and
// types are ten megabytes each. Symbols are read again where they are needed
// again; Remember comes before the next probe is loaded.
func (k *Kernel) Forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.symbols, k.BTF, k.cache = nil, nil, nil
}

// readSymbols reads /proc/kallsyms once, until Forget.
func (k *Kernel) readSymbols() ([]symbol, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.symbols != nil {
		return k.symbols, nil
	}
	file, err := os.Open("/proc/kallsyms")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	symbols, err := parseSymbols(file)
	if err == nil {
		k.symbols = symbols
	}
	return symbols, err
}

func parseSymbols(r io.Reader) ([]symbol, error) {
	var symbols []symbol
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		address, rest, ok := strings.Cut(lines.Text(), " ")
		kind, name, ok2 := strings.Cut(rest, " ")
		if !ok || !ok2 || !strings.ContainsAny(kind, "tTwW") {
			continue
		}
		at, err := strconv.ParseUint(address, 16, 64)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", lines.Text(), err)
		}
		name, _, _ = strings.Cut(name, "\t")                       // the module
		symbols = append(symbols, symbol{at, strings.Clone(name)}) // not the whole line
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	sort.SliceStable(symbols, func(i, j int) bool { return symbols[i].address < symbols[j].address })
	if len(symbols) > 0 && symbols[len(symbols)-1].address == 0 {
		return nil, errors.New("all addresses are 0: reading them takes CAP_SYSLOG (kernel.kptr_restrict)")
	}
	return symbols, nil
}

// SymbolRange returns the addresses [begin, end) of a kernel function.
func (k *Kernel) SymbolRange(name string) (begin, end uint64, err error) {
	symbols, err := k.readSymbols()
	if err != nil {
		return 0, 0, fmt.Errorf("read /proc/kallsyms: %w", err)
	}
	for i, s := range symbols {
		if s.name != name {
			continue
		}
		for _, next := range symbols[i:] {
			if next.address > s.address {
				return s.address, next.address, nil
			}
		}
	}
	return 0, 0, fmt.Errorf("%w: no function %q in /proc/kallsyms", ErrUnavailable, name)
}

// Symbol names the kernel function at an address, without the offset into it.
func (k *Kernel) Symbol(address uint64) string {
	symbols, err := k.readSymbols()
	if err != nil || len(symbols) == 0 {
		return fmt.Sprintf("%#x", address)
	}
	i := sort.Search(len(symbols), func(i int) bool { return symbols[i].address > address })
	if i == 0 {
		return fmt.Sprintf("%#x", address)
	}
	return symbols[i-1].name
}

// parameters returns the names of the types that the kernel hands to a hook,
// without pointers and qualifiers ("sock" for "const struct sock *").
func (k *Kernel) parameters(h Hook) ([]string, error) {
	var proto *btf.FuncProto
	skip := 0
	switch h.Kind {
	case "tp_btf":
		// typedef void (*btf_trace_NAME)(void *__data, ...)
		var typedef *btf.Typedef
		if err := k.BTF.TypeByName("btf_trace_"+h.Target, &typedef); err != nil {
			return nil, fmt.Errorf("%w: no tracepoint %q", ErrUnavailable, h.Target)
		}
		pointer, ok := btf.UnderlyingType(typedef).(*btf.Pointer)
		if !ok {
			return nil, fmt.Errorf("tracepoint %q is not a function pointer", h.Target)
		}
		proto, _ = btf.UnderlyingType(pointer.Target).(*btf.FuncProto)
		skip = 1
	default:
		var function *btf.Func
		if err := k.BTF.TypeByName(h.Target, &function); err != nil {
			return nil, fmt.Errorf("%w: no function %q (it may be inlined)", ErrUnavailable, h.Target)
		}
		proto, _ = function.Type.(*btf.FuncProto)
	}
	if proto == nil {
		return nil, fmt.Errorf("%q has no prototype in the kernel's BTF", h)
	}
	var parameters []string
	for _, parameter := range proto.Params[skip:] {
		parameters = append(parameters, baseName(parameter.Type))
	}
	return parameters, nil
}

func baseName(t btf.Type) string {
	for {
		switch inner := t.(type) {
		case *btf.Pointer:
			t = inner.Target
		case *btf.Const:
			t = inner.Type
		case *btf.Volatile:
			t = inner.Type
		case *btf.Restrict:
			t = inner.Type
		case *btf.Void:
			return "void"
		case *btf.Typedef:
			if inner.Name == "bool" {
				return "bool"
			}
			t = inner.Type
		case *btf.Int:
			if inner.Encoding == btf.Bool {
				return "bool"
			}
			return inner.Name
		default:
			return t.TypeName()
		}
	}
}

// check tells whether the kernel offers the hooks of a variant in the form that
// the variant was written for. A program with another form may load and read
// garbage (inet_csk_accept before and since Linux 6.10), so this comes first.
func (k *Kernel) check(v Variant) error {
	for _, h := range v.Hooks {
		switch h.Kind {
		case "tp_btf", "fentry", "fexit", "kprobe", "kretprobe":
			parameters, err := k.parameters(h)
			if err != nil {
				return err
			}
			if err := compareParameters(h, v.Requires.Params, parameters); err != nil {
				return err
			}
		}
	}
	for _, name := range v.Requires.Types {
		if _, err := k.BTF.AnyTypesByName(name); err != nil {
			return fmt.Errorf("%w: the kernel has no type %q", ErrUnavailable, name)
		}
	}
	for _, name := range v.Requires.EnumValues {
		if !k.hasEnumValue(name) {
			return fmt.Errorf("%w: the kernel has no %q", ErrUnavailable, name)
		}
	}
	for _, symbol := range v.Requires.Symbols {
		if _, _, err := k.SymbolRange(symbol); err != nil {
			return err
		}
	}
	return nil
}

func (k *Kernel) hasEnumValue(name string) bool {
	enumName, value, _ := strings.Cut(name, ".")
	var enum *btf.Enum
	if err := k.BTF.TypeByName(enumName, &enum); err != nil {
		return false
	}
	return slices.ContainsFunc(enum.Values, func(v btf.EnumValue) bool { return v.Name == value })
}

// compareParameters wants the kernel's parameters to begin with those that the
// program was written for. A program that runs at return finds the returned
// value behind the last parameter, so there the number must agree too.
func compareParameters(h Hook, want, have []string) error {
	if len(want) == 0 {
		return nil
	}
	same := len(have) >= len(want) && (h.Kind != "fexit" || len(have) == len(want))
	for i := range want {
		same = same && (have[i] == want[i])
	}
	if !same {
		return fmt.Errorf("%w: %q takes (%s) here, the program was written for (%s)", ErrUnavailable, h, strings.Join(have, ", "), strings.Join(want, ", "))
	}
	return nil
}
