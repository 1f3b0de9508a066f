// SPDX-License-Identifier: Apache-2.0

import { DataSourceSettings } from '@grafana/data';

import { headers, nameHeader, removeHeader, withoutSecret, withSecret, withSettings } from './settings';
import { Secrets, Settings } from './types';

const options = {
  jsonData: { httpHeaderName1: 'A', httpHeaderName2: 'B', httpHeaderName3: 'C', timeout: 5 },
  secureJsonFields: { httpHeaderValue1: true, httpHeaderValue2: true, httpHeaderValue3: false },
  secureJsonData: { httpHeaderValue3: 'typed' },
} as unknown as DataSourceSettings<Settings, Secrets>;

/** What Grafana does with settings that are saved: secrets that were not sent stay, and JSON has no undefined. */
function saved(changed: typeof options, stored: Record<string, string>) {
  const { jsonData, secureJsonData } = JSON.parse(JSON.stringify(changed));
  return { jsonData, secrets: { ...stored, ...secureJsonData } };
}

test('headers_are_read_up_to_the_first_number_that_is_missing', () => {
  expect(headers(options)).toEqual([
    { name: 'A', value: '', stored: true },
    { name: 'B', value: '', stored: true },
    { name: 'C', value: 'typed', stored: false },
  ]);
  expect(headers(withSettings(options, { httpHeaderName2: undefined }))).toHaveLength(1);
});

test('header_is_added_behind_the_last', () => {
  expect(headers(nameHeader(options, 3, 'D')).map(({ name }) => name)).toEqual(['A', 'B', 'C', 'D']);
});

test('header_that_is_removed_never_gives_its_value_to_the_next', () => {
  const { jsonData, secrets } = saved(removeHeader(options, 0), { httpHeaderValue1: 'a', httpHeaderValue2: 'b' });
  expect(jsonData).toEqual({ httpHeaderName1: 'B', httpHeaderName2: 'C', timeout: 5 });
  expect(secrets).toEqual({ httpHeaderValue1: '', httpHeaderValue2: 'typed', httpHeaderValue3: '' });
});

test('header_that_is_removed_leaves_those_before_it_alone', () => {
  const { jsonData, secrets } = saved(removeHeader(options, 2), { httpHeaderValue1: 'a', httpHeaderValue2: 'b' });
  expect(jsonData).toEqual({ httpHeaderName1: 'A', httpHeaderName2: 'B', timeout: 5 });
  expect(secrets).toEqual({ httpHeaderValue1: 'a', httpHeaderValue2: 'b', httpHeaderValue3: '' });
});

test('secret_is_typed_again_after_it_was_reset_and_its_settings_are_not_changed_in_place', () => {
  const reset = withoutSecret(options, 'httpHeaderValue1');
  expect(reset.secureJsonFields.httpHeaderValue1).toBe(false);
  expect(withSecret(reset, 'httpHeaderValue1', 'new').secureJsonData).toEqual({ httpHeaderValue1: 'new', httpHeaderValue3: 'typed' });
  expect(options.secureJsonFields.httpHeaderValue1).toBe(true);
  expect(options.secureJsonData).toEqual({ httpHeaderValue3: 'typed' });
});
