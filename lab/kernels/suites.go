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

	// off are collectors that its tests have no need of: to load the programs of all
	// takes an emulated processor longer than most tests.
	off []string

	// except are kernels that the suite would teach nothing about, and why.
	except map[string]string
}

// suites are run on every kernel of the matrix, the longest first.
var suites = []suite{
	{
		name: "e2e",
		off:  atConnections,
		pkg:  "lab/e2e",
		skip: union(connections, timeline, notInGuests, map[string]string{
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
		}),
		except: map[string]string{"6.18": "it takes the same ways as the newest kernel"},
	},
	{
		name:     "kprobe",
		off:      atConnections,
		pkg:      "lab/e2e",
		run:      slices.Concat(listenTests, acceptTests),
		variants: "kprobe,kretprobe,uprobe",
		except: map[string]string{
			"6.1":  "6.12 takes the same ways, and 5.10 those of before 5.19",
			"6.18": "6.12 and the newest kernel take the same ways",
		},
	},
	{
		name:     "fentry",
		off:      atConnections,
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
		off:      atConnections,
		pkg:      "lab/e2e",
		run:      acceptTests, // no other program can choose
		variants: "tracepoint",
	},
	{
		name:   "connections",
		off:    atListeners,
		pkg:    "lab/e2e",
		run:    slices.Sorted(maps.Keys(connections)),
		except: map[string]string{"6.18": "it takes the same ways as the newest kernel"},
	},
	{
		name:     "connections-kprobe",
		off:      atListeners,
		pkg:      "lab/e2e",
		run:      variantsOfConnections,
		variants: "kprobe,kretprobe,uprobe",
		except: map[string]string{
			"6.1":        "6.12 takes the same ways, and 5.10 those of before 5.19",
			"6.18":       "6.12 and the newest kernel take the same ways",
			"6.12-arm64": "an emulated processor of another kind takes minutes, and the ways are those of amd64",
		},
	},
	{
		name:     "connections-fentry",
		off:      atListeners,
		pkg:      "lab/e2e",
		run:      variantsOfConnections,
		variants: "fentry,fexit,uprobe.multi",
		except: map[string]string{
			"5.10":       "the exporter takes fentry by itself",
			"6.1":        "the exporter takes fentry by itself",
			"6.18":       "6.12 and the newest kernel take the same ways",
			"6.12-arm64": "an emulated processor of another kind takes minutes, and the ways are those of amd64",
		},
	},
	{
		name:   "timeline",
		off:    atRequests,
		pkg:    "lab/e2e",
		run:    slices.Sorted(maps.Keys(timeline)),
		except: map[string]string{"6.18": "it takes the same ways as the newest kernel"},
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
			"TestVariables_of_a_program_at_a_uprobe_are_those_of_its_thread",
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

var (
	atConnections = []string{"window", "socketio", "skb", "softirq", "fastopen", "tls", "softnet", "nic", "sockets", "sysctl", "tcpext", "audit"}
	atRequests    = []string{"listen", "window", "skb", "softirq", "fastopen", "tls", "softnet", "nic", "sockets", "sysctl", "tcpext", "audit"}
	atListeners   = []string{"accept", "listen", "sockets", "sysctl", "audit"}
)

// timeline are the tests of the stages of requests, and of wake-ups, whose counts tell, not
// their times.
var timeline = map[string]string{
	"TestStages_are_counted_once_for_each_request_that_has_them":                    inTimeline,
	"TestConnection_whose_end_was_not_seen_is_no_part_of_another":                   inTimeline,
	"TestWrapped_connection_has_all_stages_if_a_field_leads_to_its_socket":          inTimeline,
	"TestSlow_requests_are_told_with_what_client_and_server_know_of_them":           inTimeline,
	"TestTraceparent_is_that_of_the_request":                                        inTimeline,
	"TestStreams_have_the_stages_of_their_connection_once":                          inTimeline,
	"TestHotspots_need_no_threshold_in_the_configuration":                           inTimeline,
	"TestTimeline_of_a_connection_from_before_the_exporter_lacks_what_was_not_seen": inTimeline,

	"TestAborts_are_those_of_which_net_http_has_cancelled_the_context_and_are_judged_by_policy": inTimeline,

	"TestWakeups_by_bytes_that_a_goroutine_waits_for_are_counted_once_each":                       inTimeline,
	"TestWakeups_of_a_Go_program_without_HTTP_are_counted_and_those_from_before_the_exporter_too": inTimeline,
}

const inTimeline = "the suite timeline runs it"

// inConnections is why a test is not in the suite e2e.
const inConnections = "the suites of connections run it"

// connections are the tests that move the counts of the probes at connections,
// packets and TLS.
var connections = map[string]string{
	"TestEvery_program_at_reads_and_writes_is_attached":                                       inConnections,
	"TestReads_and_writes_of_a_server_are_each_measured_once":                                 inConnections,
	"TestWrite_to_wire_is_the_time_that_TCP_held_the_data_back":                               inConnections,
	"TestZero_window_of_a_server_that_hangs_is_counted_while_it_hangs":                        inConnections,
	"TestData_that_a_TCP_socket_has_no_room_for_is_counted_for_its_service":                   inConnections,
	"TestDatagrams_that_a_UDP_socket_has_no_room_for_are_counted_for_the_service_on_its_port": inConnections,
	"TestFast_Open_and_the_first_read_are_counted_as_the_kernel_and_the_client_count_them":    inConnections,
	"TestTLS_handshakes_are_counted_as_the_client_counts_them_with_two_hits_each":             inConnections,
	"TestNIC_drops_are_those_of_proc_net_dev":                                                 inConnections,
}

// variantsOfConnections are those of them that a kernel has several ways for.
var variantsOfConnections = []string{
	"TestEvery_program_at_reads_and_writes_is_attached",
	"TestReads_and_writes_of_a_server_are_each_measured_once",
	"TestZero_window_of_a_server_that_hangs_is_counted_while_it_hangs",
	"TestData_that_a_TCP_socket_has_no_room_for_is_counted_for_its_service",
	"TestFast_Open_and_the_first_read_are_counted_as_the_kernel_and_the_client_count_them",
	"TestTLS_handshakes_are_counted_as_the_client_counts_them_with_two_hits_each",
}

const (
	noDiag   = "the guest has no sock_diag, a module, and no ss"
	sameWays = "a test in the suite of connections takes the same ways"
	clock    = "an emulated clock proves nothing"
	noPart   = "the kernel has no part in it"
)

// notInGuests are tests that are run on the host alone, and why.
var notInGuests = map[string]string{
	"TestServer_that_reads_1_KiB_at_a_time_has_its_window_shut_and_one_that_reads_8_KiB_has_not": clock,
	"TestRead_wait_is_the_time_that_data_waited_for_a_server_that_sleeps":                        clock,
	"TestSLO_events_are_those_of_the_clients_own_log":                                            noPart,
	"TestSockets_whose_end_was_not_seen_wait_for_no_reader":                                      "by the same program as connections, which have a test there",
	"TestServer_without_objectives_has_the_default_ones_before_its_first_request":                noPart,
	"TestSLO_events_do_not_fall_when_a_server_is_started_again":                                  noPart,
	"TestReload_keeps_the_events_unless_an_objective_counts_others":                              noPart,
	"TestPath_of_an_objective_has_its_series_although_others_came_first":                         noPart,
	"TestAborts_are_not_requests_with_another_one_behind_them":                                   sameWays,
	"TestAborts_are_those_of_MPTCP_clients_too":                                                  sameWays,
	"TestAborts_are_not_connections_that_were_taken_over":                                        sameWays,
	"TestAborts_are_those_of_clients_whose_body_nobody_reads":                                    sameWays,
	"TestAborts_are_not_what_the_server_has_ended":                                               sameWays,
	"TestOverhead_is_what_the_traps_and_the_programs_take":                                       clock,
	"TestRequests_beyond_the_limit_of_connections_are_counted_as_lost":                           noPart,
	"TestDelay_is_in_its_stage_and_in_no_other":                                                  clock,
	"TestResponse_that_a_full_window_holds_back_waits_for_its_first_packet":                      clock,
	"TestStages_add_up_to_what_is_seen_on_the_wire":                                              "the guest has no tshark",
	"TestStages_have_the_paths_that_the_durations_have":                                          noPart,
	"TestResponse_that_began_before_its_handler_returned_waits_for_no_first_packet":              sameWays,
	"TestStreams_are_not_those_of_a_connection_that_the_server_has_closed":                       sameWays,
	"TestStreams_are_requests_of_the_connection_that_is_listed":                                  noDiag,
	"TestShort_connections_leave_nothing_behind":                                                 "so many take an emulated CPU many minutes",
	"TestIdle_connections_are_all_listed":                                                        noDiag,
	"TestGoroutine_that_ends_in_its_handler_leaves_no_request_behind":                            sameWays,
	"TestTimeline_leaves_nothing_behind":                                                         sameWays,
	"TestTimeline_is_off_where_what_it_needs_is":                                                 noPart,
	"TestWakeups_of_a_TLS_server_are_counted":                                                    sameWays,
	"TestDelay_of_a_goroutine_is_in_its_stage_and_in_no_other":                                   clock,
	"TestConnection_that_a_listener_keeps_to_itself_waits_for_its_goroutine":                     clock,
	"TestNetpoll_leaves_nothing_behind":                                                          sameWays,
	"TestNetpoll_is_off_where_nobody_asks_for_it":                                                noPart,
	"TestAdaptive_threshold_tells_one_request_in_a_hundred":                                      noPart,
	"TestHotspots_are_where_slow_requests_burn_CPU_and_nothing_else":                             clock,
	"TestHotspots_of_a_process_that_ends_leave_nothing_in_the_maps":                              noPart,
	"TestHotspots_are_off_by_default":                                                            noPart,
	"TestSample_is_of_early_and_late_requests_alike":                                             noPart,
	"TestRequests_that_find_no_room_are_counted":                                                 noPart,
	"TestRequests_that_end_otherwise_are_told_as_such":                                           sameWays,
	"TestConnections_are_those_that_client_and_server_have":                                      noDiag,
	"TestLeak_of_goroutines_is_found_with_the_function_that_created_them":                        noPart,
	"TestOpen_descriptors_are_those_of_procfs":                                                   noPart,
	"TestConnections_that_nobody_serves_are_found_and_a_clean_server_has_no_finding":             noDiag,
	"TestTLS_handshakes_take_as_long_as_the_client_lets_the_server_wait":                         clock,
	"TestTLS_handshakes_of_a_server_that_was_killed_are_not_in_flight_for_ever":                  sameWays,
	"TestCheck_config_refuses_an_option_that_is_unknown_or_out_of_range":                         noPart,
	"TestWhy_calls_are_not_timed_is_told_where_they_are_not":                                     noPart,
	"TestReceive_window_is_what_the_peer_may_still_send":                                         sameWays,
	"TestZero_windows_are_as_many_as_the_kernel_counts":                                          "an emulated sender is too slow to shut a window",
	"TestPolls_that_used_up_their_budget_are_counted_by_device":                                  "an emulated sender is too slow to use up a budget",
	"TestZero_window_of_data_that_nobody_reads_is_counted_at_the_end":                            sameWays,
	"TestCollapse_is_below_the_option_of_the_configuration":                                      sameWays,
	"TestFast_Open_queue_holds_those_whose_handshake_is_not_complete":                            sameWays,
	"TestConnections_that_end_unread_have_no_first_read":                                         sameWays,
	"TestData_out_of_order_that_is_given_up_is_counted_for_its_service":                          sameWays,

	// What drops a packet on 6.18 is dropped elsewhere, or under another name, before.
	"TestData_that_does_not_fit_the_window_is_counted_for_its_service":                       "older kernels do not drop what it sends",
	"TestPackets_for_a_socket_that_a_process_holds_for_too_long_are_counted_for_its_service": "older kernels do not drop what it sends",

	"TestDropped_packets_are_counted_by_the_reason_that_the_running_kernel_names":            sameWays,
	"TestSoftirq_runs_are_those_of_proc_softirqs":                                            sameWays,
	"TestPackets_dropped_at_the_backlog_of_a_CPU_are_counted_where_the_kernel_counts_them":   sameWays,
	"TestSoftnet_processed_packets_are_those_of_each_CPU":                                    noPart,
	"TestSysctls_are_those_of_the_exporters_namespace":                                       noPart,
	"TestDevices_that_come_and_go_do_not_break_a_scrape":                                     "the guest has no veth, a module",
	"TestAudit_without_any_privilege_finds_a_small_backlog_and_says_what_it_could_not_judge": noDiag,
	"TestAudit_sees_listeners_as_they_are":                                                   noDiag,
	"TestAudit_judges_live_http_Servers_by_a_running_exporter":                               noDiag,
	"TestAudit_exits_with_1_for_findings_2_if_it_could_not_audit_and_0_otherwise":            noPart,
	"TestSockets_in_every_state_are_as_many_as_ss_shows":                                     noDiag,
	"TestTime_wait_piles_up_until_no_port_is_left_for_a_destination":                         noDiag,
	"TestTime_wait_above_the_limit_is_counted_as_overflow":                                   noDiag,
	"TestClose_wait_of_a_leaking_server_is_counted_and_grows_old":                            noDiag,
	"TestSockets_on_one_port_in_two_namespaces_are_told_apart":                               noDiag,
	"TestOutgoing_connection_is_counted_for_the_process_that_holds_it":                       noDiag,
	"TestNamespaces_that_vanish_while_their_sockets_are_counted_disturb_nothing":             noDiag,
	"TestTen_thousand_sockets_are_counted":                                                   noDiag,
	"TestOnly_the_own_namespace_is_counted_unless_the_configuration_wants_all":               noDiag,
}

// union is all of the maps in one.
func union(all ...map[string]string) map[string]string {
	one := map[string]string{}
	for _, m := range all {
		maps.Copy(one, m)
	}
	return one
}

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
