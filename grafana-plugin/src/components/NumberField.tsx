// SPDX-License-Identifier: Apache-2.0

import { InlineField, Input } from '@grafana/ui';
import { useState } from 'react';

import { FIELD_WIDTH, LABEL_WIDTH } from './NamesField';

interface Props {
  id: string;
  label: string;
  help: string;
  value?: number;
  /** What counts when the field is empty. */
  fallback: number;
  min: number;
  max: number;
  step: number;
  /** Called with undefined if the field was emptied. */
  onCommit: (value?: number) => void;
}

/** NumberField takes a number when it is left or Enter is pressed, and only one from min to max. */
export function NumberField({ id, label, help, value, fallback, min, max, step, onCommit }: Props) {
  const [draft, setDraft] = useState<string>();
  const text = draft ?? value?.toString() ?? '';
  const invalid = text !== '' && !(Number(text) >= min && Number(text) <= max);

  const commit = () => {
    if (draft === undefined || invalid) {
      return;
    }
    setDraft(undefined);
    onCommit(draft === '' ? undefined : Number(draft));
  };

  return (
    <InlineField
      label={label}
      labelWidth={LABEL_WIDTH}
      tooltip={help}
      htmlFor={id}
      invalid={invalid}
      error={`from ${min} to ${max}`}
    >
      <Input
        id={id}
        type="number"
        min={min}
        max={max}
        step={step}
        width={FIELD_WIDTH}
        value={text}
        placeholder={fallback.toString()}
        onChange={(event) => setDraft(event.currentTarget.value)}
        onBlur={commit}
        onKeyDown={(event) => event.key === 'Enter' && commit()}
      />
    </InlineField>
  );
}
