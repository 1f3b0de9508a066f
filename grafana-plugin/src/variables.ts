// SPDX-License-Identifier: Apache-2.0

import { CustomVariableSupport, DataQueryRequest, DataQueryResponse } from '@grafana/data';
import { from, map, Observable } from 'rxjs';

import { VariableEditor } from './components/VariableEditor';
import { TcpsloDataSource } from './datasource';
import { VariableQuery } from './types';

/** TcpsloVariableSupport fills template variables with the names of services, SLOs, routes or listeners. */
export class TcpsloVariableSupport extends CustomVariableSupport<TcpsloDataSource, VariableQuery> {
  editor = VariableEditor;

  constructor(private readonly datasource: TcpsloDataSource) {
    super();
  }

  query(request: DataQueryRequest<VariableQuery>): Observable<DataQueryResponse> {
    const { values = 'services', services } = request.targets[0]; // a new variable's query is an empty string
    return from(this.datasource.values(values, services, request.scopedVars)).pipe(
      map((names) => ({ data: names.map((name) => ({ text: name, value: name })) }))
    );
  }
}
