// SPDX-License-Identifier: Apache-2.0

// PromQL over a histogram, whichever kind of it Prometheus has: where it scrapes native ones there are no series
// _bucket, _sum and _count, and elsewhere there is nothing else. "or" takes what is there.
local promql = import 'promql.libsonnet';

{
  local range(name, selector, range) = 'rate(%s%s[%s])' % [name, promql.selector([selector]), range],
  local aggregated(rate, labels) = if labels == null then rate else 'sum by (%s) (%s)' % [std.join(', ', labels), rate],

  // quantile(0.99, ...) is the 99th percentile of what was observed in a range: of each series, or by labels of all
  // that have the same.
  quantile(q, name, selector, window, labels=null):: 'histogram_quantile(%(q)g, %(native)s) or histogram_quantile(%(q)g, %(classic)s)' % {
    q: q,
    native: aggregated(range(name, selector, window), labels),
    classic: aggregated(range(name + '_bucket', selector, window), if labels == null then null else labels + ['le']),
  },

  // countRate is how many observations there were each second.
  countRate(name, selector, window, labels=null):: 'histogram_count(%s) or %s' % [
    aggregated(range(name, selector, window), labels),
    aggregated(range(name + '_count', selector, window), labels),
  ],

  // sumRate is what the observations of each second add up to.
  sumRate(name, selector, window, labels=null):: 'histogram_sum(%s) or %s' % [
    aggregated(range(name, selector, window), labels),
    aggregated(range(name + '_sum', selector, window), labels),
  ],

  // aboveRate is how many observations there were each second above a boundary of the histogram.
  aboveRate(boundary, name, selector, window, labels):: '%s * (1 - histogram_fraction(0, %s, %s)) or %s - %s' % [
    'histogram_count(%s)' % aggregated(range(name, selector, window), labels),
    boundary,
    aggregated(range(name, selector, window), labels),
    aggregated(range(name + '_count', selector, window), labels),
    aggregated(range(name + '_bucket', std.join(', ', std.filter(function(m) m != '', [selector, 'le="%s"' % boundary])), window), labels),
  ],
}
