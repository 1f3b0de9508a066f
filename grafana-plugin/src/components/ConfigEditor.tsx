// SPDX-License-Identifier: Apache-2.0

import { DataSourcePluginOptionsEditorProps } from '@grafana/data';
import { DataSourcePicker } from '@grafana/runtime';
import { CollapsableSection, Field, FieldSet, Input, SecretInput, Stack, Switch, TextArea } from '@grafana/ui';
import { ChangeEvent, useId, useState } from 'react';

import { withoutSecret, withSecret, withSettings } from '../settings';
import { Secrets, Settings } from '../types';
import { HeaderList, SelectorList } from './PairLists';
import { TLSFields } from './TLSFields';

export type ConfigProps = DataSourcePluginOptionsEditorProps<Settings, Secrets>;

/** Width of the inputs, in units of 8 px. */
const WIDTH = 60;

/** ConfigEditor says where Prometheus and the exporters are, and how to talk to them. */
export function ConfigEditor(props: ConfigProps) {
  return (
    <>
      <PrometheusFields {...props} />
      <ExporterFields {...props} />
      <AuthenticationFields {...props} />
      <TLSFields {...props} />
      <CollapsableSection label="Advanced" isOpen={false}>
        <AdvancedFields {...props} />
      </CollapsableSection>
    </>
  );
}

function PrometheusFields({ options, onOptionsChange }: ConfigProps) {
  const id = useId();
  const link = (prometheusUid?: string) => onOptionsChange(withSettings(options, { prometheusUid }));
  return (
    <FieldSet label="Prometheus">
      <Field label="URL" required description="Any API like that of Prometheus: Mimir, Thanos, VictoriaMetrics.">
        <Input
          id={`${id}-url`}
          type="url"
          width={WIDTH}
          value={options.url}
          placeholder="http://localhost:9090"
          onChange={(event) => onOptionsChange({ ...options, url: event.currentTarget.value })}
        />
      </Field>
      <Field
        label="Datasource for links"
        htmlFor={`${id}-links`}
        description="Grafana's own datasource of the same Prometheus: links open there the PromQL behind a number."
      >
        <DataSourcePicker
          inputId={`${id}-links`}
          type="prometheus"
          noDefault
          width={WIDTH}
          current={options.jsonData.prometheusUid}
          placeholder="None: no links"
          onChange={(chosen) => link(chosen.uid)}
          onClear={() => link(undefined)}
        />
      </Field>
    </FieldSet>
  );
}

function ExporterFields({ options, onOptionsChange }: ConfigProps) {
  const id = useId();
  const [draft, setDraft] = useState<string>();
  const { exporterUrls = [], exporterQuery = '' } = options.jsonData;
  const set = (changed: Partial<Settings>) => onOptionsChange(withSettings(options, changed));
  const commit = () => {
    if (draft !== undefined) {
      setDraft(undefined);
      set({ exporterUrls: draft.split(/\s+/).filter((url) => url !== '') });
    }
  };
  return (
    <FieldSet label="Exporters">
      <Field label="URLs" description="One a line. Single requests and live data come from there, all else from Prometheus.">
        <TextArea
          id={`${id}-urls`}
          rows={3}
          style={{ maxWidth: WIDTH * 8 }}
          value={draft ?? exporterUrls.join('\n')}
          placeholder="http://localhost:10984"
          onChange={(event) => setDraft(event.currentTarget.value)}
          onBlur={commit}
        />
      </Field>
      <Field label="PromQL that finds more" description="Each series that it returns has the address of an exporter in its label instance.">
        <Input
          id={`${id}-query`}
          width={WIDTH}
          value={exporterQuery}
          placeholder={'up{job="tcpslo"} == 1'}
          onChange={(event) => set({ exporterQuery: event.currentTarget.value })}
        />
      </Field>
    </FieldSet>
  );
}

function AuthenticationFields({ options, onOptionsChange }: ConfigProps) {
  const id = useId();
  return (
    <FieldSet label="Authentication">
      <Field label="Basic authentication" description="Another scheme, such as a bearer token, is a header: see Advanced.">
        <Switch
          id={`${id}-basic`}
          value={options.basicAuth}
          onChange={(event) => onOptionsChange({ ...options, basicAuth: event.currentTarget.checked })}
        />
      </Field>
      {options.basicAuth && (
        <>
          <Field label="User">
            <Input
              id={`${id}-user`}
              width={WIDTH}
              autoComplete="off"
              value={options.basicAuthUser}
              onChange={(event) => onOptionsChange({ ...options, basicAuthUser: event.currentTarget.value })}
            />
          </Field>
          <Field label="Password">
            <SecretInput
              id={`${id}-password`}
              width={WIDTH}
              autoComplete="new-password"
              isConfigured={options.secureJsonFields.basicAuthPassword ?? false}
              value={options.secureJsonData?.basicAuthPassword ?? ''}
              onReset={() => onOptionsChange(withoutSecret(options, 'basicAuthPassword'))}
              onChange={(event: ChangeEvent<HTMLInputElement>) =>
                onOptionsChange(withSecret(options, 'basicAuthPassword', event.currentTarget.value))
              }
            />
          </Field>
        </>
      )}
    </FieldSet>
  );
}

function AdvancedFields(props: ConfigProps) {
  const { options, onOptionsChange } = props;
  const id = useId();
  const { timeout } = options.jsonData;
  const invalid = timeout !== undefined && !(timeout > 0 && timeout <= 300);
  return (
    <>
      <Field label="Timeout" description="Seconds that a query may take." invalid={invalid} error="up to 300 seconds">
        <Input
          id={`${id}-timeout`}
          type="number"
          min={1}
          max={300}
          width={WIDTH}
          value={timeout ?? ''}
          placeholder="10"
          onChange={({ currentTarget: { value } }) =>
            onOptionsChange(withSettings(options, { timeout: value === '' ? undefined : Number(value) }))
          }
        />
      </Field>
      <Stack direction="column" gap={2}>
        <SelectorList {...props} />
        <HeaderList {...props} />
      </Stack>
    </>
  );
}
