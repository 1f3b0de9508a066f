// SPDX-License-Identifier: Apache-2.0

// What the Go runtime of a service does: goroutines, leaks, descriptors, netpoller, TLS; and what observing it costs.
local dashboard = import '../lib/dashboard.libsonnet';
local histogram = import '../lib/histogram.libsonnet';
local promql = import '../lib/promql.libsonnet';

{
  local config = self._config,
  local interval = '$__rate_interval',
  local host = [config.tcpsloSelector, 'instance=~"$instance"'],
  local service = host + ['service=~"$service"'],
  local ofHost(name, more=[]) = name + promql.selector(host + more),
  local ofService(name, more=[]) = name + promql.selector(service + more),
  local all = std.join(',', std.filter(function(m) m != '', service)),
  local by(labels) = std.join(', ', labels),
  local sum(series, labels) = 'sum by (%s) (%s)' % [by(labels), series],
  local rate(series, labels) = sum('rate(%s[%s])' % [series, interval], labels),
  local series = dashboard.timeseries,
  local target = dashboard.target,

  grafanaDashboards+:: {
    'tcpslo_goruntime.json': dashboard.dashboard(
      'tcpslo / Go runtime',
      'tcpslo-goruntime',
      'Goroutines by the function that created them, leaks, file descriptors, netpoller and TLS of Go services; and what the exporter itself costs and misses.',
      config.dashboardTags,
      [
        dashboard.variable('instance', 'Instance', 'tcpslo_config_last_reload_successful' + promql.selector([config.tcpsloSelector])),
        dashboard.variable('service', 'Service', ofHost('tcpslo_open_fds')),
      ],
      [
        dashboard.row('Goroutines', [
          series('Goroutines by creation site', 'Goroutines by the function that created them. A line that only ever rises is a leak.', 'none', [target(sum(ofService('tcpslo_goroutines'), ['service', 'created_by']), '{{service}} {{created_by}}')], stack=true) { size:: { w: 16, h: 10 } },
          series('Goroutines of connections', 'Goroutines that serve an HTTP connection, one for each, idle ones too.', 'none', [target(sum(ofService('tcpslo_connection_goroutines'), ['service']), '{{service}}')]) { size:: { w: 8, h: 10 } },
          series('Suspected leaks', 'Goroutines that a function has left behind, of which none has ended.', 'none', [target(sum(ofService('tcpslo_goroutine_leak_suspected'), ['service', 'created_by']), '{{service}} {{created_by}}')], threshold=config.thresholds.leakedGoroutines),
          series('Connections held after their peer has gone', 'By the function that created the goroutine that uses them.', 'none', [target(sum(ofService('tcpslo_close_wait_held'), ['service', 'created_by']), '{{service}} {{created_by}}')]),
          series('Connections that nobody serves', 'Accepted connections that no goroutine waits for or serves: hijacked and forgotten.', 'none', [target(sum(ofService('tcpslo_fds_without_owner'), ['service']), '{{service}}')], threshold=config.thresholds.leakedDescriptors),
        ]),
        dashboard.row('File descriptors', [
          series('Open descriptors, share of the limit', 'Of the process of each service that is nearest to its limit. At 1 accept fails.', 'percentunit', [target('max by (instance, service) (%s / %s)' % [ofService('tcpslo_open_fds'), ofService('tcpslo_max_fds')], '{{instance}} {{service}}')], max=1, threshold=config.thresholds.openDescriptorsShare),
          series('Open descriptors', 'Of the process of each service that is nearest to its limit.', 'none', [target('max by (instance, service) (%s)' % ofService('tcpslo_open_fds'), '{{instance}} {{service}}')]),
          series('Suspected leaks of descriptors', 'Descriptors of a kind that a process has left open, of which none was closed.', 'none', [target(sum(ofService('tcpslo_fd_leak_suspected'), ['service', 'kind']), '{{service}} {{kind}}')], threshold=config.thresholds.leakedDescriptors),
        ]),
        dashboard.row('Netpoller (collectors: {netpoll: true})', [
          series('Data until its goroutine reads, p99', 'From bytes in the socket of a parked goroutine until it reads them.', 's', [target(histogram.quantile(0.99, 'tcpslo_netpoll_wakeup_seconds', all, interval, ['service']), '{{service}}')], threshold=config.thresholds.netpollWakeupSeconds),
          series('Where that time goes, mean', 'kernel: until the thread that polls was on a CPU; poller: until the Go scheduler looked; run_queue: until the goroutine had its turn.', 's', [target('sum by (stage) (rate(%s[%s])) / sum by (stage) (rate(%s[%s]))' % [ofService('tcpslo_netpoll_stage_seconds_sum'), interval, ofService('tcpslo_netpoll_stage_seconds_count'), interval], '{{stage}}')], stack=true, colors=dashboard.stageColors),
          series('Wake-ups', 'How often each second a goroutine was woken by data.', 'ops', [target(histogram.countRate('tcpslo_netpoll_wakeup_seconds', all, interval, ['service']), '{{service}}')]),
          series('Accept until the goroutine runs, p99', 'From accept that returned a connection to the first instruction of its goroutine.', 's', [target(histogram.quantile(0.99, 'tcpslo_connection_goroutine_start_seconds', all, interval, ['service']), '{{service}}')]),
          series('Data until it is read, mean', 'The same for all connections, by the kernel alone: from bytes in the socket to the read.', 's', [target('(%s) / (%s)' % [histogram.sumRate('tcpslo_tcp_read_wait_seconds', all, interval, ['service']), histogram.countRate('tcpslo_tcp_read_wait_seconds', all, interval, ['service'])], '{{service}}')]),
        ]),
        dashboard.row('TLS', [
          series('TLS handshake, p99', 'From the wait for the ClientHello to the end of the handshake, by version and whether the session was resumed.', 's', [target(histogram.quantile(0.99, 'tcpslo_tls_handshake_seconds', all, interval, ['service', 'version', 'resumed']), '{{service}} {{version}} resumed: {{resumed}}')]),
          series('TLS handshakes', 'Handshakes each second, by version and outcome.', 'ops', [target(histogram.countRate('tcpslo_tls_handshake_seconds', all, interval, ['service', 'version', 'result']), '{{service}} {{version}} {{result}}')]),
          series('TLS handshakes in flight', 'Handshakes that have begun and not ended, those included whose client says nothing.', 'none', [target(sum(ofService('tcpslo_tls_handshakes_in_flight'), ['service']), '{{service}}')]),
        ]),
        dashboard.row('What observing costs and misses', [
          series('Overhead by service', 'The share of one CPU that probes at Go functions take from the threads of a service.', 'percentunit', [target(rate(ofService('tcpslo_probe_overhead_seconds_total'), ['service']), '{{service}}')]),
          series('Time in programs', 'The share of one CPU that the programs of each probe take, an estimate.', 'percentunit', [target(rate(ofHost('tcpslo_probe_run_seconds_total'), ['instance', 'probe']), '{{instance}} {{probe}}')], stack=true),
          series('Lost records', 'Records each second that could not be counted: figures of that probe are too low.', 'ops', [target(rate(ofHost('tcpslo_lost_total'), ['instance', 'probe', 'reason']) + ' > 0', '{{instance}} {{probe}} {{reason}}')]),
          series('Maps, share of their capacity', 'The ten fullest BPF maps.', 'percentunit', [target('topk(10, max by (instance, probe, map) (%s / %s))' % [ofHost('tcpslo_map_entries'), ofHost('tcpslo_map_capacity')], '{{instance}} {{probe}} {{map}}')], max=1, threshold=config.thresholds.mapShare),
          series('Time of collectors', 'How long each collector took in a scrape.', 's', [target('max by (instance, collector) (%s)' % ofHost('tcpslo_collector_duration_seconds'), '{{instance}} {{collector}}')], stack=true),
          dashboard.table('Probes', 'Which variant each program got on its kernel.', ['instance', 'probe', 'program', 'variant'], [{ name: 'Attached', unit: 'none', expr: ofHost('tcpslo_probe_info') }]) { size:: { w: 8, h: 8 } },
        ]),
      ]
    ),
  },
}
