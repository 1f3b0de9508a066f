// SPDX-License-Identifier: Apache-2.0

import { CoreApp, QueryEditorProps } from '@grafana/data';
import { Combobox, ComboboxOption, InlineField, Stack, Text } from '@grafana/ui';
import { useId } from 'react';

import { TcpsloDataSource } from '../datasource';
import { changeType, DEFAULT_TYPE, QUERY_TYPES } from '../querytypes';
import { QueryType, Settings, TcpsloQuery } from '../types';
import { FIELD_WIDTH, LABEL_WIDTH } from './NamesField';
import { QueryFields } from './QueryFields';

type Props = QueryEditorProps<TcpsloDataSource, TcpsloQuery, Settings>;

/** QueryEditor chooses a type, and what that type lets choose. Each choice runs the query. */
export function QueryEditor({ query, onChange, onRunQuery, datasource, app }: Props) {
  const id = useId();
  const queryType = query.queryType ?? DEFAULT_TYPE;
  const { help } = QUERY_TYPES[queryType];
  const change = (changed: TcpsloQuery) => {
    onChange(changed);
    onRunQuery();
  };

  return (
    <Stack direction="column" gap={0.5}>
      <Stack wrap="wrap" alignItems="center" gap={1}>
        <InlineField label="Query type" labelWidth={LABEL_WIDTH} htmlFor={`${id}-type`}>
          <Combobox
            id={`${id}-type`}
            options={offered(app)}
            value={queryType}
            onChange={(option) => change(changeType(query, option.value))}
            width={FIELD_WIDTH}
          />
        </InlineField>
        <Text variant="bodySmall" color="secondary">
          {help}
        </Text>
      </Stack>
      <QueryFields query={{ ...query, queryType }} onChange={change} datasource={datasource} />
    </Stack>
  );
}

/** AnnotationEditor is the editor without a choice of type: annotations are breaches. */
export function AnnotationEditor({ query, onChange, onRunQuery, datasource }: Props) {
  const change = (changed: TcpsloQuery) => {
    onChange(changed);
    onRunQuery();
  };
  return <QueryFields query={{ ...query, queryType: 'breaches' }} onChange={change} datasource={datasource} />;
}

/** offered leaves out what an alert rule could not compare with a threshold. */
function offered(app?: string): Array<ComboboxOption<QueryType>> {
  const types = Object.keys(QUERY_TYPES) as QueryType[];
  return types
    .filter((type) => QUERY_TYPES[type].alerting || app !== CoreApp.UnifiedAlerting)
    .map((type) => ({ value: type, label: QUERY_TYPES[type].label, description: QUERY_TYPES[type].summary }));
}
