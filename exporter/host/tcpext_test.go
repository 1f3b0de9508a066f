// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

// procfsOfNamespace is a procfs whose "self" is the thread that keeps a namespace.
func procfsOfNamespace(t *testing.T, ns *labtest.NetNS) string {
	t.Helper()
	var thread string
	if err := ns.Do(func() error { thread = fmt.Sprint(unix.Gettid()); return nil }); err != nil {
		t.Fatal(err)
	}
	procfs := t.TempDir()
	for link, target := range map[string]string{"self": thread, thread: "/proc/self/task/" + thread} {
		if err := os.Symlink(target, filepath.Join(procfs, link)); err != nil {
			t.Fatal(err)
		}
	}
	return procfs
}

func TestFast_Open_that_the_kernel_accepts_and_refuses_is_counted_for_the_namespace(t *testing.T) {
	testenv.NeedRoot(t)
	ns := labtest.NewNetNS(t)
	ns.Sysctl(t, "net.ipv4.tcp_fastopen", "3")
	listener := labtest.Listen(t, ns, labtest.ListenOptions{Addr: "127.0.0.1:0"})
	if err := unix.SetsockoptInt(listener.FD, unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 16); err != nil {
		t.Fatal(err)
	}
	c, err := newTCPExt(Environment{Paths: Paths{Procfs: procfsOfNamespace(t, ns)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	connect := func(n int) {
		for range n {
			err := ns.Do(func() error {
				fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
				if err != nil {
					return err
				}
				defer unix.Close(fd)
				return unix.Sendto(fd, []byte("hello"), unix.MSG_FASTOPEN, &unix.SockaddrInet4{Addr: listener.Addr.Addr().As4(), Port: int(listener.Addr.Port())})
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	connect(1) // asks for a cookie
	connect(3) // has it
	if err := ns.Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/tcp_fastopen_key", []byte("01234567-89abcdef-01234567-89abcdef"), 0)
	}); err != nil {
		t.Fatal(err)
	}
	connect(1) // its cookie is no longer right, and it gets another
	connect(4)
	s := &Set{log: slog.New(slog.DiscardHandler), collectors: []*running{{Planned: Planned{"tcpext", &Common{}}, collector: c}}}
	got := ""
	for line := range strings.Lines(scrape(t, s)) {
		if strings.HasPrefix(line, "tcpslo_tcpext_fastopen_total{") {
			got += line
		}
	}
	const want = `tcpslo_tcpext_fastopen_total{event="accepted"} 7
tcpslo_tcpext_fastopen_total{event="cookie_invalid"} 1
tcpslo_tcpext_fastopen_total{event="cookie_requested"} 1
tcpslo_tcpext_fastopen_total{event="queue_full"} 0
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestTCPExt_of_a_procfs_without_the_own_process_is_refused(t *testing.T) {
	if _, err := newTCPExt(Environment{Paths: Paths{Procfs: t.TempDir()}}, nil); err == nil || !strings.Contains(err.Error(), "find own process") {
		t.Errorf("got %v", err)
	}
}
