// SPDX-License-Identifier: Apache-2.0

// Serves the page of host.tsx, the built plugin, and fixtures as the plugin's backend would answer.
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';

import { build } from 'esbuild';

const here = import.meta.dirname;
const PAGE = `<!doctype html><meta charset="utf-8"><title>Editors</title><link rel="icon" href="data:,">
<body><button id="start">Before</button><div id="root" style="padding: 16px"></div>
<script>window.grafanaBootData = { settings: { buildInfo: {}, featureToggles: {} }, user: {} }</script><script src="/host.js"></script>`;

export const NAMES = {
  services: ['checkout', 'inventory', 'search'],
  slos: ['availability', 'latency'],
  routes: ['/items/{id}', '/orders/{id}', '/users/{id}'],
  listeners: ['0.0.0.0:8080', '127.0.0.1:9090'],
};

// Half of Grafana's packages is an editor of source code that no page here opens.
const withoutCodeEditor = {
  name: 'without-code-editor',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^monaco-editor/ }, () => ({ path: 'nothing', namespace: 'nothing' }));
    onLoad({ filter: /./, namespace: 'nothing' }, () => ({ contents: 'module.exports = {}' }));
  },
};

/** hostScript bundles the page's script with the packages of one release of Grafana: those in that folder's node_modules. */
export async function hostScript(folder) {
  const { outputFiles } = await build({
    stdin: { contents: readFileSync(join(here, 'host.tsx')), loader: 'tsx', resolveDir: folder },
    bundle: true,
    write: false,
    format: 'iife',
    platform: 'browser',
    jsx: 'automatic',
    define: { 'process.env.NODE_ENV': '"development"', global: 'window' }, // React then tells what is used wrongly
    loader: { '.svg': 'dataurl', '.css': 'empty' },
    plugins: [withoutCodeEditor],
    logLevel: 'error',
  });
  return outputFiles[0].text;
}

/** serve starts a server on a free port of loopback; icons are those of the same folder. asked has all requests to the backend, in order. */
export async function serve(script, folder) {
  const asked = [];
  const answers = new Map(); // path → what is answered instead of the fixture
  const server = createServer((request, response) => {
    const url = new URL(request.url, 'http://localhost');
    const answer = (type, body) => response.writeHead(200, { 'Content-Type': type }).end(body);
    const icon = join(folder, 'node_modules/@grafana/ui/dist', url.pathname.replace('/build/', '/'));
    const built = join(here, '..', url.pathname);
    if (url.pathname === '/') {
      answer('text/html', PAGE);
    } else if (url.pathname === '/host.js') {
      answer('text/javascript', script);
    } else if (url.pathname.startsWith('/public/build/')) {
      // Not all of Grafana's icons are in its packages.
      answer('image/svg+xml', existsSync(icon) ? readFileSync(icon) : '<svg xmlns="http://www.w3.org/2000/svg"/>');
    } else if (url.pathname.startsWith('/dist/') && existsSync(built)) {
      answer('text/javascript', readFileSync(built));
    } else if (url.pathname.startsWith('/api/')) {
      const body = [];
      request.on('data', (chunk) => body.push(chunk));
      request.on('end', () => {
        const text = Buffer.concat(body).toString();
        asked.push({ path: url.pathname, search: url.search, body: text && JSON.parse(text) });
        answer('application/json', JSON.stringify(answers.get(url.pathname) ?? NAMES[url.pathname.split('/').pop()]));
      });
    } else {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${server.address().port}/`, asked, answers, close: () => server.close() };
}
