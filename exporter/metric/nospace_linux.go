// SPDX-License-Identifier: Apache-2.0

package metric

import (
	"errors"

	"golang.org/x/sys/unix"
)

// isNoSpace tells the answer of a hash map's batch look-up to a buffer that is
// smaller than the bucket it stands at.
func isNoSpace(err error) bool { return errors.Is(err, unix.ENOSPC) }
