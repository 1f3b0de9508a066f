// SPDX-License-Identifier: Apache-2.0

import { SelectableValue } from '@grafana/data';
import { Combobox, InlineField, RadioButtonGroup, Stack } from '@grafana/ui';
import { ReactNode, useId } from 'react';

import { TcpsloDataSource } from '../datasource';
import { DEFAULT_TYPE, Field, QUERY_TYPES, withoutEmpty } from '../querytypes';
import { ListField, TcpsloQuery, Values } from '../types';
import { FIELD_WIDTH, LABEL_WIDTH, NamesField } from './NamesField';
import { NumberField } from './NumberField';

interface Props {
  query: TcpsloQuery;
  onChange: (query: TcpsloQuery) => void;
  datasource: TcpsloDataSource;
}

const LISTS: Record<ListField, { label: string; kind: Values; help: string }> = {
  services: { label: 'Services', kind: 'services', help: 'Names from tcpslo.yml, else those of executables.' },
  slos: { label: 'SLOs', kind: 'slos', help: 'Names of objectives, such as availability.' },
  paths: { label: 'Routes', kind: 'routes', help: 'Route templates, such as /users/{id}.' },
  listeners: { label: 'Listeners', kind: 'listeners', help: 'Addresses on which services listen, such as 0.0.0.0:8080.' },
};

const MODES: Array<SelectableValue<NonNullable<TcpsloQuery['mode']>>> = [
  { value: 'share', label: 'Share' },
  { value: 'quantile', label: 'Duration' },
];

/** QueryFields are the inputs that a query of its type has use for. */
export function QueryFields({ query, onChange, datasource }: Props) {
  const prefix = useId();
  const set = (changed: Partial<TcpsloQuery>) => onChange(withoutEmpty({ ...query, ...changed }));

  const list = (field: ListField) => (
    <NamesField
      {...LISTS[field]}
      key={field}
      id={`${prefix}-${field}`}
      datasource={datasource}
      services={field === 'services' ? undefined : query.services}
      value={query[field]}
      onChange={(names) => set({ [field]: names })}
    />
  );

  const choice = (field: 'netns' | 'exporter', label: string, help: string, known: string[] = []) => (
    <InlineField key={field} label={label} labelWidth={LABEL_WIDTH} tooltip={help} htmlFor={`${prefix}-${field}`}>
      <Combobox
        id={`${prefix}-${field}`}
        options={[...datasource.variableNames(), ...known].map((value) => ({ value }))}
        value={query[field] ?? null}
        onChange={(option) => set({ [field]: option?.value })}
        placeholder="All"
        createCustomValue
        isClearable
        width={FIELD_WIDTH}
      />
    </InlineField>
  );

  const fields: Record<Field, () => ReactNode> = {
    services: () => list('services'),
    slos: () => list('slos'),
    paths: () => list('paths'),
    listeners: () => list('listeners'),
    netns: () => choice('netns', 'Network', 'Network namespace of the listeners: a container, or the inode of the namespace.'),
    exporter: () =>
      choice('exporter', 'Exporter', 'Base URL of one exporter from the settings.', datasource.settings.exporterUrls),
    mode: () => (
      <InlineField key="mode" label="Show" labelWidth={LABEL_WIDTH} tooltip="The share of each stage in all time, or how long each stage took: a quantile.">
        <RadioButtonGroup
          aria-label="Show"
          options={MODES}
          value={query.mode ?? 'share'}
          onChange={(mode) => set({ mode, quantile: undefined })}
        />
      </InlineField>
    ),
    quantile: () =>
      query.mode === 'quantile' && (
        <NumberField
          key="quantile"
          id={`${prefix}-quantile`}
          label="Quantile"
          help="0.99 is the time that 99 of 100 requests spent at most."
          value={query.quantile}
          fallback={0.99}
          min={0.001}
          max={0.9999}
          step={0.01}
          onCommit={(quantile) => set({ quantile })}
        />
      ),
    limit: () => (
      <NumberField
        key="limit"
        id={`${prefix}-limit`}
        label="Limit"
        help="The largest number of rows."
        value={query.limit}
        fallback={20}
        min={1}
        max={1000}
        step={1}
        onCommit={(limit) => set({ limit })}
      />
    ),
  };

  return (
    <Stack wrap="wrap" gap={0.5} columnGap={2}>
      {QUERY_TYPES[query.queryType ?? DEFAULT_TYPE].fields.map((field) => fields[field]())}
    </Stack>
  );
}
