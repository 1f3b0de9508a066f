// SPDX-License-Identifier: Apache-2.0

import { transformSync } from 'esbuild';

export default {
  process(source, path) {
    return transformSync(source, { sourcefile: path, loader: 'ts', format: 'cjs', target: 'node20', sourcemap: 'inline' });
  },
};
