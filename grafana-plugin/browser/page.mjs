// SPDX-License-Identifier: Apache-2.0

import { mkdirSync } from 'node:fs';

import { chromium } from 'playwright-core';

import { hostScript, serve } from './server.mjs';

const PATIENCE = 60_000; // ms, for a busy machine: nothing waits for longer than it has to
const OPTION = '[role=option]';
const CUSTOM = 'Use custom value'; // Grafana's words for what is typed and not in the list

/** open starts a browser on the page with the packages in that folder. It is used by the keyboard alone. */
export async function open(folder) {
  const server = await serve(await hostScript(folder), folder);
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
  const page = await browser.newPage({ viewport: { width: 1280, height: 720 } });
  page.setDefaultTimeout(PATIENCE);
  const noise = [];
  page.on('pageerror', (error) => noise.push(error.message));
  page.on('console', (message) => {
    const { url } = message.location();
    const ofTheHost = /\/fonts\/|react-devtools|locize|Password field is not contained in a form/;
    if (!ofTheHost.test(url + message.text())) {
      noise.push(`${message.type()}: ${message.text()} ${url}`);
    }
  });
  await page.goto(server.url);
  await page.waitForSelector('body[data-started],body[data-failed]', { state: 'attached' });
  const failed = await page.evaluate(() => document.body.dataset.failed);
  if (failed) {
    throw new Error(failed);
  }
  return new Page(page, server, noise, async () => {
    await browser.close();
    server.close();
  });
}

class Page {
  constructor(page, server, noise, close) {
    Object.assign(this, { page, server, noise, close, keyboard: page.keyboard });
  }

  /** mount shows an editor, with nothing focused. */
  async mount(kind, value, app) {
    await this.page.evaluate((args) => window.host.mount(...args), [kind, value, app]);
    await this.page.waitForFunction(() => document.getElementById('root').querySelector('input, textarea'));
  }

  /** seen is what the editor made: its value, and the value of each run. */
  seen() {
    return this.page.evaluate(() => window.host.seen);
  }

  reactVersion() {
    return this.page.evaluate(() => window.host.react);
  }

  query(...args) {
    return this.page.evaluate((given) => window.host.query(...given), args);
  }

  values(target) {
    return this.page.evaluate((given) => window.host.values(given), target);
  }

  /** labels are the names of all inputs in the order in which Tab reaches them. */
  async labels() {
    const found = [];
    await this.page.evaluate(() => document.getElementById('start').focus());
    for (let i = 0; i < 100; i++) {
      await this.keyboard.press('Tab');
      const { name, input, outside } = await this.focused();
      if (outside) {
        return found;
      }
      if (input && found.at(-1) !== name) {
        found.push(name);
      }
    }
    throw new Error(`Tab does not leave the editor: ${found}`);
  }

  /** showsInputs waits until these are the inputs: what a choice changes is rendered after it has been told of. */
  async showsInputs(names) {
    await this.until(`the inputs ${names}`, async () => String(await this.labels()) === String(names));
  }

  /** focus presses Tab until what has that name has the focus. */
  async focus(name) {
    const passed = [];
    for (let i = 0; i < 100; i++) {
      const focused = await this.focused();
      if (focused.name === name) {
        return;
      }
      passed.push(focused.name);
      await this.keyboard.press('Tab');
    }
    throw new Error(`Tab does not reach ${name}, but ${[...new Set(passed)]}`);
  }

  /** type writes into what has that name, in place of what is there. */
  async type(name, text) {
    await this.focus(name);
    await this.keyboard.press('Control+A');
    await this.keyboard.press('Delete');
    await this.keyboard.type(text);
  }

  /** typeBack is type for what stands before what has the focus. */
  async typeBack(name, text) {
    for (let i = 0; i < 10 && (await this.focused()).name !== name; i++) {
      await this.keyboard.press('Shift+Tab');
    }
    await this.type(name, text);
  }

  async toggle(name) {
    await this.focus(name);
    await this.keyboard.press('Space');
  }

  async press(name) {
    await this.focus(name);
    await this.keyboard.press('Enter');
  }

  /** choosePrometheus chooses in Grafana's own picker, whose keys differ from release to release. */
  async choosePrometheus() {
    await this.focus('Select a data source');
    await this.until('the choice of Prometheus', async () => {
      await this.keyboard.press('ArrowDown');
      await this.keyboard.press('Enter');
      return (await this.seen()).value.jsonData.prometheusUid === 'prom';
    });
  }

  /** choose takes one of the options that a list offers. */
  async choose(name, option) {
    await this.take(name, option, (shown) => shown.every((text) => text.includes(option) && !text.includes(CUSTOM)));
  }

  /** enter takes what is typed into a list that does not offer it. */
  async enter(name, text) {
    await this.take(name, text, (shown) => shown.length === 1 && shown[0].includes(CUSTOM));
  }

  /** take types into a list, waits until only what was typed is left, and moves there: its place is in aria-activedescendant. */
  async take(name, option, settled) {
    await this.focus(name);
    await this.keyboard.press('ArrowDown');
    await this.page.locator(OPTION).first().waitFor();
    await this.keyboard.press('Control+A');
    for (let i = 1; i <= option.length; i++) {
      await this.keyboard.type(option[i - 1]); // no faster than the list takes it
      await this.until(`${option.slice(0, i)} in ${name}`, () => this.page.evaluate((text) => document.activeElement.value === text, option.slice(0, i)));
    }
    let shown;
    await this.until(`${option} of ${name}`, async () => {
      shown = await this.page.locator(OPTION).allInnerTexts();
      return shown.length > 0 && settled(shown);
    });
    await this.until(`the highlight of ${option} of ${name}`, async () => {
      await this.keyboard.press('ArrowDown');
      shown = await this.page.locator(OPTION).allInnerTexts(); // in lines only when it has its styles
      const highlighted = await this.page.evaluate(() => document.activeElement.getAttribute('aria-activedescendant'));
      return shown[Number(highlighted?.match(/\d+$/)?.[0])]?.split('\n')[0] === option;
    });
    await this.change('Enter');
  }

  /** change presses a key and waits for what comes of it: Grafana's lists call back after they have rendered. */
  async change(key) {
    const before = JSON.stringify(await this.seen());
    await this.keyboard.press(key);
    await this.until(`what ${key} changes`, async () => JSON.stringify(await this.seen()) !== before);
  }

  async until(what, condition) {
    for (const end = Date.now() + PATIENCE; !(await condition()); ) {
      if (Date.now() > end) {
        throw new Error(`${what} does not come; there is ${await this.page.locator(OPTION).allInnerTexts()}`);
      }
    }
  }

  /** options are what a list offers, once it offers that one. */
  async options(name, one) {
    await this.focus(name);
    await this.keyboard.press('ArrowDown');
    await this.page.locator(OPTION, { hasText: one }).first().waitFor();
    const texts = await this.page.locator(OPTION).allInnerTexts();
    return texts.map((text) => text.split('\n')[0]);
  }

  focused() {
    return this.page.evaluate(() => {
      const element = document.activeElement;
      const outside = !element.closest('#root');
      const label = element.getAttribute('aria-label') ?? element.labels?.[0]?.innerText;
      const labelledby = document.getElementById(element.getAttribute('aria-labelledby'))?.innerText;
      const name = outside ? '' : (label || labelledby || element.innerText || '').split('\n')[0].trim();
      return { name, outside, input: element.matches('input, textarea') };
    });
  }

  /** picture writes a screenshot where SCREENSHOTS says, for whoever wants to look. */
  async picture(name) {
    const folder = process.env.SCREENSHOTS;
    if (folder) {
      mkdirSync(folder, { recursive: true });
      await this.page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
    }
  }
}
