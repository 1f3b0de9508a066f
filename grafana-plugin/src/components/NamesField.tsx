// SPDX-License-Identifier: Apache-2.0

import { ComboboxOption, FieldValidationMessage, InlineLabel, MultiCombobox, Stack } from '@grafana/ui';
import { useRef, useState } from 'react';

import { TcpsloDataSource } from '../datasource';
import { Values } from '../types';

interface Props {
  id: string;
  label: string;
  help: string;
  datasource: TcpsloDataSource;
  kind: Values;
  /** Names of these services alone are offered; of all if there are none. */
  services?: string[];
  value?: string[];
  onChange: (names: string[]) => void;
}

/** NamesField chooses any number of names that the backend knows, of template variables, or of what is typed. */
export function NamesField({ id, label, help, datasource, kind, services, value = [], onChange }: Props) {
  const known = useRef<Promise<string[]>>(undefined);
  const [failure, setFailure] = useState<string>();

  // Called when the menu opens, and then for each key: the backend is asked once for each time that it opens.
  const options = async (typed: string): Promise<ComboboxOption[]> => {
    if (typed === '' || !known.current) {
      known.current = datasource.values(kind, services);
    }
    const matching = (names: string[]) =>
      names.filter((name) => name.toLowerCase().includes(typed.toLowerCase())).map((name) => ({ value: name }));
    const variables = matching(datasource.variableNames());
    try {
      const found = [...variables, ...matching(await known.current)];
      setFailure(undefined);
      return found;
    } catch (error) {
      setFailure(`Names could not be listed: ${reason(error)}`);
      return variables;
    }
  };

  // Not an InlineField: in Grafana 12 a MultiCombobox takes no id, in Grafana 13 an InlineField takes its aria-labelledby away.
  return (
    <Stack gap={0}>
      <InlineLabel id={`${id}-label`} width={LABEL_WIDTH} tooltip={help} htmlFor={id}>
        {label}
      </InlineLabel>
      <MultiCombobox
        id={id}
        aria-labelledby={`${id}-label`}
        options={options}
        value={value}
        invalid={failure !== undefined}
        onChange={(chosen) => onChange(chosen.map((option) => option.value))}
        placeholder="All"
        createCustomValue
        isClearable
        width="auto"
        minWidth={FIELD_WIDTH}
        maxWidth={2 * FIELD_WIDTH}
      />
      {failure && <FieldValidationMessage>{failure}</FieldValidationMessage>}
    </Stack>
  );
}

/** reason is what the backend said, in the shape of Grafana's FetchError. */
function reason(error: unknown): string {
  const { data, message, statusText } = error as { data?: { message?: string }; message?: string; statusText?: string };
  return data?.message ?? message ?? statusText ?? 'the backend does not answer';
}

/** Widths of the query editor's labels and fields, in units of 8 px. */
export const LABEL_WIDTH = 14;
export const FIELD_WIDTH = 36;
