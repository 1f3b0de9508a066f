// SPDX-License-Identifier: Apache-2.0

import { ScopedVars } from '@grafana/data';
import { TemplateSrv } from '@grafana/runtime';

/** What a variable stands for that has "All" chosen and that Prometheus panels use as a pattern, too. */
const ALL = new Set(['.*', '.+', '$__all']);

/**
 * expand replaces the template variables in each text. A variable with several values makes as many texts of one, two of
 * them each combination. If any text comes to mean all values, so does the list: it is empty then.
 */
export function expand(texts: string[], templates: TemplateSrv, scoped: ScopedVars): string[] {
  const expanded = [...new Set(texts.flatMap((text) => combinations(text, templates, scoped)))];
  return expanded.some((text) => ALL.has(text)) ? [] : expanded;
}

function combinations(text: string, templates: TemplateSrv, scoped: ScopedVars): string[] {
  const gap = '\u0000'; // where a variable was: no name has it
  const values: string[][] = [];
  const around = templates
    .replace(text, scoped, (value: string | string[]) => {
      values.push([value].flat());
      return gap;
    })
    .split(gap);
  return values.reduce(
    (made, choices, i) => made.flatMap((start) => choices.map((choice) => start + choice + around[i + 1])),
    [around[0]]
  );
}
