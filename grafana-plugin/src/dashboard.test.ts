// SPDX-License-Identifier: Apache-2.0

import { readFileSync } from 'node:fs';

import { changeType } from './querytypes';
import { TcpsloQuery } from './types';

interface Panel {
  title: string;
  targets?: TcpsloQuery[];
}

const { panels, annotations } = JSON.parse(
  readFileSync(`${__dirname}/../../mixin/dashboards_out/tcpslo_plugin.json`, 'utf8')
) as { panels: Panel[]; annotations: { list: Array<{ name: string; target: TcpsloQuery }> } };

const targets = panels.flatMap(({ title, targets = [] }) => targets.map((query) => ({ title, query })));

test.each([...targets, ...annotations.list.map(({ name, target }) => ({ title: name, query: target }))])(
  'query_of_$title_is_as_its_editor_would_write_it',
  ({ query }) => {
    expect(query).toEqual(changeType(query, query.queryType!));
  }
);
