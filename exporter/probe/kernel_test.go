// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/tcpslo/tcpslo/bpf"
	"github.com/tcpslo/tcpslo/exporter/metric"
	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// runningKernel is the kernel that the test runs on, with its real type data.
func runningKernel(t *testing.T) *Kernel {
	t.Helper()
	k, err := OpenKernel()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func variant(params []string, hooks ...string) Variant {
	v := Variant{Requires: Requires{Params: params}}
	for _, text := range hooks {
		hook, err := ParseHook(text)
		if err != nil {
			panic(err)
		}
		v.Hooks = append(v.Hooks, hook)
	}
	return v
}

// The prototypes are those of include/trace/events/sock.h and net/ipv4, the same
// from Linux 5.10 to 7.3.
func TestCheck_compares_a_variant_with_the_running_kernel(t *testing.T) {
	testenv.NeedRoot(t) // reads addresses from /proc/kallsyms
	k := runningKernel(t)
	synReceived := []string{"request_sock_ops", "tcp_request_sock_ops", "sock", "sk_buff"}
	checkReq := []string{"sock", "sk_buff", "request_sock", "bool", "bool"}
	requires := func(r Requires) Variant { return Variant{Requires: r} }
	for name, c := range map[string]struct {
		variant Variant
		refused string // part of the reason, "" where the kernel has it
	}{
		"the parameters of a tracepoint":            {variant([]string{"sock", "int", "int"}, "tp_btf/inet_sock_set_state"), ""},
		"no statement about parameters":             {variant(nil, "tp_btf/inet_sock_set_state"), ""},
		"the first parameters of a tracepoint":      {variant([]string{"sock"}, "tp_btf/inet_sock_set_state"), ""},
		"a parameter too many":                      {variant([]string{"sock", "int", "int", "int"}, "tp_btf/inet_sock_set_state"), "takes (sock, int, int) here"},
		"another type":                              {variant([]string{"sock", "int", "bool"}, "tp_btf/inet_sock_set_state"), "written for (sock, int, bool)"},
		"another order":                             {variant([]string{"int", "sock", "int"}, "tp_btf/inet_sock_set_state"), "written for (int, sock, int)"},
		"a tracepoint that does not exist":          {variant(nil, "tp_btf/no_such_tracepoint"), `no tracepoint "no_such_tracepoint"`},
		"the parameters of a function":              {variant(synReceived, "fentry/tcp_conn_request"), ""},
		"the first parameters, on entry":            {variant(synReceived[:2], "fentry/tcp_conn_request"), ""},
		"the first parameters, by kprobe":           {variant(synReceived[:2], "kprobe/tcp_conn_request"), ""},
		"the parameters of a function, on return":   {variant(synReceived, "fexit/tcp_conn_request"), ""},
		"the first parameters, on return":           {variant(synReceived[:2], "fexit/tcp_conn_request"), "takes (request_sock_ops"},
		"a pointer to bool and a bool":              {variant(checkReq, "kprobe/tcp_check_req"), ""},
		"a function that does not exist":            {variant(nil, "kprobe/no_such_function"), `no function "no_such_function"`},
		"the second of two hooks does not exist":    {variant(nil, "kprobe/tcp_check_req", "kretprobe/no_such_function"), "no_such_function"},
		"the second of two hooks is another":        {variant(checkReq, "kprobe/tcp_check_req", "kprobe/tcp_conn_request"), "tcp_conn_request"},
		"a type":                                    {requires(Requires{Types: []string{"tcp_sock"}}), ""},
		"a type that does not exist":                {requires(Requires{Types: []string{"tcp_sock", "no_such_type"}}), `no type "no_such_type"`},
		"a value of an enum":                        {requires(Requires{EnumValues: []string{"bpf_map_type.BPF_MAP_TYPE_HASH"}}), ""},
		"a value that does not exist":               {requires(Requires{EnumValues: []string{"bpf_map_type.BPF_MAP_TYPE_NONE_SUCH"}}), "BPF_MAP_TYPE_NONE_SUCH"},
		"a value of an enum that does not exist":    {requires(Requires{EnumValues: []string{"no_such_enum.VALUE"}}), "no_such_enum"},
		"a function in /proc/kallsyms":              {requires(Requires{Symbols: []string{"tcp_v4_rcv"}}), ""},
		"a function that is not in /proc/kallsyms":  {requires(Requires{Symbols: []string{"no_such_function"}}), "no_such_function"},
		"a system call's tracepoint goes unchecked": {variant(nil, "tracepoint/syscalls/no_such_call"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := k.check(c.variant)
			switch {
			case c.refused == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.refused != "" && err == nil:
				t.Errorf("accepted, want it refused with %q", c.refused)
			case c.refused != "" && (!errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), c.refused)):
				t.Errorf("refused with %q, want ErrUnavailable and %q", err, c.refused)
			}
		})
	}
}

// Linux 6.10 packed the last parameters of inet_csk_accept() into a struct that
// did not exist before. A program made for the new form loads on Linux 6.1, runs,
// and takes a pointer to an error code for the socket.
func TestVariant_for_the_other_form_of_inet_csk_accept_is_refused_before_it_is_loaded(t *testing.T) {
	k := runningKernel(t)
	fits := variant([]string{"sock", "int", "int", "bool"}, "fexit/inet_csk_accept")
	other := variant([]string{"sock", "proto_accept_arg"}, "fexit/inet_csk_accept")
	if _, err := k.BTF.AnyTypesByName("proto_accept_arg"); err == nil {
		fits, other = other, fits
	}
	if err := k.check(fits); err != nil {
		t.Errorf("the variant that fits is refused: %v", err)
	}
	// There is no program to load here: an attempt would fail in another way.
	p := &Probe{Definition: &Definition{}, options: Options{Kernel: k}, spec: &ebpf.CollectionSpec{}}
	if err := p.tryVariant(&program{}, other); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "the program was written for ("+strings.Join(other.Requires.Params, ", ")+")") {
		t.Errorf("the other variant ends with %v, want it refused for its parameters", err)
	}
	if err := p.tryVariant(&program{}, fits); err == nil || errors.Is(err, ErrUnavailable) {
		t.Errorf("the variant that fits ends with %v, want that it has no program", err)
	}
}

func TestSymbolRange_is_the_function_in_kallsyms(t *testing.T) {
	testenv.NeedRoot(t)
	k := runningKernel(t)
	begin, end, err := k.SymbolRange("tcp_v4_rcv")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("/proc/kallsyms")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%016x T tcp_v4_rcv\n", begin); !strings.Contains(string(text), want) {
		t.Errorf("/proc/kallsyms has no line %q", want)
	}
	// No function of the network stack is shorter than its prologue or longer than 64 KiB.
	if end <= begin+16 || end > begin+1<<16 {
		t.Errorf("%#x to %#x is no function's range", begin, end)
	}
	for _, address := range []uint64{begin, begin + 1, end - 1} {
		if name := k.Symbol(address); name != "tcp_v4_rcv" {
			t.Errorf("%#x is in %q, want tcp_v4_rcv", address, name)
		}
	}
	if name := k.Symbol(end); name == "tcp_v4_rcv" {
		t.Errorf("%#x, the end, is still in tcp_v4_rcv", end)
	}
}

// hasDropReasons tells whether kfree_skb tells a reason, as it does since Linux 5.17.
func hasDropReasons(k *Kernel) bool {
	var reasons *btf.Enum
	return k.BTF.TypeByName("skb_drop_reason", &reasons) == nil
}

// Not only the variant that is chosen: whatever the kernel offers by its type data
// must pass the verifier and attach, unless the kernel was built without kprobes
// or trampolines altogether.
func TestEvery_variant_that_the_kernel_offers_loads_and_attaches(t *testing.T) {
	testenv.NeedRoot(t)
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Log(err)
	}
	k := runningKernel(t)
	offered := map[string]bool{"tp_btf": true, "tracepoint": true}
	offered["kprobe"] = labtest.HasKprobes()
	offered["kretprobe"] = offered["kprobe"]
	offered["fentry"] = labtest.HasTrampolines(t)
	offered["fexit"] = offered["fentry"]
	o := Options{
		Kernel: k, NativeSchema: 3, RequestBuckets: []float64{0.001, 0.002},
		Environment: metric.Environment{KernelBTF: k.BTF, Symbol: k.Symbol},
		Log:         slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	for _, builtin := range bpf.Probes() {
		d, err := ReadDefinition(builtin.File, builtin.YAML)
		if err != nil {
			t.Fatal(err)
		}
		object, err := bpf.Object(builtin.Name)
		if err != nil {
			t.Fatal(err)
		}
		p, err := prepare(d, object, o)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		for _, definition := range d.Programs {
			if definition.IsGo() {
				continue
			}
			works := false
			for _, v := range definition.Variants {
				name := builtin.Name + "/" + definition.Name + " at " + v.Name()
				if err := k.check(v); err != nil {
					t.Logf("%s: %v", name, err)
					continue
				}
				result := &program{Program: definition}
				err := p.tryVariant(result, v)
				switch {
				case err == nil:
					works = true
					t.Logf("%s: loaded and attached", name)
					p.programs = append(p.programs, result) // for Close
				case offered[v.Hooks[0].Kind]:
					t.Errorf("%s: %v", name, err)
				case !errors.Is(err, ErrUnavailable):
					t.Errorf("%s is refused with %v, want ErrUnavailable", name, err)
				}
			}
			if name := builtin.Name + "/" + definition.Name; !works && offered["kprobe"] && !(name == "skb/packet_dropped" && !hasDropReasons(k)) {
				t.Errorf("%s: no variant works", name)
			}
		}
	}
}
