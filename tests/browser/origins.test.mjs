// Browsers' rules as a real browser plays them: cookies over polling and websocket on the server's own origin, and pages
// of another origin, which get nowhere.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { jwt, newKey, service, serving } from '../e2e/stage.mjs';
import { eventually } from '../e2e/waiting.mjs';
import { launch } from './chromium.mjs';

const key = newKey('HS256');
const suite = { undo: [], after: (undo) => suite.undo.unshift(undo) };
const WAYS = { polling: ['polling'], websocket: ['websocket'], 'polling, then websocket': ['polling', 'websocket'] };
let server;
let browser;

before(async () => {
  // Its own origin is listed by itself, as it listens on this machine; no other is.
  server = await serving(suite, `
    [app.desk]
    origins = ["https://pages.example"]
    [app.desk.auth]
    from = ["cookie.sid"]
    [app.desk.auth.jwt]
    algorithms = ["HS256"]
    secret = "${key.secret}"
    [app.desk.identity]
    user = "claims.sub"
    [app.desk.connect]
    reply = { event = "hello", data = "{'user': user.id}" }
  `);
  browser = await launch();
  suite.after(() => browser.close());
});
after(async () => { for (const undo of suite.undo) await undo(); });

/** A page of `url` with the stock client, in a browser that has a cookie for the server. */
async function visit(t, url) {
  // The server's own pages let no test bring a script along.
  const context = await browser.newContext({ bypassCSP: true });
  t.after(() => context.close());
  await context.addCookies([{ name: 'sid', value: jwt(key, { sub: 'u1' }), url: server.url, httpOnly: true }]);
  const page = await context.newPage();
  await page.goto(url);
  await page.addScriptTag({ url: `${server.url}/socket.io/socket.io.js` });
  return page;
}

/** What a page hears that connects to the server: the user it is taken for, or why it gets nowhere. */
const greeting = (page, transports) => page.evaluate(({ url, transports: wanted }) => new Promise((resolve) => {
  const socket = globalThis.io(url, { transports: wanted, withCredentials: true, forceNew: true, reconnection: false });
  socket.on('hello', ({ user }) => resolve(user));
  socket.on('connect_error', (error) => resolve(`${error.type ?? 'refused'}: ${error.message}`));
}), { url: server.url, transports });

describe('a page of the server\'s own origin', () => {
  for (const [way, transports] of Object.entries(WAYS)) {
    test(`is known by its cookie: ${way}`, async (t) => {
      assert.equal(await greeting(await visit(t, `${server.url}/api/docs`), transports), 'u1');
    });
  }
});

describe('a page of another origin', () => {
  for (const [way, transports] of Object.entries(WAYS)) {
    test(`gets nowhere: ${way}`, async (t) => {
      const other = await service(t, () => ({ body: 'a page of somebody else' }));
      assert.match(await greeting(await visit(t, other.url), transports), /^TransportError: /);
      assert.match(await greeting(await visit(t, other.url.replace('127.0.0.1', 'localhost')), transports), /^TransportError: /);
    });
  }

  test('cannot even begin a session by an image or a script, which bring no Origin', async (t) => {
    const other = await service(t, () => ({ body: 'a page of somebody else' }));
    const page = await visit(t, other.url.replace('127.0.0.1', 'localhost'));
    const refusals = () => server.logs.filter((line) => line.includes('origin_refused')).length;
    const before = refusals();
    await page.evaluate((url) => Promise.all(['img', 'script'].map((kind) => new Promise((resolve) => {
      const element = document.createElement(kind);
      element.onload = element.onerror = resolve;
      element.src = url;
      document.body.append(element);
    }))), `${server.url}/socket.io/?EIO=4&transport=polling`);
    await eventually(() => refusals() === before + 2, 'two refusals');
  });
});
