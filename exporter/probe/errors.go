// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, unix.EAGAIN) }

// verifierLines is how much of the verifier's log an error shows: the last
// lines name the instruction and the reason.
const verifierLines = 8

// explain makes an error of the kernel say what a person can do about it.
func explain(err error) error {
	var refused *ebpf.VerifierError
	if errors.As(err, &refused) && len(refused.Log) > 0 {
		log := refused.Log
		if len(log) > verifierLines {
			log = log[len(log)-verifierLines:]
		}
		return fmt.Errorf("the verifier refused the program: %w; its last lines:\n\t%s", refused.Cause, strings.Join(log, "\n\t"))
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		if missing := MissingCapabilities(); len(missing) > 0 {
			return fmt.Errorf("%w: missing %s", ErrPermission, strings.Join(missing, ", "))
		}
		// cilium/ebpf guesses at MEMLOCK here, which would lead astray.
		return fmt.Errorf("%w: refused with EPERM although the capabilities are there (a security module or a hypervisor may forbid it)", ErrUnavailable)
	}
	if isUnsupported(err) && !errors.Is(err, ErrUnavailable) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// isUnsupported tells an error that only says that this kernel was made without
// something: a program type, a tracepoint, trampolines.
func isUnsupported(err error) bool {
	const notSupported = syscall.Errno(524) // ENOTSUPP, include/linux/errno.h: BPF trampolines on arm64 before Linux 6.0
	return errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, btf.ErrNotFound) || errors.Is(err, os.ErrNotExist) || errors.Is(err, notSupported)
}

// ErrPermission is wrapped by errors that a capability would cure.
var ErrPermission = errors.New("no permission")

// needed are the capabilities that the exporter needs to load and attach
// (capabilities(7)); each can be replaced by CAP_SYS_ADMIN.
var needed = []struct {
	number int
	name   string
}{
	{unix.CAP_BPF, "CAP_BPF"},
	{unix.CAP_PERFMON, "CAP_PERFMON"},
	{unix.CAP_SYS_PTRACE, "CAP_SYS_PTRACE"},
	{unix.CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"},
	{unix.CAP_SYSLOG, "CAP_SYSLOG"},
}

// MissingCapabilities lists the capabilities that the process lacks to observe
// other processes.
func MissingCapabilities() []string {
	effective, err := effectiveCapabilities()
	if err != nil {
		return nil
	}
	has := func(n int) bool { return effective&(1<<n) != 0 }
	var missing []string
	for _, capability := range needed {
		if !has(capability.number) && !(has(unix.CAP_SYS_ADMIN) && (capability.number == unix.CAP_BPF || capability.number == unix.CAP_PERFMON)) {
			missing = append(missing, capability.name)
		}
	}
	return missing
}

// CapabilitiesToAttach lists what attaching to executables that start later takes
// beside CAP_BPF and CAP_PERFMON. A plain uprobe, which serves where the kernel has
// no uprobe.multi (before Linux 6.6), is a perf event that only CAP_SYS_ADMIN may
// open (perf_uprobe_event_init(), kernel/events/core.c).
func CapabilitiesToAttach(programs []Status) []int {
	if slices.ContainsFunc(programs, func(s Status) bool { return s.Variant == "uprobe" }) {
		return []int{unix.CAP_SYS_ADMIN}
	}
	return nil
}

// explainUprobe is explain for a plain uprobe.
func explainUprobe(err error) error {
	effective, unknown := effectiveCapabilities()
	if unknown == nil && effective&(1<<unix.CAP_SYS_ADMIN) == 0 && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)) {
		return fmt.Errorf("%w: missing CAP_SYS_ADMIN, which uprobes take on a kernel without uprobe.multi (before Linux 6.6)", ErrPermission)
	}
	return explain(err)
}

func effectiveCapabilities() (uint64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "CapEff:")
	var set uint64
	if _, err := fmt.Sscanf(rest, "%x", &set); err != nil {
		return 0, fmt.Errorf("read CapEff: %w", err)
	}
	return set, nil
}
