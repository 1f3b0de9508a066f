// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// suite is what runs in one boot of a kernel: tests of one package.
type suite struct {
	name string
	pkg  string // the package, without the module's path

	// run are the tests, skip those that are left out, and why. Without run it is
	// all others.
	run  []string
	skip map[string]string

	// variants are the kinds of hook that the exporter is told to prefer, so that
	// a kernel that offers several ways proves each.
	variants string

	// except are kernels that the suite would teach nothing about, and why.
	except map[string]string
}

// suites are run on every kernel of the matrix, the longest first.
var suites = []suite{
	{
		name: "e2e",
		pkg:  "lab/e2e",
		skip: map[string]string{
			"TestPromtool_finds_no_fault_with_the_metrics":                           "the guest has no promtool",
			"TestShort_lived_Go_servers_leave_nothing_behind":                        "300 processes take an emulated CPU many minutes",
			"TestUnknown_key_in_the_configuration_ends_the_program":                  "the kernel has no part in it",
			"TestCheck_config_accepts_a_good_file":                                   "the kernel has no part in it",
			"TestReload_over_HTTP_is_off_by_default":                                 "the kernel has no part in it",
			"TestPort_in_use_ends_the_program_with_a_clear_message":                  "the kernel has no part in it",
			"TestProtobuf_scrape_has_classic_and_native_buckets_that_agree":          "the kernel has no part in it",
			"TestMetrics_of_a_listener_have_the_labels_of_the_contract":              "the kernel has no part in it",
			"TestSIGTERM_ends_the_program_although_clients_hold_connections":         "the kernel has no part in it",
			"TestListener_carries_the_name_of_the_executable_that_owns_it":           "the same code as with every other listener",
			"TestHandshake_time_is_positive_and_shorter_than_the_dial":               "the reuseport test counts handshakes, and an emulated clock proves nothing",
			"TestDrops_of_a_listener_that_closes_before_the_next_scrape_are_counted": "the reopened listener's test counts drops at a close too",
		},
	},
	{
		name:     "kprobe",
		pkg:      "lab/e2e",
		run:      slices.Concat(listenTests, acceptTests),
		variants: "kprobe,kretprobe,uprobe",
	},
	{
		name:     "fentry",
		pkg:      "lab/e2e",
		run:      slices.Concat(listenTests, acceptTests),
		variants: "fentry,fexit,uprobe.multi",
		except: map[string]string{
			"5.10": "it has no tracepoint at the accept queue, so the exporter takes fentry by itself",
			"6.1":  "it has no tracepoint at the accept queue, so the exporter takes fentry by itself",
			"6.18": "6.12 and the newest kernel take the same ways",
		},
	},
	{
		name:     "tracepoint",
		pkg:      "lab/e2e",
		run:      acceptTests, // no other program can choose
		variants: "tracepoint",
	},
	{
		name: "probe",
		pkg:  "exporter/probe",
		run: []string{
			"TestBuilt_in_probes_load_and_attach",
			"TestEvery_variant_that_the_kernel_offers_loads_and_attaches",
			"TestCheck_compares_a_variant_with_the_running_kernel",
			"TestVariant_for_the_other_form_of_inet_csk_accept_is_refused_before_it_is_loaded",
			"TestSymbolRange_is_the_function_in_kallsyms",
		},
	},
}

// listenTests move every count of the listen probe, acceptTests those of accept.
var (
	listenTests = []string{
		"TestFull_accept_queue",
		"TestDrops_count_what_overflows_and_not_what_TCP_DEFER_ACCEPT_or_a_reset_discards",
		"TestDrops_of_a_full_listener_leave_out_what_its_half_open_connections_send",
		"TestSYN_queue_depth_is_seen_at_each_SYN_where_calls_of_the_kernel_can_be_traced",
		"TestRequests_to_a_Go_HTTP_server_are_counted_by_route_and_status",
	}
	acceptTests = []string{
		"TestEvery_program_at_the_listeners_is_attached",
		"TestReuseport_group_accepts_are_counted_for_each_worker",
		"TestConnection_reset_in_the_queue_is_counted_when_it_is_accepted",
	}
)

func suiteNames() []string {
	var names []string
	for _, s := range suites {
		names = append(names, s.name)
	}
	return names
}

// selectSuites returns the suites named, in their order; no name means all.
func selectSuites(names []string) ([]suite, error) {
	for _, name := range names {
		if !slices.Contains(suiteNames(), name) {
			return nil, fmt.Errorf("unknown suite %q; there are %s", name, strings.Join(suiteNames(), ", "))
		}
	}
	if len(names) == 0 {
		return suites, nil
	}
	return slices.DeleteFunc(slices.Clone(suites), func(s suite) bool { return !slices.Contains(names, s.name) }), nil
}

// leftOut are tests that a kernel was built without what they test, or would teach
// nothing that others do not, by kernel, and why. Every other test that skips itself
// in a guest is a failure.
var leftOut = map[string]map[string]string{
	"5.10":       {"TestFull_accept_queue/MPTCP": "Debian builds it without CONFIG_MPTCP"},
	"6.12":       {comeAndGo: isSlow},
	"6.18":       {comeAndGo: isSlow},
	"6.12-arm64": {comeAndGo: isSlow},
}

const (
	comeAndGo = "TestNamespaces_that_come_and_go_leave_nothing_behind"
	isSlow    = "it waits most of a minute, and takes the same way as on the newest kernel"
)

// args are the arguments of the test binary on a kernel.
func (s suite) args(kernel string, verbose bool) []string {
	args := []string{"-test.timeout=0"} // the machine has a time limit
	if verbose {
		args = append(args, "-test.v")
	}
	if len(s.run) > 0 {
		args = append(args, "-test.run=^("+strings.Join(s.run, "|")+")$")
	}
	var skip []string
	for _, name := range slices.Sorted(maps.Keys(s.skip)) {
		skip = append(skip, "^"+name+"$")
	}
	for _, name := range slices.Sorted(maps.Keys(leftOut[kernel])) {
		test, subtest, _ := strings.Cut(name, "/")
		skip = append(skip, strings.TrimSuffix("^"+test+"$/"+subtest, "/"))
	}
	if len(skip) > 0 {
		args = append(args, "-test.skip="+strings.Join(skip, "|"))
	}
	return args
}
