// SPDX-License-Identifier: Apache-2.0

// Package labtest is the harness of tests that run the exporter as a black box
// and compare what it says with ground truth obtained another way: the kernel's
// own counters in /proc, and sockets that the test makes and counts itself.
//
// A test package that uses it hands control to Main:
//
//	func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }
//
// Main moves the whole test process into a network namespace of its own, so
// that counters of the namespace (ListenDrops) are moved by the test alone, and
// lets the test binary play a server in a child process (StartWorker).
//
// The same test binary runs on a developer's machine and inside a virtual
// machine that holds neither a Go toolchain nor a shell. What it needs from
// there comes by the environment:
//
//	TCPSLO_EXPORTER   path of the exporter binary; built from ./exporter if unset
//	TCPSLO_LABSERVER  path of the lab server binary; built from ./lab/server if unset
//	TCPSLO_COLLECTORS_OFF  collectors, comma-separated, that are off where a test
//	                  gives no "collectors:" of its own; for slow machines
//	TCPSLO_LABREADER  path of the lab reader binary; built from ./lab/reader if unset
//	TCPSLO_VARIANTS   hook kinds that probes should prefer, passed on as --probe.prefer
//	TCPSLO_PATIENCE   factor (1 to 100) by which waits are longer, for an emulated CPU
package labtest
