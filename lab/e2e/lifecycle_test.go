// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/tcpslo/tcpslo/internal/testenv"
	"github.com/tcpslo/tcpslo/lab/labtest"
)

func TestPort_in_use_ends_the_program_with_a_clear_message(t *testing.T) {
	testenv.NeedRoot(t)
	taken := labtest.Listen(t, nil, labtest.ListenOptions{Addr: "127.0.0.1:0"})
	r := labtest.RunExporter(t, "run", "--web.listen-address="+taken.Addr.String())
	if r.ExitCode == 0 {
		t.Error("exit code 0 although the port was taken")
	}
	for _, want := range []string{taken.Addr.String(), "address already in use"} {
		if !strings.Contains(r.Output, want) {
			t.Errorf("%q is not in the output:\n%s", want, r.Output)
		}
	}
	if strings.Contains(r.Output, "goroutine ") {
		t.Errorf("the program panicked:\n%s", r.Output)
	}
}

func TestSIGTERM_ends_the_program_although_clients_hold_connections(t *testing.T) {
	ex := start(t)
	addr := netip.MustParseAddrPort(ex.Addr)
	clients := labtest.DialMany(t, nil, addr, 3, labtest.DialOptions{})
	labtest.WaitConnected(t, clients)
	// The first says nothing, the second stops in the middle of a request,
	// the third keeps its connection open after an answer.
	clients[1].Send(t, "GET /metrics HTTP/1.1\r\nHost: x")
	clients[2].Send(t, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	ex.Scrape()
	code, err := ex.Stop()
	if err != nil || code != 0 {
		t.Errorf("exit code %d (%v), want 0", code, err)
	}
	if strings.Contains(ex.Log(), "goroutine ") {
		t.Error("the program panicked")
	}
}

func TestSIGTERM_right_after_the_start_is_obeyed(t *testing.T) {
	ex := start(t)
	if code, err := ex.Stop(); err != nil || code != 0 {
		t.Errorf("exit code %d (%v), want 0", code, err)
	}
}

func TestWithout_root_the_program_names_the_capabilities_it_lacks(t *testing.T) {
	testenv.NeedRoot(t)
	r := labtest.RunExporterAsNobody(t, "run", "--web.listen-address=127.0.0.1:0")
	if r.ExitCode == 0 {
		t.Error("exit code 0 although nothing can be observed")
	}
	for _, want := range []string{"CAP_BPF", "CAP_PERFMON"} {
		if !strings.Contains(r.Output, want) {
			t.Errorf("%q is not in the output:\n%s", want, r.Output)
		}
	}
}
