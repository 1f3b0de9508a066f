// SPDX-License-Identifier: Apache-2.0

import { DataSourceSettings } from '@grafana/data';

import { Secrets, Settings } from './types';

type Options = DataSourceSettings<Settings, Secrets>;
type Secret = keyof Secrets & string;

/** withSettings changes jsonData. */
export function withSettings(options: Options, changed: Partial<Settings>): Options {
  return { ...options, jsonData: { ...options.jsonData, ...changed } };
}

/** withSecret sets a secret that Grafana will store when the settings are saved. */
export function withSecret(options: Options, name: Secret, value: string): Options {
  return { ...options, secureJsonData: { ...options.secureJsonData, [name]: value } };
}

/** withoutSecret forgets a stored secret, so that another can be typed: an empty one replaces it if none is. */
export function withoutSecret(options: Options, name: Secret): Options {
  return {
    ...withSecret(options, name, ''),
    secureJsonFields: { ...options.secureJsonFields, [name]: false },
  };
}

/** Header is sent with each request to Prometheus; its value is a secret. */
export interface Header {
  name: string;
  /** What was typed; a stored value is never seen. */
  value: string;
  stored: boolean;
}

/** headers are those of the settings. They are numbered from 1, and the SDK stops at the first number that is missing. */
export function headers(options: Options): Header[] {
  const found: Header[] = [];
  for (let i = 1; ; i++) {
    const name = options.jsonData[`httpHeaderName${i}`];
    if (name === undefined) {
      return found;
    }
    const secret = `httpHeaderValue${i}` as const;
    found.push({
      name,
      value: options.secureJsonData?.[secret] ?? '',
      stored: options.secureJsonFields?.[secret] ?? false,
    });
  }
}

/** nameHeader sets the name of header i, from 0; an i behind the last adds one. */
export function nameHeader(options: Options, i: number, name: string): Options {
  return withSettings(options, { [`httpHeaderName${i + 1}`]: name });
}

/** headerSecret is the name under which the value of header i, from 0, is stored. */
export function headerSecret(i: number): Secret {
  return `httpHeaderValue${i + 1}`;
}

/**
 * removeHeader takes header i away and numbers those behind it anew. Their stored values can't be read, so they can't move: they
 * have to be typed again, lest one header be sent with the value of another.
 */
export function removeHeader(options: Options, i: number): Options {
  const before = headers(options);
  let after = options;
  for (let j = i; j < before.length; j++) {
    after = withoutSecret(after, headerSecret(j));
    if (j + 1 < before.length) {
      after = withSecret(nameHeader(after, j, before[j + 1].name), headerSecret(j), before[j + 1].value);
    }
  }
  return withSettings(after, { [`httpHeaderName${before.length}`]: undefined });
}
