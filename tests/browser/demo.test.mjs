// The pages of `oyez dev` in a real browser: the demo's two panes, a backend's notification, the API's documentation.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { attach, binary } from '../e2e/harness.mjs';
import { launch } from './chromium.mjs';

let folder;
let server;
let browser;
let page;
let complaints;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'oyez-demo-'));
  server = await attach(spawn(binary(), ['dev', '--listen', '127.0.0.1:0'], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] }));
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** A fresh page whose complaints and outside requests are collected. */
async function visit(options) {
  const context = await browser.newContext({ locale: 'en-US', ...options });
  page = await context.newPage();
  page.setDefaultTimeout(10_000);
  complaints = [];
  page.on('console', (message) => { if (message.type() === 'error') complaints.push(message.text()); });
  page.on('pageerror', (error) => complaints.push(`${error}`));
  page.on('request', (request) => { if (!request.url().startsWith(server.url)) complaints.push(`asks ${request.url()}`); });
}

beforeEach(() => visit());
afterEach(async () => {
  await page.context().close();
  assert.deepEqual(complaints, []);
});

const heard = (pane, event) => page.locator(`#${pane} .heard li[data-event="${event}"]`);

async function open() {
  await page.goto(`${server.url}/`);
  for (const pane of ['a', 'b']) {
    await page.locator(`#${pane} .state.good`).waitFor();
    await heard(pane, 'subscribed').waitFor();
  }
}

describe('the demo page', () => {
  test('what one pane sends arrives in both, with its latency', async () => {
    await open();
    await page.fill('#a-text', '你好 😀 & <b>bold</b>');
    await page.click('#a .say button');
    for (const pane of ['a', 'b']) {
      const item = heard(pane, 'message');
      await item.waitFor();
      assert.match(await item.locator('.what').textContent(), /demo:lobby 你好 😀 & <b>bold<\/b>$/);
      assert.match(await item.locator('.latency').textContent(), /^\d+\.\d ms$/);
      assert.equal(await item.locator('b').count(), 0, 'a payload is not markup');
    }
  });

  test('who has left the channel does not hear it, and who comes back does', async () => {
    await open();
    await page.click('#b button[value=unsubscribe]');
    await heard('b', 'unsubscribed').waitFor();
    await page.fill('#a-text', 'first');
    await page.keyboard.press('Enter');
    await heard('a', 'message').waitFor();
    await page.click('#b button[value=subscribe]');
    await heard('b', 'subscribed').nth(1).waitFor();
    await page.fill('#a-text', 'second');
    await page.keyboard.press('Enter');
    await heard('b', 'message').waitFor();
    assert.deepEqual(await heard('b', 'message').count(), 1);
    assert.match(await heard('b', 'message').textContent(), /second/);
  });

  test('a channel that is not allowed is refused in words', async () => {
    await open();
    await page.fill('#a-channel', 'user:somebody-else');
    await page.click('#a button[value=subscribe]');
    const refusal = heard('a', 'subscription_error');
    await refusal.waitFor();
    assert.match(await refusal.textContent(), /user:somebody-else/);
  });

  test('the curl line that the page shows delivers a notification to the left pane', async () => {
    await open();
    const line = page.locator('#curl');
    await line.filter({ hasText: 'curl http' }).waitFor();
    const { stdout } = await promisify(execFile)('sh', ['-c', `${await line.textContent()} -sS`]);
    assert.equal(JSON.parse(stdout).level, 'accepted');
    const notification = heard('a', 'notification');
    await notification.waitFor();
    assert.match(await notification.textContent(), /Hello from curl/);
    assert.equal(await heard('b', 'notification').count(), 0);
  });

  test('nothing that arrives becomes markup or script, wherever it stands', async () => {
    await open();
    const markup = '<img src=x onerror=pwned=1><script>pwned=1</script>';
    const { api_key: key } = await (await fetch(`${server.url}/demo.json`)).json();
    const body = { to: 'demo:lobby', event: markup, data: { [markup]: markup } };
    assert.equal((await server.api('/api/v1/publish', { token: key, body })).status, 200);
    await page.fill('#a-text', markup);
    await page.keyboard.press('Enter');
    await page.fill('#b-channel', markup);
    await page.click('#b button[value=subscribe]');
    for (const [pane, event] of [['a', 'message'], ['b', 'message'], ['b', 'subscription_error']]) {
      assert.ok((await heard(pane, event).textContent()).includes(markup), `${pane} ${event}`);
    }
    await page.locator('#b .heard li strong').filter({ hasText: markup }).first().waitFor();
    assert.equal(await page.locator('main img, main script').count(), 0);
    assert.equal(await page.evaluate(() => globalThis.pwned), undefined);
  });

  test('works by keyboard alone', async () => {
    await open();
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.className), 'skip');
    await page.focus('#a-channel');
    for (const expected of ['subscribe', 'unsubscribe']) {
      await page.keyboard.press('Tab');
      assert.equal(await page.evaluate(() => document.activeElement.value), expected);
    }
    await page.keyboard.press('Tab');
    await page.keyboard.type('typed');
    await page.keyboard.press('Enter');
    await heard('b', 'message').waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.id), 'a-text');
  });

  test('speaks Chinese and English, light and dark, and remembers', async () => {
    await open();
    const shown = (text) => page.getByRole('button', { name: text, exact: true }).first().isVisible();
    assert.ok(await shown('Send'));
    await page.click('#language');
    assert.ok(await shown('发送'));
    const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
    assert.equal(await theme(), 'light');
    await page.click('#theme');
    await page.reload();
    assert.equal(await theme(), 'dark');
    assert.ok(await shown('发送'));
  });

  test('begins in the language and the theme of the browser', async () => {
    await page.context().close();
    await visit({ locale: 'zh-CN', colorScheme: 'dark' });
    await open();
    assert.equal(await page.evaluate(() => document.documentElement.lang), 'zh');
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark');
  });
});

describe('the documentation', () => {
  const operation = (path) => page.locator(`details[data-path="${path}"]`);

  test('shows every operation of the description', async () => {
    await page.goto(`${server.url}/api/docs`);
    await operation('/metrics').waitFor();
    const { json } = await server.api('/api/openapi.json');
    const shown = await page.locator('details.operation').evaluateAll((all) => all.map((one) => one.dataset.path));
    const described = Object.entries(json.paths).flatMap(([path, methods]) => Object.keys(methods).map(() => path));
    assert.deepEqual(shown.sort(), described.sort());
    await operation('/api/v1/publish').locator('summary').click();
    for (const field of ['to', 'event', 'data', 'audience', 'timeout_ms']) {
      await operation('/api/v1/publish').locator('td code', { hasText: new RegExp(`^${field}$`) }).first().waitFor();
    }
  });

  test('tries operations: without a key it is told so, with one it publishes', async () => {
    await page.goto(`${server.url}/api/docs`);
    const publish = operation('/api/v1/publish');
    await publish.locator('summary').focus();
    await page.keyboard.press('Enter');
    await publish.locator('button[type=submit]').click();
    const output = publish.locator('pre[role=status]');
    await output.filter({ hasText: '"unauthorized"' }).waitFor();
    complaints = complaints.filter((text) => !text.includes('401'));
    const demo = await (await fetch(`${server.url}/demo.json`)).json();
    await page.fill('#key', demo.api_key);
    await publish.locator('button[type=submit]').click();
    await output.filter({ hasText: '"accepted"' }).waitFor();
    const channel = operation('/api/v1/channels/{channel}');
    await channel.locator('summary').click();
    await channel.locator('input').first().fill('a/b');
    await channel.locator('button[type=submit]').click();
    await channel.locator('pre').filter({ hasText: '"channel": "a/b"' }).waitFor();
    await channel.locator('input').first().fill('<img src=x>');
    await channel.locator('button[type=submit]').click();
    await channel.locator('pre').filter({ hasText: '"channel": "<img src=x>"' }).waitFor();
    assert.equal(await page.locator('main img').count(), 0, 'an answer is not markup');
  });
});
