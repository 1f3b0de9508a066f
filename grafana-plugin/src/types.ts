// SPDX-License-Identifier: Apache-2.0

import { DataSourceJsonData } from '@grafana/data';
import { DataQuery } from '@grafana/schema';

/** QueryType is what a query asks for, by the names of pkg/models/query.go. */
export type QueryType =
  | 'slo_summary'
  | 'budget'
  | 'burn'
  | 'latency_stages'
  | 'accept_balance'
  | 'listen_queue'
  | 'causes'
  | 'breaches'
  | 'requests'
  | 'live';

/**
 * TcpsloQuery is the JSON of a query; pkg/models/query.go says what each field means. An empty list or
 * string is as good as none: all are meant. Strings may hold template variables until the query is sent.
 */
export interface TcpsloQuery extends DataQuery {
  queryType?: QueryType;
  services?: string[];
  slos?: string[];
  paths?: string[];
  listeners?: string[];
  /** Network namespace of listeners, as in the label netns. */
  netns?: string;
  /** For latency_stages: the share of each stage in all time (0 to 1), or a quantile of it in seconds. */
  mode?: 'share' | 'quantile';
  /** Above 0 and below 1. */
  quantile?: number;
  /** Rows, 1 to 1000. */
  limit?: number;
  /** Base URL of one exporter. */
  exporter?: string;
}

/** Lists are the fields of a query of which any value may match. */
export type ListField = 'services' | 'slos' | 'paths' | 'listeners';

/** Values are the lists of names that the backend serves as resources. */
export type Values = 'services' | 'slos' | 'routes' | 'listeners';

/** VariableQuery fills a template variable with names, those of some services alone if any are given. */
export interface VariableQuery extends DataQuery {
  values: Values;
  services?: string[];
}

/** Matcher is a label and the value that it must have. */
export interface Matcher {
  name: string;
  value: string;
}

/**
 * Settings is the datasource's jsonData: pkg/models/settings.go, and what Grafana's own datasources call TLS and headers.
 * A header's name is httpHeaderName1, httpHeaderName2, …; its value is the secret httpHeaderValue1, ….
 */
export interface Settings extends DataSourceJsonData {
  /** Uid of the stock Prometheus datasource in which Explore opens the PromQL behind a number. */
  prometheusUid?: string;
  exporterUrls?: string[];
  exporterQuery?: string;
  /** Seconds. */
  timeout?: number;
  selector?: Matcher[];
  tlsAuth?: boolean;
  tlsAuthWithCACert?: boolean;
  tlsSkipVerify?: boolean;
  serverName?: string;
  [header: `httpHeaderName${number}`]: string | undefined;
}

/** Secrets are what Grafana keeps encrypted and never sends to a browser. */
export interface Secrets {
  basicAuthPassword?: string;
  tlsCACert?: string;
  tlsClientCert?: string;
  tlsClientKey?: string;
  [header: `httpHeaderValue${number}`]: string | undefined;
}
