// SPDX-License-Identifier: Apache-2.0

import { readFileSync } from 'node:fs';

import { changeType, DEFAULT_TYPE, displayText, QUERY_TYPES } from './querytypes';
import { QueryType, TcpsloQuery } from './types';

const go = readFileSync(`${__dirname}/../pkg/models/query.go`, 'utf8');

test('query_types_are_those_of_the_backend', () => {
  const [block] = go.match(/Query types: [^)]*\n\)/)!;
  const constants = [...block.matchAll(/^\t\w+ += "(\w+)"/gm)].map(([, value]) => value);
  expect(Object.keys(QUERY_TYPES)).toEqual(constants);
});

test('fields_are_in_the_JSON_that_the_backend_reads', () => {
  const known = [...go.matchAll(/json:"(\w+)/g)].map(([, name]) => name);
  const asked = new Set(Object.values(QUERY_TYPES).flatMap(({ fields }) => fields));
  expect(known).toEqual(expect.arrayContaining(['refId', 'queryType', ...asked]));
});

test('default_is_that_of_the_backend', () => {
  expect(go).toContain('q.QueryType = SLOSummary');
  expect(DEFAULT_TYPE).toBe('slo_summary');
});

test('changed_type_keeps_what_it_has_use_for_and_what_Grafana_needs', () => {
  const query: TcpsloQuery = {
    refId: 'B', key: 'k', hide: true, datasource: { uid: 'u' }, queryType: 'latency_stages',
    services: ['a'], paths: ['/x'], mode: 'quantile', quantile: 0.5, slos: [],
  }; // prettier-ignore
  const kept = { refId: 'B', key: 'k', hide: true, datasource: { uid: 'u' }, services: ['a'] };
  expect(changeType(query, 'requests')).toStrictEqual({ ...kept, queryType: 'requests', paths: ['/x'] });
  expect(changeType(query, 'slo_summary')).toStrictEqual({ ...kept, queryType: 'slo_summary' });
});

test.each(Object.keys(QUERY_TYPES) as QueryType[])('type_%s_says_what_it_is_in_sentences', (type) => {
  const { summary, help } = QUERY_TYPES[type];
  expect(summary).toMatch(/^[A-Z].*[^.]$/);
  expect(help).toMatch(/^[A-Z].*\.$/);
});

test('query_in_one_line_names_its_type_and_all_that_was_chosen', () => {
  expect(displayText({ refId: 'A' })).toBe('SLO summary');
  expect(displayText({ refId: 'A', queryType: 'causes', services: ['a', 'b'], limit: 5 })).toBe('Causes · a, b · 5');
});
