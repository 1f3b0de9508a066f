// SPDX-License-Identifier: Apache-2.0

// A page that stands in for Grafana: it loads the built dist/module.js as Grafana does, gives it Grafana's own packages, and
// mounts what the plugin registers. What Grafana's server would do is done by browser/server.mjs over HTTP.
import * as data from '@grafana/data';
import { initPluginTranslations } from '@grafana/i18n';
import * as runtime from '@grafana/runtime';
import * as ui from '@grafana/ui';
import * as react from 'react';
import * as jsxDevRuntime from 'react/jsx-dev-runtime';
import * as jsxRuntime from 'react/jsx-runtime';
import * as reactDOM from 'react-dom';
import { createRoot, Root } from 'react-dom/client';
import * as rxjs from 'rxjs';

import type { plugin as Plugin } from '../src/module';
import type { Settings, TcpsloQuery } from '../src/types';

const provided: Record<string, unknown> = {
  '@grafana/data': data,
  '@grafana/runtime': runtime,
  '@grafana/ui': ui,
  react,
  'react/jsx-runtime': jsxRuntime,
  'react/jsx-dev-runtime': jsxDevRuntime,
  'react-dom': reactDOM,
  rxjs,
};

/** What the test reads: the last value of the mounted editor, and the value with which each run was asked for. */
interface Seen {
  value: unknown;
  runs: unknown[];
}

const seen: Seen = { value: undefined, runs: [] };
let plugin: typeof Plugin;
let root: Root | undefined;

const settings = {
  id: 1,
  uid: 'slo',
  type: 'tcpslo-slo-datasource',
  name: 'tcpslo',
  meta: { id: 'tcpslo-slo-datasource', info: { logos: { small: '' } } },
  jsonData: { exporterUrls: ['http://exporter-1:10984', 'http://exporter-2:10984'], prometheusUid: 'prom' },
} as data.DataSourceInstanceSettings<Settings>;
const prometheus = {
  id: 2,
  uid: 'prom',
  type: 'prometheus',
  name: 'Prometheus',
  meta: { id: 'prometheus', name: 'Prometheus', info: { logos: { small: '' } } },
} as data.DataSourceInstanceSettings;

const variables: Record<string, string | string[]> = { service: ['checkout', 'search'], slo: 'availability', all: '.*' };

/** Replaces $name as Grafana does, with a function as the format. */
const templates = {
  getVariables: () => Object.keys(variables).map((name) => ({ name })),
  containsTemplate: (text?: string) => text?.includes('$') ?? false,
  replace: (text = '', scoped: data.ScopedVars = {}, format?: (value: string | string[]) => string) =>
    text.replace(/\$(\w+)/g, (written, name: string) => {
      const value = scoped[name]?.value ?? variables[name];
      return value === undefined ? written : format ? format(value) : String(value);
    }),
} as unknown as runtime.TemplateSrv;

const backend = {
  fetch: ({ url, method, params = {}, data: body, headers }: runtime.BackendSrvRequest) =>
    rxjs.from(
      (async () => {
        const search = new URLSearchParams(Object.entries(params).flatMap(([k, v]) => [v].flat().map((one) => [k, String(one)])));
        const answer = await fetch(`${url}?${search}`, { method, headers, body: body && JSON.stringify(body) });
        const answered = await answer.json();
        if (answered.message) {
          throw { status: 502, data: answered }; // in the shape of Grafana's FetchError
        }
        return { data: answered, status: answer.status, ok: answer.ok };
      })()
    ),
} as unknown as runtime.BackendSrv;

async function start() {
  await initPluginTranslations('host');
  runtime.setTemplateSrv(templates);
  runtime.setBackendSrv(backend);
  runtime.setDataSourceSrv({
    getList: () => [prometheus],
    getInstanceSettings: (ref: unknown) =>
      [settings, prometheus].find(({ uid, name }) => [uid, name].includes((ref as { uid?: string } | null)?.uid ?? (ref as string))),
  } as unknown as runtime.DataSourceSrv);

  Object.assign(window, {
    define: (names: string[], factory: (...modules: unknown[]) => { plugin: typeof Plugin }) => {
      const missing = names.filter((name) => !(name in provided));
      if (missing.length > 0) {
        throw new Error(`Grafana does not provide ${missing.join(', ')}`);
      }
      plugin = factory(...names.map((name) => provided[name])).plugin;
    },
  });
  await new Promise((resolve, reject) => {
    const script = document.createElement('script');
    Object.assign(script, { src: '/dist/module.js', onload: resolve, onerror: reject });
    document.head.append(script);
  });

  Object.assign(window, { host: { mount, seen, query, values, react: react.version } });
}

type Kind = 'query' | 'variable' | 'annotation' | 'config';

/** mount renders an editor that has its value and nothing else from its surroundings. */
function mount(kind: Kind, initial: unknown, app?: data.CoreApp) {
  root?.unmount();
  seen.value = initial;
  seen.runs = [];
  root = createRoot(document.getElementById('root')!);
  root.render(
    <react.StrictMode>
      <data.ThemeContext.Provider value={data.createTheme({ colors: { mode: 'dark' } })}>
        <ui.GlobalStyles />
        <Surroundings kind={kind} initial={initial} app={app} />
      </data.ThemeContext.Provider>
    </react.StrictMode>
  );
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- each kind of editor has other properties
type AnyEditor = react.ComponentType<any>;

function Surroundings({ kind, initial, app }: { kind: Kind; initial: unknown; app?: data.CoreApp }) {
  const [value, setValue] = react.useState(initial);
  const [datasource] = react.useState(() => new plugin.DataSourceClass(settings));
  const change = (changed: unknown) => {
    seen.value = changed;
    setValue(changed);
  };
  const Editor = {
    query: plugin.components.QueryEditor,
    config: plugin.components.ConfigEditor,
    variable: datasource.variables && 'editor' in datasource.variables ? datasource.variables.editor : undefined,
    annotation: datasource.annotations?.QueryEditor,
  }[kind] as AnyEditor;
  return kind === 'config' ? (
    <Editor options={value} onOptionsChange={change} />
  ) : (
    <Editor query={value} onChange={change} onRunQuery={() => seen.runs.push(seen.value)} datasource={datasource} app={app} />
  );
}

/** query asks the datasource what a panel would, and returns what it gets. */
function query(targets: TcpsloQuery[], scopedVars: data.ScopedVars = {}) {
  const request = { targets, scopedVars, range: data.getDefaultTimeRange(), intervalMs: 1000, maxDataPoints: 100 };
  const datasource = new plugin.DataSourceClass(settings);
  return rxjs.lastValueFrom(rxjs.from(datasource.query(request as data.DataQueryRequest<TcpsloQuery>)));
}

/** values asks for what a template variable would have. */
async function values(target: unknown) {
  const { variables } = new plugin.DataSourceClass(settings);
  const request = { targets: [target], scopedVars: {} } as unknown as data.DataQueryRequest<TcpsloQuery>;
  const answer = variables && 'query' in variables && variables.query ? await rxjs.lastValueFrom(variables.query(request)) : undefined;
  return answer?.data;
}

start().then(
  () => document.body.setAttribute('data-started', ''),
  (error) => document.body.setAttribute('data-failed', String(error))
);
