// SPDX-License-Identifier: Apache-2.0

import { DataSourcePlugin } from '@grafana/data';

import { ConfigEditor } from './components/ConfigEditor';
import { QueryEditor } from './components/QueryEditor';
import { TcpsloDataSource } from './datasource';
import { Secrets, Settings, TcpsloQuery } from './types';

export const plugin = new DataSourcePlugin<TcpsloDataSource, TcpsloQuery, Settings, Secrets>(TcpsloDataSource)
  .setConfigEditor(ConfigEditor)
  .setQueryEditor(QueryEditor);
