// SPDX-License-Identifier: Apache-2.0

import { TemplateSrv } from '@grafana/runtime';

import { expand } from './interpolate';

const variables: Record<string, string | string[]> = {
  one: 'checkout',
  two: ['checkout', 'search'],
  zone: ['eu', 'us'],
  none: [],
  all: '.*',
  every: ['$__all'],
  odd: ['a$one', 'b|c', 'd\\e"'],
};

/** Replaces as Grafana does when it is given a function: that function gets the value, and what it returns is put in. */
const templates = {
  replace: (text: string, _scoped: unknown, format: (value: string | string[]) => string) =>
    text.replace(/\$\{?(\w+)\}?/g, (written, name) => (name in variables ? format(variables[name]) : written)),
} as unknown as TemplateSrv;

test.each<[string, string[], string[]]>([
  ['text_without_a_variable_stays_as_it_is', ['checkout', '/items/{id}', ''], ['checkout', '/items/{id}', '']],
  ['variable_with_one_value_is_replaced_by_it', ['$one'], ['checkout']],
  ['variable_with_two_values_is_replaced_by_each', ['web', '$two'], ['web', 'checkout', 'search']],
  ['text_around_a_variable_is_kept_for_each_value', ['a-${two}-z'], ['a-checkout-z', 'a-search-z']],
  ['two_variables_make_each_combination', ['$two.$zone'], ['checkout.eu', 'checkout.us', 'search.eu', 'search.us']],
  ['value_that_comes_twice_is_asked_for_once', ['$one', '$two'], ['checkout', 'search']],
  ['variable_that_does_not_exist_stays_as_it_is_written', ['$typo'], ['$typo']],
  ['variable_with_no_value_makes_nothing', ['$none'], []],
  ['all_by_a_pattern_lifts_the_restriction', ['checkout', '$all'], []],
  ['all_by_Grafanas_own_mark_lifts_the_restriction', ['$every'], []],
  ['values_are_never_replaced_again_nor_escaped', ['$odd'], ['a$one', 'b|c', 'd\\e"']],
  ['empty_list_stays_empty', [], []],
])('%s', (_name, texts, want) => {
  expect(expand(texts, templates, {})).toEqual(want);
});
