// SPDX-License-Identifier: Apache-2.0

// The built plugin in a real browser, with Grafana's own components of two releases: one with React 19, one with React 18.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';

import { open } from './page.mjs';
import { NAMES } from './server.mjs';

const here = import.meta.dirname;
execFileSync(process.execPath, [join(here, '..', 'build.mjs')]);

const RELEASES = [
  { grafana: 'Grafana 13.2 and React 19', folder: join(here, '..'), react: /^19\./ },
  { grafana: 'Grafana 12.3 and React 18', folder: join(here, 'grafana-12'), react: /^18\./ },
];

const INPUTS = {
  slo_summary: ['Services', 'SLOs'],
  budget: ['Services', 'SLOs'],
  burn: ['Services', 'SLOs'],
  latency_stages: ['Services', 'Routes', 'Share'],
  accept_balance: ['Services', 'Listeners', 'Network'],
  listen_queue: ['Services', 'Listeners', 'Network'],
  causes: ['Services', 'SLOs', 'Limit'],
  breaches: ['Services', 'SLOs'],
  requests: ['Services', 'Routes', 'Limit', 'Exporter'],
  live: ['Services', 'Exporter'],
};
const LABELS = {
  slo_summary: 'SLO summary', budget: 'Error budget', burn: 'Burn rate', latency_stages: 'Latency by stage', accept_balance: 'Accept balance',
  listen_queue: 'Listen queue', causes: 'Causes', breaches: 'Breaches', requests: 'Slow requests', live: 'Live',
};

for (const { grafana, folder, react } of RELEASES) {
  describe(grafana, () => {
    let page;
    before(async () => {
      page = await open(folder);
      assert.match(await page.reactVersion(), react);
    });
    after(() => page?.close());
    afterEach(() => {
      assert.deepEqual(page.noise.splice(0), [], 'the console');
      page.server.asked.length = 0;
      page.server.answers.clear();
    });
    const picture = (name) => page.picture(`${grafana.replaceAll(' ', '-')}-${name}`);

    for (const [type, label] of Object.entries(LABELS)) {
      test(`type_${type}_is_chosen_by_keyboard_runs_once_and_offers_the_inputs_that_it_has_use_for`, async () => {
        const other = type === 'slo_summary' ? 'live' : 'slo_summary';
        await page.mount('query', { refId: 'A', queryType: other });
        await page.choose('Query type', label);
        const { value, runs } = await page.seen();
        assert.deepEqual(value, { refId: 'A', queryType: type });
        assert.deepEqual(runs, [value]);
        await page.showsInputs(['Query type', ...INPUTS[type]]);
        await picture(type);
      });
    }

    test('query_without_a_type_is_shown_as_a_summary', async () => {
      await page.mount('query', { refId: 'A' });
      await page.showsInputs(['Query type', ...INPUTS.slo_summary]);
      assert.deepEqual((await page.seen()).runs, []);
    });

    test('names_are_chosen_from_the_backend_from_variables_and_as_typed_and_each_choice_runs', async () => {
      await page.mount('query', { refId: 'A', queryType: 'budget' });
      assert.deepEqual(await page.options('Services', 'checkout'), ['$service', '$slo', '$all', ...NAMES.services]);
      await picture('names');
      await page.keyboard.press('Escape');
      await page.choose('Services', 'inventory');
      await page.choose('Services', '$service');
      await page.enter('Services', 'web');
      await page.keyboard.press('Escape');
      const services = ['inventory', '$service', 'web'];
      await page.choose('SLOs', 'latency');
      const { value, runs } = await page.seen();
      assert.deepEqual(value, { refId: 'A', queryType: 'budget', services, slos: ['latency'] });
      assert.deepEqual(
        runs.map((run) => [run.services?.length ?? 0, run.slos?.length ?? 0]),
        [[1, 0], [2, 0], [3, 0], [3, 1]]
      );
      const slos = page.server.asked.filter(({ path }) => path === '/api/datasources/uid/slo/resources/slos');
      assert.equal(slos[0].search, '?service=inventory&service=checkout&service=search&service=web', 'variables are replaced');
      await picture('names-chosen');
    });

    test('name_that_is_taken_away_leaves_no_empty_list', async () => {
      await page.mount('query', { refId: 'A', queryType: 'burn', services: ['checkout'] });
      await page.focus('Remove checkout');
      await page.change('Enter');
      assert.deepEqual(await page.seen(), { value: { refId: 'A', queryType: 'burn' }, runs: [{ refId: 'A', queryType: 'burn' }] });
    });

    test('backend_that_cannot_list_names_is_told_and_variables_can_be_chosen_still', async () => {
      page.server.answers.set('/api/datasources/uid/slo/resources/services', { message: 'prometheus is not reachable' });
      await page.mount('query', { refId: 'A', queryType: 'budget' });
      await page.focus('Services');
      await page.keyboard.press('ArrowDown');
      await page.page.getByText('Names could not be listed: prometheus is not reachable').waitFor();
      await picture('names-failed');
      await page.keyboard.press('Escape');
      await page.choose('Services', '$service');
      assert.deepEqual((await page.seen()).value.services, ['$service']);
    });

    test('quantile_is_asked_for_in_its_mode_alone_and_counts_when_the_field_is_left', async () => {
      await page.mount('query', { refId: 'A', queryType: 'latency_stages' });
      await page.focus('Share');
      await page.keyboard.press('ArrowRight');
      assert.deepEqual((await page.seen()).value, { refId: 'A', queryType: 'latency_stages', mode: 'quantile' });
      await page.type('Quantile', '0.95');
      assert.equal((await page.seen()).runs.length, 1, 'not for each key');
      await page.keyboard.press('Tab');
      const { value, runs } = await page.seen();
      assert.deepEqual(value, { refId: 'A', queryType: 'latency_stages', mode: 'quantile', quantile: 0.95 });
      assert.equal(runs.length, 2);
      await picture('quantile');
    });

    test('quantile_that_is_none_is_refused_in_words_and_never_run', async () => {
      await page.mount('query', { refId: 'A', queryType: 'latency_stages', mode: 'quantile', quantile: 0.5 });
      await page.type('Quantile', '95');
      await page.keyboard.press('Tab');
      await page.page.getByText('from 0.001 to 0.9999').waitFor();
      await picture('quantile-refused');
      assert.deepEqual((await page.seen()).runs, []);
    });

    test('limit_counts_with_Enter_and_an_empty_one_is_the_default', async () => {
      await page.mount('query', { refId: 'A', queryType: 'causes' });
      await page.type('Limit', '50');
      await page.keyboard.press('Enter');
      assert.deepEqual((await page.seen()).value, { refId: 'A', queryType: 'causes', limit: 50 });
      await page.type('Limit', '');
      await page.keyboard.press('Enter');
      const { value, runs } = await page.seen();
      assert.deepEqual(value, { refId: 'A', queryType: 'causes' });
      assert.equal(runs.length, 2);
    });

    test('exporter_is_one_of_the_settings_and_a_network_what_is_typed', async () => {
      await page.mount('query', { refId: 'A', queryType: 'requests' });
      await page.choose('Exporter', 'http://exporter-2:10984');
      assert.deepEqual((await page.seen()).value, { refId: 'A', queryType: 'requests', exporter: 'http://exporter-2:10984' });
      await page.mount('query', { refId: 'A', queryType: 'listen_queue' });
      await page.enter('Network', '4026532281');
      assert.deepEqual((await page.seen()).value, { refId: 'A', queryType: 'listen_queue', netns: '4026532281' });
    });

    test('another_type_keeps_what_it_has_use_for_and_drops_the_rest', async () => {
      const datasource = { uid: 'slo', type: 'tcpslo-slo-datasource' };
      await page.mount('query', { refId: 'B', datasource, hide: false, queryType: 'causes', services: ['checkout'], slos: ['latency'], limit: 5 });
      await page.choose('Query type', 'Slow requests');
      assert.deepEqual((await page.seen()).value, { refId: 'B', datasource, hide: false, queryType: 'requests', services: ['checkout'], limit: 5 });
    });

    test('alert_rule_is_offered_numbers_alone', async () => {
      await page.mount('query', { refId: 'A' }, 'unified-alerting');
      const numbers = ['slo_summary', 'budget', 'burn', 'latency_stages', 'accept_balance', 'listen_queue'];
      assert.deepEqual(await page.options('Query type', 'Error budget'), numbers.map((type) => LABELS[type]));
      await picture('types');
    });

    test('annotation_is_of_breaches_and_has_no_choice_of_type', async () => {
      await page.mount('annotation', { refId: 'Anno' });
      await page.showsInputs(INPUTS.breaches);
      await page.choose('Services', 'search');
      assert.deepEqual((await page.seen()).value, { refId: 'Anno', queryType: 'breaches', services: ['search'] });
    });

    test('variable_has_services_at_first_and_routes_of_some_services_when_asked', async () => {
      await page.mount('variable', '');
      await page.showsInputs(['Values']);
      assert.deepEqual(await page.values(''), NAMES.services.map((name) => ({ text: name, value: name })));
      await page.choose('Values', 'Routes');
      await page.choose('Of services', '$service');
      await picture('variable');
      const { value } = await page.seen();
      assert.deepEqual(value, { refId: 'Variable', values: 'routes', services: ['$service'] });
      page.server.asked.length = 0;
      assert.deepEqual(await page.values(value), NAMES.routes.map((name) => ({ text: name, value: name })));
      assert.deepEqual(page.server.asked, [
        { path: '/api/datasources/uid/slo/resources/routes', search: '?service=checkout&service=search', body: '' },
      ]);
    });

    test('query_is_sent_with_variables_replaced_by_each_of_their_values', async () => {
      page.server.answers.set('/api/ds/query', { results: {} });
      await page.query([{ refId: 'A', queryType: 'causes', services: ['$service', 'web-$slo'], slos: ['$all'], exporter: 'http://$slo', limit: 7 }]);
      const [sent] = page.server.asked.find(({ path }) => path === '/api/ds/query').body.queries;
      assert.deepEqual(sent, {
        refId: 'A',
        queryType: 'causes',
        services: ['checkout', 'search', 'web-availability'],
        exporter: 'http://availability',
        limit: 7,
        datasource: { type: 'tcpslo-slo-datasource', uid: 'slo' },
        datasourceId: 1,
        intervalMs: 1000,
        maxDataPoints: 100,
      });
    });

    test('settings_are_filled_in_by_keyboard', async () => {
      await page.mount('config', { url: '', basicAuth: false, basicAuthUser: '', jsonData: {}, secureJsonFields: {}, secureJsonData: {} });
      await picture('config-empty');
      await page.type('URL *', 'https://mimir.example.com/prometheus');
      await page.choosePrometheus();
      await page.type('URLs', 'http://a:10984\nhttp://b:10984\n');
      await page.type('PromQL that finds more', 'up{job="tcpslo"}');
      await page.toggle('Basic authentication');
      await page.type('User', 'grafana');
      await page.type('Password', 'secret');
      await page.toggle('Own certificate authority');
      await page.type('CA certificate', 'PEM of the authority');
      await page.toggle('Client certificate');
      await page.type('Server name', 'mimir');
      await page.type('Certificate', 'PEM');
      await page.type('Key', 'PEM of the key');
      await page.press('Advanced');
      await page.type('Timeout', '30');
      await page.press('Add label');
      await page.typeBack('Name of label 1', 'cluster');
      await page.type('Value of label 1', 'eu');
      await page.press('Add header');
      await page.typeBack('Name of header 1', 'X-Scope-OrgID');
      await page.type('Value of header 1', 'team');
      await picture('config');
      assert.deepEqual((await page.seen()).value, {
        url: 'https://mimir.example.com/prometheus',
        basicAuth: true,
        basicAuthUser: 'grafana',
        jsonData: {
          prometheusUid: 'prom',
          exporterUrls: ['http://a:10984', 'http://b:10984'],
          exporterQuery: 'up{job="tcpslo"}',
          tlsAuthWithCACert: true,
          tlsAuth: true,
          serverName: 'mimir',
          timeout: 30,
          selector: [{ name: 'cluster', value: 'eu' }],
          httpHeaderName1: 'X-Scope-OrgID',
        },
        secureJsonFields: {},
        secureJsonData: {
          basicAuthPassword: 'secret',
          tlsCACert: 'PEM of the authority',
          tlsClientCert: 'PEM',
          tlsClientKey: 'PEM of the key',
          httpHeaderValue1: 'team',
        },
      });
    });

    test('stored_secret_is_not_shown_and_can_be_typed_again', async () => {
      const stored = { basicAuthPassword: true };
      await page.mount('config', { url: '', basicAuth: true, basicAuthUser: 'u', jsonData: {}, secureJsonFields: stored, secureJsonData: {} });
      await page.press('Reset');
      await page.typeBack('Password', 'new');
      const { value } = await page.seen();
      assert.deepEqual([value.secureJsonFields, value.secureJsonData], [{ basicAuthPassword: false }, { basicAuthPassword: 'new' }]);
    });
  });
}
