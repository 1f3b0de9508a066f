// SPDX-License-Identifier: Apache-2.0

import { Field, FieldSet, Input, SecretTextArea, Switch } from '@grafana/ui';
import { ChangeEvent, useId } from 'react';

import { withoutSecret, withSecret, withSettings } from '../settings';
import { Settings } from '../types';
import { ConfigProps } from './ConfigEditor';

type Flag = 'tlsAuthWithCACert' | 'tlsAuth' | 'tlsSkipVerify';
type PEM = 'tlsCACert' | 'tlsClientCert' | 'tlsClientKey';

/** TLSFields are the options that Grafana's HTTP client has for TLS, by the names that all datasources use. */
export function TLSFields({ options, onOptionsChange }: ConfigProps) {
  const id = useId();
  const { jsonData } = options;

  const set = (name: Flag, on: boolean) => {
    const changed: Settings = {};
    changed[name] = on;
    onOptionsChange(withSettings(options, changed));
  };
  const flag = (name: Flag, label: string, description: string) => (
    <Field label={label} description={description}>
      <Switch
        id={`${id}-${name}`}
        value={jsonData[name] ?? false}
        onChange={(event) => set(name, event.currentTarget.checked)}
      />
    </Field>
  );
  const pem = (name: PEM, label: string, kind: string) => (
    <Field label={label}>
      <SecretTextArea
        id={`${id}-${name}`}
        rows={5}
        cols={60}
        placeholder={`-----BEGIN ${kind}-----`}
        isConfigured={options.secureJsonFields[name] ?? false}
        value={options.secureJsonData?.[name] ?? ''}
        onReset={() => onOptionsChange(withoutSecret(options, name))}
        onChange={(event: ChangeEvent<HTMLTextAreaElement>) =>
          onOptionsChange(withSecret(options, name, event.currentTarget.value))
        }
      />
    </Field>
  );

  return (
    <FieldSet label="TLS">
      {flag('tlsAuthWithCACert', 'Own certificate authority', 'One that this machine does not trust already.')}
      {jsonData.tlsAuthWithCACert && pem('tlsCACert', 'CA certificate', 'CERTIFICATE')}
      {flag('tlsAuth', 'Client certificate', 'Prometheus asks who connects.')}
      {jsonData.tlsAuth && (
        <>
          <Field label="Server name" description="Must be in the certificate of the server.">
            <Input
              id={`${id}-server`}
              width={60}
              value={jsonData.serverName ?? ''}
              placeholder="prometheus.example.com"
              onChange={(event) => onOptionsChange(withSettings(options, { serverName: event.currentTarget.value }))}
            />
          </Field>
          {pem('tlsClientCert', 'Certificate', 'CERTIFICATE')}
          {pem('tlsClientKey', 'Key', 'PRIVATE KEY')}
        </>
      )}
      {flag('tlsSkipVerify', 'Trust any certificate', 'Whoever is between Grafana and Prometheus can read and change everything.')}
    </FieldSet>
  );
}
