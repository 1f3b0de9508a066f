// SPDX-License-Identifier: Apache-2.0

import jsxA11y from 'eslint-plugin-jsx-a11y';
import reactHooks from 'eslint-plugin-react-hooks';
import tseslint from 'typescript-eslint';

export default tseslint.config(
  { ignores: ['dist/', 'node_modules/', '**/node_modules/'] },
  ...tseslint.configs.recommended,
  reactHooks.configs.flat.recommended,
  jsxA11y.flatConfigs.strict,
  {
    rules: {
      'no-console': 'error',
      eqeqeq: 'error',
    },
  },
  { files: ['*.mjs', 'browser/**/*.mjs'], rules: { 'no-console': 'off' } } // programs that speak to a terminal
);
