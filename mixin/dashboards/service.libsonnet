// SPDX-License-Identifier: Apache-2.0

// One service: where the time of its requests goes, which routes are slow, which fail.
local dashboard = import '../lib/dashboard.libsonnet';
local histogram = import '../lib/histogram.libsonnet';
local promql = import '../lib/promql.libsonnet';

{
  local config = self._config,
  local interval = '$__rate_interval',
  local matchers(more) = std.filter(function(m) m != '', [config.tcpsloSelector, 'service="$service"', 'instance=~"$instance"'] + more),
  local all = std.join(', ', matchers([])),
  local paths = std.join(', ', matchers(['path=~"$path"'])),
  local of(name, more=[]) = name + promql.selector(matchers(more)),
  local duration = 'tcpslo_http_request_duration_seconds',
  local stage = 'tcpslo_http_request_stage_seconds',
  local requests(labels, selector=paths) = histogram.countRate(duration, selector, interval, labels),
  local quantile(q, name, labels, selector=all) = histogram.quantile(q, name, selector, interval, labels),
  local total = 'sum(%s)',
  local failed = std.join(', ', matchers(['path=~"$path"', 'status_code=~"5..|panic"'])),

  grafanaDashboards+:: {
    'tcpslo_service.json': dashboard.dashboard(
      'tcpslo / Service',
      'tcpslo-service',
      'One service: where between the SYN and the acknowledgement of the answer its time goes, by route and status.',
      config.dashboardTags,
      [
        dashboard.variable('instance', 'Instance', 'tcpslo_config_last_reload_successful' + promql.selector([config.tcpsloSelector])),
        dashboard.variable('service', 'Service', 'tcpslo_http_requests_in_flight' + promql.selector([config.tcpsloSelector, 'instance=~"$instance"']), multi=false),
        // Of the budget's events and not of the histogram: the same paths with a tenth of the series.
        dashboard.variable('path', 'Route', 'slo_path_verdict:tcpslo_slo_events:rate5m' + promql.selector(['service="$service"'])),
      ],
      [
        dashboard.row('Now', [
          dashboard.stat('Requests', 'Requests that handlers have ended each second.', 'reqps', total % ('(%s)' % requests(['service']))),
          dashboard.stat('Failed', 'The share of requests that ended with a status of 5xx or a panic.', 'percentunit', '(%s) / (%s)' % [
            '(%s) or vector(0)' % (total % ('(%s)' % requests(['service'], failed))),
            total % ('(%s)' % requests(['service'])),
          ], 0.001, 0.01, 2),
          dashboard.stat('p99', 'The time below which 99 of 100 requests were handled.', 's', quantile(0.99, duration, ['service'], paths), 0.2, 1),
          dashboard.stat('In flight', 'Requests that a handler works on now.', 'none', total % of('tcpslo_http_requests_in_flight')),
          dashboard.stat('Oldest request', 'How long the oldest request has been with its handler: a handler that hangs.', 's', 'max(%s)' % of('tcpslo_http_oldest_request_seconds'), 10, 60),
          dashboard.stat('Refused connections', 'Connections that the kernel refused each second, of which the service knows nothing.', 'cps', total % ('rate(%s[%s])' % [of('tcpslo_listen_drops_total'), interval]), 0.01, 0.1, 2),
        ]),
        dashboard.row('Where the time goes', [
          dashboard.timeseries(
            'Mean time by stage',
            'What an average request spends in each stage, one above the other. Handshake and accept queue are those of a connection, spread over its requests: their time divided by all requests.',
            's',
            [dashboard.target('sum by (stage) (rate(%s[%s])) / scalar(sum(rate(%s[%s])))' % [
              of(stage + '_sum', ['path=~"$path"']),
              interval,
              of(stage + '_count', ['path=~"$path"', 'stage="handler"']),
              interval,
            ], '{{stage}}')],
            stack=true,
            colors=dashboard.stageColors
          ) { size:: { w: 12, h: 10 } },
          dashboard.timeseries(
            'p99 by stage',
            'The time below which 99 of 100 requests passed a stage; connections for handshake and accept_queue.',
            's',
            [dashboard.target('histogram_quantile(0.99, sum by (stage, le) (rate(%s[%s])))' % [of(stage + '_bucket', ['path=~"$path"']), interval], '{{stage}}')],
            colors=dashboard.stageColors
          ) { size:: { w: 12, h: 10 } },
          dashboard.heatmap(
            'Time in the handler',
            'How many requests took how long in their handler.',
            's',
            'sum by (le) (increase(%s[%s]))' % [of(stage + '_bucket', ['path=~"$path"', 'stage="handler"']), interval]
          ),
          dashboard.heatmap(
            'Time in the accept queue',
            'How many connections waited how long to be accepted.',
            's',
            'sum by (le) (increase(%s[%s]))' % [of(stage + '_bucket', ['path=~"$path"', 'stage="accept_queue"']), interval]
          ),
          dashboard.heatmap(
            'Time until the first read',
            'How long data lay in its socket before the service read it: netpoller and Go scheduler.',
            's',
            'sum by (le) (increase(%s[%s]))' % [of(stage + '_bucket', ['path=~"$path"', 'stage="read_wait"']), interval]
          ),
        ]),
        dashboard.row('Latency', [
          dashboard.timeseries(
            'Latency',
            'Time in handlers. The points are single requests, slow ones and others: their goroutine, request and trace.',
            's',
            [dashboard.exemplars(dashboard.target(quantile(q, duration, ['service'], paths), 'p%g' % (q * 100))) for q in [0.5, 0.9, 0.99]]
          ) { size:: { w: 12, h: 8 } },
          dashboard.timeseries(
            'Slow requests',
            'Requests each second that took longer than $slower_than s, which is a boundary of the classic histogram: counted, not estimated. Of a native one it is interpolated.',
            'reqps',
            [dashboard.target(histogram.aboveRate('$slower_than', duration, paths, interval, ['path']), '{{path}}')]
          ) { size:: { w: 12, h: 8 } },
        ]),
        dashboard.row('Routes', [
          dashboard.timeseries('Requests by route', 'Requests each second, by route.', 'reqps', [dashboard.target(requests(['path']), '{{path}}')], stack=true),
          dashboard.timeseries('p99 by route', 'The time below which 99 of 100 requests of a route were handled.', 's', [dashboard.exemplars(dashboard.target(quantile(0.99, duration, ['path'], paths), '{{path}}'))]),
          dashboard.timeseries('Failed by route', 'Requests each second that ended with a status of 5xx or a panic.', 'reqps', [dashboard.target(requests(['path'], failed), '{{path}}')]),
        ]),
        dashboard.row('Statuses', [
          dashboard.timeseries('Requests by status', 'Requests each second, by status: three digits, panic for a handler that did not return, hijacked for a connection taken over.', 'reqps', [dashboard.target(requests(['status_code']), '{{status_code}}')], stack=true),
          dashboard.timeseries('Requests by method', 'Requests each second, by method.', 'reqps', [dashboard.target(requests(['method']), '{{method}}')], stack=true),
          dashboard.timeseries('In flight and oldest', 'How long the oldest request has been with its handler, by instance.', 's', [dashboard.target('max by (instance) (%s)' % of('tcpslo_http_oldest_request_seconds'), '{{instance}}')]),
        ]),
        dashboard.row('Connections', [
          dashboard.timeseries('Handshake, p99', 'From the first SYN-ACK to the final ACK: the round trip to the clients.', 's', [dashboard.target(quantile(0.99, 'tcpslo_tcp_handshake_seconds', ['listener']), '{{listener}}')]),
          dashboard.timeseries('Wait for accept, p99', 'How long connections wait in the accept queue.', 's', [dashboard.target(quantile(0.99, 'tcpslo_accept_wait_seconds', ['listener']), '{{listener}}')]),
          dashboard.timeseries('Refused', 'Connections that the kernel refused each second, by reason.', 'cps', [dashboard.target('sum by (listener, reason) (rate(%s[%s]))' % [of('tcpslo_listen_drops_total'), interval], '{{listener}} {{reason}}')]),
        ]),
        dashboard.row('SLOs', [
          dashboard.timeseries('Error budget left', 'The share of the error budget that is left.', 'percentunit', [dashboard.target('max by (slo) (slo:tcpslo_slo_error_budget_remaining:ratio{service="$service"})', '{{slo}}')]) { fieldConfig+: { defaults+: { min: null, max: 1 } }, size:: { w: 12, h: 8 } },
          dashboard.timeseries('Burn rate, 1 h', 'How many times faster than allowed the budget burned in the last hour.', 'none', [dashboard.target('slo:tcpslo_slo_burn:ratio_rate1h{service="$service"}', '{{slo}}')]) { size:: { w: 12, h: 8 } },
        ]),
      ]
    ) {
      templating+: { list+: [{
        name: 'slower_than',
        label: 'Slower than (s)',
        type: 'custom',
        // Boundaries that the histogram has by default: those of request_buckets, and of the default SLO.
        query: '0.064,0.128,0.2,0.256,0.512,1.024,2.048',
        current: { selected: true, text: '0.2', value: '0.2' },
        options: [],
        hide: 0,
        includeAll: false,
        multi: false,
      }] },
    },
  },
}
