// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tcpslo/tcpslo/exporter/sockdiag"
)

// listSockets calls each with every TCP socket of the own network namespace that
// listens or is in TIME_WAIT.
func listSockets(each func(*sockdiag.Socket)) error {
	c, err := sockdiag.Open(make([]byte, sockdiag.BufferSize))
	if err == nil {
		defer c.Close()
		err = c.Dump(1<<sockdiag.Listen|1<<sockdiag.TimeWait, sockdiag.Info|sockdiag.Memory, each)
	}
	if err != nil {
		return fmt.Errorf("list sockets (sock_diag): %w", err)
	}
	return nil
}

// mptcpHidden says why the kernel wouldn't tell that a socket is Multipath TCP's,
// or is empty if it would: before Linux 6.15 it tells its upper-layer protocol
// only to who has CAP_NET_ADMIN (net/ipv4/tcp_diag.c, tcp_diag_get_aux).
func mptcpHidden() string {
	if enabled, err := os.ReadFile("/proc/sys/net/mptcp/enabled"); err != nil || strings.TrimSpace(string(enabled)) == "0" {
		return "" // there is none
	}
	var major, minor int
	var release unix.Utsname
	if unix.Uname(&release) == nil {
		fmt.Sscanf(unix.ByteSliceToString(release.Release[:]), "%d.%d", &major, &minor)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if major > 6 || major == 6 && minor >= 15 || unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_NET_ADMIN) != 0 {
		return ""
	}
	return "before Linux 6.15 only CAP_NET_ADMIN may see whether a socket is Multipath TCP's"
}
