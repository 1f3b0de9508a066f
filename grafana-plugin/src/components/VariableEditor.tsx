// SPDX-License-Identifier: Apache-2.0

import { QueryEditorProps } from '@grafana/data';
import { Combobox, ComboboxOption, InlineField, Stack } from '@grafana/ui';
import { useId } from 'react';

import { TcpsloDataSource } from '../datasource';
import { withoutEmpty } from '../querytypes';
import { Settings, TcpsloQuery, Values, VariableQuery } from '../types';
import { FIELD_WIDTH, LABEL_WIDTH, NamesField } from './NamesField';

type Props = QueryEditorProps<TcpsloDataSource, TcpsloQuery, Settings, VariableQuery>;

const VALUES: Array<ComboboxOption<Values>> = [
  { value: 'services', label: 'Services', description: 'Names from tcpslo.yml, else those of executables' },
  { value: 'slos', label: 'SLOs', description: 'Names of objectives' },
  { value: 'routes', label: 'Routes', description: 'Route templates' },
  { value: 'listeners', label: 'Listeners', description: 'Addresses on which services listen' },
];

/** VariableEditor chooses which names a template variable has, and of which services. */
export function VariableEditor({ query, onChange, datasource }: Props) {
  const id = useId();
  const values = query.values ?? 'services'; // a new variable's query is an empty string
  const change = (changed: Partial<VariableQuery>) =>
    onChange(withoutEmpty({ refId: 'Variable', values, services: query.services, ...changed }));

  return (
    <Stack wrap="wrap" gap={0.5} columnGap={2}>
      <InlineField label="Values" labelWidth={LABEL_WIDTH} htmlFor={`${id}-values`}>
        <Combobox
          id={`${id}-values`}
          options={VALUES}
          value={values}
          onChange={(option) => change({ values: option.value, ...(option.value === 'services' && { services: [] }) })}
          width={FIELD_WIDTH}
        />
      </InlineField>
      {values !== 'services' && (
        <NamesField
          id={`${id}-services`}
          label="Of services"
          help="Names of these services alone; a variable such as $service follows what is chosen there."
          datasource={datasource}
          kind="services"
          value={query.services}
          onChange={(services) => change({ services })}
        />
      )}
    </Stack>
  );
}
