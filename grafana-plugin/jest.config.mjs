// SPDX-License-Identifier: Apache-2.0

// What needs no page is tested here, in Node; the editors are tested in a browser (browser/).
export default {
  roots: ['<rootDir>/src'],
  transform: { '\\.tsx?$': '<rootDir>/jest.transform.mjs' },
};
