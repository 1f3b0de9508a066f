// SPDX-License-Identifier: Apache-2.0

// What the TCP stack of a host does to its services: queues, refusals, windows, drops, devices, ports.
local dashboard = import '../lib/dashboard.libsonnet';
local histogram = import '../lib/histogram.libsonnet';
local promql = import '../lib/promql.libsonnet';

{
  local config = self._config,
  local interval = '$__rate_interval',
  local host = [config.tcpsloSelector, 'instance=~"$instance"'],
  local service = host + ['service=~"$service"'],
  local listener = '{{service}} {{listener}} {{netns}}',
  local listeners = ['service', 'listener', 'netns'],
  local by(labels) = std.join(', ', labels),
  local ofHost(name, more=[]) = name + promql.selector(host + more),
  local ofService(name, more=[]) = name + promql.selector(service + more),
  local join(matchers) = std.join(',', std.filter(function(m) m != '', matchers)),
  local rate(series, labels) = 'sum by (%s) (rate(%s[%s]))' % [by(labels), series, interval],
  local quantile(q, name, labels, matchers=service) = histogram.quantile(q, name, join(matchers), interval, labels),
  local series = dashboard.timeseries,
  local target = dashboard.target,

  grafanaDashboards+:: {
    'tcpslo_tcp.json': dashboard.dashboard(
      'tcpslo / TCP',
      'tcpslo-tcp',
      'What the TCP stack does to the services of a host: queues, refused connections, windows, drops, devices and ports.',
      config.dashboardTags,
      [
        dashboard.variable('instance', 'Instance', 'tcpslo_config_last_reload_successful' + promql.selector([config.tcpsloSelector])),
        dashboard.variable('service', 'Service', ofHost('tcpslo_listen_accept_queue_limit')),
      ],
      [
        dashboard.row('Queues of listeners', [
          series('Accept queue, share of its limit', 'How full the accept queues are at each scrape. The queue holds one connection more than the limit.', 'percentunit', [target('max by (%s) (%s / (%s + 1))' % [by(listeners), ofService('tcpslo_listen_accept_queue_connections'), ofService('tcpslo_listen_accept_queue_limit')], listener)], threshold=config.thresholds.acceptQueueShare),
          series('Accept queue, depth at each arrival, p99', 'How many connections were in the queue when one more came: sees bursts between scrapes.', 'none', [target(quantile(0.99, 'tcpslo_listen_accept_queue_depth', listeners), listener)]),
          series('Wait for accept, p99', 'How long connections waited in the queue.', 's', [target(quantile(0.99, 'tcpslo_accept_wait_seconds', listeners), listener)]),
          series('Refused connections', 'Connections that the kernel refused each second: syn_refused, a queue was full; handshake_refused, the final ACK met a full accept queue.', 'cps', [target(rate(ofService('tcpslo_listen_drops_total'), listeners + ['reason']), listener + ' {{reason}}')], threshold=config.thresholds.listenDropsPerSecond),
          series('SYN-ACKs sent again', 'SYN-ACKs each second whose final ACK did not come or was refused.', 'pps', [target(rate(ofService('tcpslo_listen_synack_retransmits_total'), listeners), listener)]),
          series('Half-open handshakes', 'Handshakes that wait for the final ACK.', 'none', [target('sum by (%s) (%s)' % [by(listeners), ofService('tcpslo_listen_syn_queue_requests')], listener)]),
          series('Handshake, p99', 'From the first SYN-ACK to the final ACK: the round trip to the clients.', 's', [target(quantile(0.99, 'tcpslo_tcp_handshake_seconds', listeners), listener)]),
          series('Fast Open', 'Connections each second that Fast Open let in before the handshake was complete.', 'cps', [target(rate(ofService('tcpslo_fastopen_accepted_connections_total'), listeners), listener)]),
          series('First data until first read, p99', 'How long the first data of a connection lay in its socket, with Fast Open and without.', 's', [target(quantile(0.99, 'tcpslo_first_read_wait_seconds', ['service', 'fastopen']), '{{service}} Fast Open: {{fastopen}}')]),
        ]),
        dashboard.row('Balance of workers and CPUs', [
          series('Connections by worker', 'Connections each second that each worker (PID/descriptor) of a listener accepted.', 'cps', [target(rate(ofService('tcpslo_accepted_connections_total'), ['service', 'listener', 'worker']), '{{service}} {{listener}} {{worker}}')], stack=true),
          series('Connections by CPU', 'Connections each second that each CPU put into an accept queue.', 'cps', [target(rate(ofService('tcpslo_listen_queued_connections_total'), ['cpu']), 'CPU {{cpu}}')], stack=true),
          series('Coefficient of variation', 'Standard deviation divided by mean, of the connections of workers and of CPUs within ten minutes; 0 is an even share.', 'none', [
            target(ofService('listener:tcpslo_accepted_connections:cv_increase10m'), '{{service}} {{listener}} workers'),
            target(ofService('listener:tcpslo_listen_queued_connections:cv_increase10m'), '{{service}} {{listener}} CPUs'),
          ], threshold=config.thresholds.acceptImbalance),
        ]),
        dashboard.row('Windows and reads', [
          dashboard.heatmap('Receive window', 'What peers may still send, seen each time that the service has read. The lowest row is a window that is shut.', 'bytes', 'sum by (le) (increase(%s[%s]))' % [ofService('tcpslo_receive_window_bytes_bucket'), interval]),
          series('Collapsed and shut windows', 'Times each second that a receive window collapsed (fell below 4 KiB) or shut.', 'ops', [
            target(rate(ofService('tcpslo_receive_window_collapses_total'), ['service']), '{{service}} collapsed'),
            target(rate(ofService('tcpslo_zero_window_total'), ['service']), '{{service}} shut'),
          ]),
          dashboard.heatmap('Size of reads', 'How many bytes each read returned. Below 4 KiB a reader works in crumbs.', 'bytes', 'sum by (le) (increase(%s[%s]))' % [ofService('tcpslo_read_size_bytes_bucket'), interval]),
          series('Data until it is read, p99', 'How long data lay in sockets until the service read it.', 's', [target(quantile(0.99, 'tcpslo_tcp_read_wait_seconds', ['service']), '{{service}}')]),
          series('Write until the wire, p99', 'From the write until the first packet of it left.', 's', [target(quantile(0.99, 'tcpslo_tcp_write_to_wire_seconds', ['service']), '{{service}}')]),
          series('Time in sendmsg and recvmsg, p99', 'Time of a call inside the kernel. Milliseconds mean that softirqs or other threads hold the socket. Needs fentry or kprobes.', 's', [
            target(quantile(0.99, 'tcpslo_tcp_sendmsg_seconds', ['service']), '{{service}} send'),
            target(quantile(0.99, 'tcpslo_tcp_recvmsg_seconds', ['service']), '{{service}} receive'),
          ]),
        ]),
        dashboard.row('Drops', [
          series('Sockets without room', 'Packets each second that a socket had no room for.', 'pps', [target(rate(ofService('tcpslo_socket_receive_drops_total'), ['service', 'reason']), '{{service}} {{reason}}')], threshold=config.thresholds.socketReceiveDropsPerSecond),
          series('Dropped packets by reason', 'The ten most common reasons for which the kernel dropped packets. Most of them are harmless: a packet for a connection that is closed has a reason, too.', 'pps', [target('topk(10, %s)' % rate(ofHost('tcpslo_skb_drops_total'), ['reason']), '{{reason}}')]),
          series('Backlog of CPUs: dropped', 'Packets each second that found the backlog of their CPU full.', 'pps', [target(rate(ofHost('tcpslo_softnet_dropped_total'), ['instance', 'cpu']), '{{instance}} CPU {{cpu}}')], threshold=config.thresholds.softnetDropsPerSecond),
          series('Squeezed', 'Times each second that a CPU ended a round of receiving with packets left.', 'ops', [target(rate(ofHost('tcpslo_softnet_time_squeeze_total'), ['instance', 'cpu']), '{{instance}} CPU {{cpu}}')]),
          series('Packets by CPU', 'Packets each second that each CPU took.', 'pps', [target(rate(ofHost('tcpslo_softnet_processed_total'), ['instance', 'cpu']), '{{instance}} CPU {{cpu}}')], stack=true),
          series('Softirq delay and run, p99', 'How long the softirq that receives packets waited for its turn, and how long it ran.', 's', [
            target(quantile(0.99, 'tcpslo_softirq_net_rx_delay_seconds', ['instance'], host), '{{instance}} delay'),
            target(quantile(0.99, 'tcpslo_softirq_net_rx_seconds', ['instance'], host), '{{instance}} run'),
          ]),
        ]),
        dashboard.row('Network devices', [
          series('Overruns', 'Packets each second that a device dropped because the host took them too slowly.', 'pps', [target(ofHost('device:tcpslo_nic_receive_overruns:rate5m'), '{{instance}} {{device}}')], threshold=config.thresholds.nicOverrunsPerSecond),
          series('Receive ring, share of its maximum', 'Below 1 the ring can be enlarged: ethtool -G.', 'percentunit', [target('max by (instance, device) (%s / %s)' % [ofHost('tcpslo_nic_ring_entries', ['ring="rx"']), ofHost('tcpslo_nic_ring_entries_max', ['ring="rx"'])], '{{instance}} {{device}}')], max=1),
          series('Full polls', 'Polls each second that took as many packets as one may, so that more were likely to wait.', 'ops', [target(rate(ofHost('tcpslo_napi_budget_exhausted_total'), ['instance', 'device']), '{{instance}} {{device}}')]),
          series('Packets received', 'Packets each second that devices received.', 'pps', [target(rate(ofHost('tcpslo_nic_receive_packets_total'), ['instance', 'device']), '{{instance}} {{device}}')]),
          series('Dropped after receipt', 'Packets each second that were received and dropped, for want of memory or because nothing takes them.', 'pps', [target(rate(ofHost('tcpslo_nic_receive_dropped_total'), ['instance', 'device']), '{{instance}} {{device}}')]),
          series('Dropped on the way out', 'Packets each second that were dropped before they were sent.', 'pps', [target(rate(ofHost('tcpslo_nic_transmit_dropped_total'), ['instance', 'device']), '{{instance}} {{device}}')]),
        ]),
        dashboard.row('Sockets and ports', [
          series('Sockets by state', 'TCP sockets of the services, by state.', 'none', [target('sum by (state) (%s)' % ofService('tcpslo_tcp_sockets'), '{{state}}')], stack=true),
          series('CLOSE_WAIT', 'Connections whose peer has gone and that the service still holds.', 'none', [target('sum by (service, listener) (%s)' % ofService('tcpslo_tcp_sockets', ['state="close_wait"']), '{{service}} {{listener}}')]),
          series('Oldest CLOSE_WAIT', 'For how long at least the oldest of them has waited for its service.', 's', [target('max by (service, listener) (%s)' % ofService('tcpslo_tcp_close_wait_oldest_seconds'), '{{service}} {{listener}}')], threshold=config.thresholds.closeWaitSeconds),
          series('Ephemeral ports by destination', 'The share of the ephemeral ports that connections to one destination have. At 1 connect fails.', 'percentunit', [target('%s / ignoring (source, destination) group_left () %s' % [ofHost('tcpslo_ephemeral_ports_used_by_destination', ['destination!="other"']), ofHost('tcpslo_ephemeral_ports_available')], '{{instance}} {{netns}} {{source}} → {{destination}}')], max=1, threshold=config.thresholds.ephemeralPortsShare),
          series('TIME_WAIT, share of its limit', 'Sockets in TIME_WAIT against net.ipv4.tcp_max_tw_buckets.', 'percentunit', [target('%s / %s' % [ofHost('tcpslo_tcp_time_wait_sockets'), ofHost('tcpslo_tcp_time_wait_limit')], '{{instance}} {{netns}}')], max=1),
          series('Without TIME_WAIT', 'Connections each second that ended without TIME_WAIT because there were too many.', 'cps', [target(rate(ofHost('tcpslo_tcp_time_wait_overflow_total'), ['instance', 'netns']), '{{instance}} {{netns}}')]),
        ]),
        dashboard.row('Settings', [
          dashboard.table('Findings of the audit', 'Where kernel parameters, listeners and servers do not fit together; docs/audit.md has a section for each rule.', ['instance', 'rule', 'severity', 'service', 'listener', 'netns'], [{ name: 'Findings', unit: 'none', expr: ofHost('tcpslo_audit_finding') + ' > 0' }]),
        ]),
      ]
    ),
  },
}
