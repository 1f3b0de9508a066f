// SPDX-License-Identifier: Apache-2.0

import { QueryType, TcpsloQuery } from './types';

/** Field is a part of a query that its editor may offer. */
export type Field = Exclude<keyof TcpsloQuery, 'refId' | 'key' | 'hide' | 'datasource' | 'queryType'>;

interface Description {
  label: string;
  /** What the answer shows, in one line. */
  summary: string;
  /** How to read it, and the panel that suits it. */
  help: string;
  /** In the order of the editor. */
  fields: Field[];
  /** Whether the answer holds numbers that an alert rule can compare. */
  alerting?: boolean;
}

/** DEFAULT_TYPE is what a new query asks for: it needs no further choice. */
export const DEFAULT_TYPE: QueryType = 'slo_summary';

/** QUERY_TYPES are offered in this order: from the question "is something wrong?" to "which request was it?" */
export const QUERY_TYPES: Record<QueryType, Description> = {
  slo_summary: {
    label: 'SLO summary',
    summary: 'All SLOs: objective, budget left, burn rate, when the budget ends',
    help: 'A row for each SLO, for a table. SLOs that Sloth or Pyrra generated in the same Prometheus are listed too.',
    fields: ['services', 'slos'],
    alerting: true,
  },
  budget: {
    label: 'Error budget',
    summary: 'Budget left over time, and when it will be spent',
    help: 'For a time series: the remaining budget, the line of a service that spends it evenly, and the forecast.',
    fields: ['services', 'slos'],
    alerting: true,
  },
  burn: {
    label: 'Burn rate',
    summary: 'How fast the budget burns, for each alert tier',
    help: 'For a time series: 1 is the threshold of the tier. The state (ok, increasing, critical, recovering) suits a state timeline.',
    fields: ['services', 'slos'],
    alerting: true,
  },
  latency_stages: {
    label: 'Latency by stage',
    summary: 'Where the time of requests goes, from the SYN to the acknowledgement',
    help: 'For a stacked time series. Shares are of the time of all requests; quantiles are of each stage by itself and do not add up.',
    fields: ['services', 'paths', 'mode', 'quantile'],
    alerting: true,
  },
  accept_balance: {
    label: 'Accept balance',
    summary: 'Share of the connections that each worker and CPU takes',
    help: 'For a time series or bars: says whether workers that share a port by SO_REUSEPORT share the load, too.',
    fields: ['services', 'listeners', 'netns'],
    alerting: true,
  },
  listen_queue: {
    label: 'Listen queue',
    summary: 'Accept queue, its limit, refused connections',
    help: 'For a time series: a queue that reaches its limit refuses connections without a word to the service.',
    fields: ['services', 'listeners', 'netns'],
    alerting: true,
  },
  causes: {
    label: 'Causes',
    summary: 'What the bad events have in common, ranked',
    help: 'For a table: routes, statuses and stages that make up more of the bad events than they did before, each with its PromQL.',
    fields: ['services', 'slos', 'limit'],
  },
  breaches: {
    label: 'Breaches',
    summary: 'When an SLO burned too fast',
    help: 'Regions of time, for annotations or a table.',
    fields: ['services', 'slos'],
  },
  requests: {
    label: 'Slow requests',
    summary: 'Single requests and where each of them waited',
    help: 'For a table or traces. Asks the exporters, which keep the last hour.',
    fields: ['services', 'paths', 'limit', 'exporter'],
  },
  live: {
    label: 'Live',
    summary: 'What happens now, second by second',
    help: 'A stream for a time series. Comes from the exporters, past Prometheus.',
    fields: ['services', 'exporter'],
  },
};

/**
 * changeType returns the query with another type, and without what that type has no use for: a dashboard's JSON
 * says nothing that doesn't count.
 */
export function changeType(query: TcpsloQuery, queryType: QueryType): TcpsloQuery {
  const { refId, key, hide, datasource } = query;
  const changed: TcpsloQuery = { refId, key, hide, datasource, queryType };
  return withoutEmpty(Object.assign(changed, pick(query, QUERY_TYPES[queryType].fields)));
}

/** displayText is a query in one line. */
export function displayText(query: TcpsloQuery): string {
  const { label, fields } = QUERY_TYPES[query.queryType ?? DEFAULT_TYPE];
  const chosen = fields.map((field) => query[field]).filter((value) => value !== undefined);
  return [label, ...chosen.map((value) => [value].flat().join(', '))].join(' · ');
}

/** withoutEmpty drops what says nothing: undefined, empty strings and empty lists. */
export function withoutEmpty<T extends object>(query: T): T {
  const said = Object.entries(query).filter(([, value]) => value !== undefined && value !== '' && value?.length !== 0);
  return Object.fromEntries(said) as T;
}

function pick(query: TcpsloQuery, fields: Field[]): Partial<TcpsloQuery> {
  return Object.fromEntries(fields.map((field) => [field, query[field]]));
}
