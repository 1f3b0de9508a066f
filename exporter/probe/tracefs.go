// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// tracefs is where the ids of tracepoints are read.
const tracefs = "/sys/kernel/tracing"

// mountTracefs mounts tracefs where it belongs unless it is there: systemd
// mounts it on first use, a container or a bare init may not.
func mountTracefs() error {
	if _, err := os.Stat(tracefs + "/events"); err == nil {
		return nil
	}
	if err := unix.Mount("tracefs", tracefs, "tracefs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("mount tracefs on %s: %w", tracefs, err)
	}
	return nil
}
