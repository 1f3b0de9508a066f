// SPDX-License-Identifier: Apache-2.0

import { Button, IconButton, Input, Label, SecretInput, Stack } from '@grafana/ui';
import { ChangeEvent, ReactNode, useId } from 'react';

import { headers, headerSecret, nameHeader, removeHeader, withoutSecret, withSecret, withSettings } from '../settings';
import { Matcher } from '../types';
import { ConfigProps } from './ConfigEditor';

/** SelectorList are the labels that every series must have, for a Prometheus that more than one team or cluster writes to. */
export function SelectorList({ options, onOptionsChange }: ConfigProps) {
  const { selector = [] } = options.jsonData;
  const set = (changed: Matcher[]) => onOptionsChange(withSettings(options, { selector: changed }));
  const replace = (i: number, changed: Partial<Matcher>) =>
    set(selector.map((matcher, j) => (j === i ? { ...matcher, ...changed } : matcher)));
  return (
    <PairList
      label="Labels"
      description="Only series with all of these labels count."
      one="label"
      onAdd={() => set([...selector, { name: '', value: '' }])}
      onRemove={(i) => set(selector.filter((_, j) => j !== i))}
      pairs={selector.map((matcher, i) => [
        <Input
          key="name"
          aria-label={`Name of label ${i + 1}`}
          placeholder="cluster"
          width={24}
          value={matcher.name}
          onChange={(event) => replace(i, { name: event.currentTarget.value })}
        />,
        <Input
          key="value"
          aria-label={`Value of label ${i + 1}`}
          width={32}
          value={matcher.value}
          onChange={(event) => replace(i, { value: event.currentTarget.value })}
        />,
      ])}
    />
  );
}

/** HeaderList are headers that each request to Prometheus carries, such as the tenant of Mimir. */
export function HeaderList({ options, onOptionsChange }: ConfigProps) {
  const all = headers(options);
  return (
    <PairList
      label="Headers"
      description="Sent with each request. Values are stored encrypted; if one is removed, those below it have to be typed again."
      one="header"
      onAdd={() => onOptionsChange(nameHeader(options, all.length, ''))}
      onRemove={(i) => onOptionsChange(removeHeader(options, i))}
      pairs={all.map((header, i) => [
        <Input
          key="name"
          aria-label={`Name of header ${i + 1}`}
          placeholder="X-Scope-OrgID"
          width={24}
          value={header.name}
          onChange={(event) => onOptionsChange(nameHeader(options, i, event.currentTarget.value))}
        />,
        <SecretInput
          key="value"
          aria-label={`Value of header ${i + 1}`}
          width={32}
          autoComplete="off"
          isConfigured={header.stored}
          value={header.value}
          onReset={() => onOptionsChange(withoutSecret(options, headerSecret(i)))}
          onChange={(event: ChangeEvent<HTMLInputElement>) =>
            onOptionsChange(withSecret(options, headerSecret(i), event.currentTarget.value))
          }
        />,
      ])}
    />
  );
}

interface Props {
  label: string;
  description: string;
  /** What one of them is called. */
  one: string;
  pairs: ReactNode[][];
  onAdd: () => void;
  onRemove: (i: number) => void;
}

function PairList({ label, description, one, pairs, onAdd, onRemove }: Props) {
  const id = useId();
  return (
    <div role="group" aria-labelledby={id}>
      <Label id={id} description={description}>
        {label}
      </Label>
      <Stack direction="column" gap={1} alignItems="flex-start">
        {pairs.map((inputs, i) => (
          <Stack key={i} gap={1} alignItems="center">
            {inputs}
            <IconButton name="trash-alt" aria-label={`Remove ${one} ${i + 1}`} onClick={() => onRemove(i)} />
          </Stack>
        ))}
        <Button variant="secondary" size="sm" icon="plus" type="button" onClick={onAdd}>
          Add {one}
        </Button>
      </Stack>
    </div>
  );
}
