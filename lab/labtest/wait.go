// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// patience multiplies every wait of this package; an emulated CPU runs ten to
// thirty times slower than the machine that the waits were chosen on.
func patience() time.Duration {
	n, err := strconv.Atoi(os.Getenv("TCPSLO_PATIENCE"))
	if err != nil || n < 1 || n > 100 {
		return 1
	}
	return time.Duration(n)
}

// Eventually calls check until it returns nil, and fails the test with its last
// error if that does not happen within 10 seconds.
func Eventually(t testing.TB, check func() error) {
	t.Helper()
	EventuallyWithin(t, 10*time.Second, check)
}

// EventuallyWithin is Eventually with a limit of its own.
func EventuallyWithin(t testing.TB, limit time.Duration, check func() error) {
	t.Helper()
	if err := retry(limit, check); err != nil {
		t.Fatalf("still so after %s: %v", limit*patience(), err)
	}
}

// Settles is Eventually for a count that must be reached and then stay: a
// counter that passes through the right value on its way to a wrong one, as a
// doubled count does, is caught by the second look.
func Settles(t testing.TB, check func() error) {
	t.Helper()
	Eventually(t, check)
	time.Sleep(300 * time.Millisecond)
	if err := check(); err != nil {
		t.Fatalf("was right and then went wrong: %v", err)
	}
}

// retry calls check every 50 ms, at least once, until it succeeds or the limit
// has passed, and returns the last error.
func retry(limit time.Duration, check func() error) error {
	deadline := time.Now().Add(limit * patience())
	for {
		err := check()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}
