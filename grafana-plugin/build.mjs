// SPDX-License-Identifier: Apache-2.0

// Builds dist/module.js and copies what Grafana reads beside it. The backend's executables in dist/ are left alone.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

import { build } from 'esbuild';

process.chdir(dirname(fileURLToPath(import.meta.url)));

// What Grafana gives to plugins, by exact name. Its own React has to be used: two of them in one page do not work, and
// a jsx-runtime of another version than React is as bad.
const provided = [
  'react', 'react/jsx-runtime', 'react/jsx-dev-runtime', 'react-dom', '@grafana/data', '@grafana/runtime',
  '@grafana/ui', '@emotion/css', '@emotion/react', 'lodash', 'rxjs', 'rxjs/operators',
]; // prettier-ignore

const options = {
  entryPoints: ['src/module.ts'],
  outfile: 'dist/module.js',
  bundle: true,
  write: false,
  metafile: true,
  format: 'cjs',
  platform: 'browser',
  target: 'es2021',
  jsx: 'automatic',
  minify: true,
  legalComments: 'none',
  external: provided,
};

// Grafana loads AMD modules and esbuild writes CommonJS, so the module is put into a definition that names what it
// requires. The first pass tells what that is; the second gives a source map that knows of the line in front.
const used = Object.values((await build(options)).metafile.outputs).flatMap((output) => output.imports);
const names = [...new Set(used.map((required) => required.path))].sort();
const result = await build({
  ...options,
  sourcemap: 'linked',
  banner: {
    js: `define(${JSON.stringify(names)},function(){var a=arguments,n=${JSON.stringify(names)},module={exports:{}},require=function(x){return a[n.indexOf(x)]};`,
  },
  footer: { js: 'return module.exports});' },
});

mkdirSync('dist', { recursive: true });
for (const file of result.outputFiles) {
  writeFileSync(file.path, file.contents);
}
for (const [from, to] of [['src/img', 'dist/img'], ['../mixin/dashboards_out', 'dist/dashboards']]) {
  rmSync(to, { recursive: true, force: true });
  cpSync(from, to, { recursive: true });
}
cpSync('README.md', 'dist/README.md');
cpSync('CHANGELOG.md', 'dist/CHANGELOG.md');
cpSync('../LICENSE', 'dist/LICENSE');
writeFileSync(
  'dist/plugin.json',
  readFileSync('src/plugin.json', 'utf8')
    .replace('%VERSION%', JSON.parse(readFileSync('package.json', 'utf8')).version)
    .replace('%TODAY%', commitDate())
);

const module = readFileSync('dist/module.js');
console.log(`dist/module.js: ${module.length} bytes, ${gzipSync(module).length} compressed; asks Grafana for ${names.join(', ')}`);

// The date is the commit's, so that one commit always gives the same bytes.
function commitDate() {
  try {
    return execFileSync('git', ['log', '-1', '--format=%cs'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return new Date().toISOString().slice(0, 10); // a source archive has no commit
  }
}
