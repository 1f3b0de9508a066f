// SPDX-License-Identifier: Apache-2.0

// Package guest holds what the runner on the host and PID 1 of the virtual
// machine must agree on: where the job lies in the initramfs and how its outcome
// comes back.
package guest

const (
	// JobPath is where PID 1 finds the Job, as JSON.
	JobPath = "/job.json"

	// TestPath is where PID 1 finds the test binary.
	TestPath = "/test"

	// OutcomeMark stands between the test's output and its outcome on the result
	// port. The outcome is one record of a JSON text sequence (RFC 7464): the
	// record separator, the JSON text of an Outcome, a line feed. A control
	// character is used because a test's last line need not end in a line feed.
	OutcomeMark = '\x1e'

	// KernelEnv is the environment variable that tells a test in the virtual
	// machine which kernel of the matrix it runs on, for example "6.1".
	KernelEnv = "TCPSLO_KERNEL"
)

// MountPoints are the folders that PID 1 mounts a file system on. What the
// initramfs holds below them is hidden from the test.
var MountPoints = []string{"/dev", "/proc", "/sys", "/tmp"}

// Job is what PID 1 is asked to run.
type Job struct {
	// Args are the arguments of the test binary, without its name.
	Args []string `json:"args"`

	// Env are variables, NAME=VALUE, added to those that PID 1 sets itself.
	Env []string `json:"env"`
}

// Outcome is how the job ended.
type Outcome struct {
	// Code is the test's exit code, or 128 plus the number of the signal that
	// ended it, as a shell reports it.
	Code int `json:"code"`

	// Release is the kernel's release as uname -r prints it.
	Release string `json:"release"`

	// Seconds is how long the test ran, by the guest's clock.
	Seconds float64 `json:"seconds"`

	// Error says why the test could not be started; empty if it was.
	Error string `json:"error,omitempty"`
}
