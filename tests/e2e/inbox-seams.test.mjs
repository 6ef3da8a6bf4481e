// Where catching up meets everything else: other namespaces of the connection, a narrow outbox, what becomes due, rosters that
// change, messages that lie in several places.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { Manager } from 'socket.io-client';
import { connect, connected, next, token } from './harness.mjs';
import { CONFIG, ENV, SMALL, device, directory, user } from './keeping.mjs';
import { range } from './remembering.mjs';
import { serving } from './stage.mjs';
import { unique } from './steps.mjs';

const TWIN = `
[app.twin]
origins = ["*"]
[app.twin.socketio]
namespace = "/twin"
[app.twin.auth.jwt]
algorithms = ["HS256"]
secret = { env = "JWT_SECRET" }
[app.twin.identity]
user = "claims.sub"
[app.twin.inbox]
[[app.twin.channel]]
name = "user:{id}"
inbox = "{id}"
`;

describe('an inbox', () => {
  const stage = { ends: [] };
  before(async () => {
    const suite = { after: (end) => stage.ends.push(end) };
    stage.server = await serving(suite, CONFIG({ more: TWIN }), { env: ENV, args: ['--data-dir', directory(suite)] });
  });
  after(async () => { for (const end of stage.ends.reverse()) await end(); });

  const notice = (to, n, more = {}) => stage.server.publish(to, 'notice', { n }, { app: 'desk', ...more });
  const ok = async (path, options) => {
    const answer = await stage.server.api(path, options);
    assert.equal(answer.status, 200, answer.text);
    return answer.json;
  };
  const roster = (method, who) => ok('/api/v1/channels/team:red/roster', { method, body: { app: 'desk', users: [who] } });
  /** What a socket hears of `event`, by number, and a promise of having heard `last`. */
  const hearing = (socket, event, last) => {
    const heard = [];
    const all = new Promise((resolve) => { socket.on(event, ({ n }) => { heard.push(n); if (n === last) resolve(); }); });
    return { heard, all };
  };

  test('catches up in all namespaces of one connection, and hears live in all of them', async (t) => {
    const who = unique('ann');
    // More than one answer to a poll holds, in both: they wait for the client side by side.
    const publish = (app, n) => stage.server.publish(`user:${who}`, 'notice', { n }, { app, delivery: 'durable' });
    for (const n of range(0, 40)) await publish('desk', n);
    for (const n of range(40 - SMALL, SMALL)) await publish('small', n);
    const manager = new Manager(stage.server.url, { transports: ['polling'], reconnection: false });
    const desk = manager.socket('/', { auth: { token: user(who) } });
    const small = manager.socket('/small', { auth: { token: token({ sub: who }, { secret: ENV.SMALL_SECRET }) } });
    t.after(() => { desk.disconnect(); small.disconnect(); });
    const [ears, live] = [39, 40].map((last) => [desk, small].map((socket) => hearing(socket, 'notice', last)));
    desk.connect();
    small.connect();
    await Promise.all(ears.map(({ all }) => all));
    await publish('desk', 40);
    await publish('small', 40);
    await Promise.all(live.map(({ all }) => all));
    assert.deepEqual(ears.map(({ heard }) => heard), [range(0, 41), range(40 - SMALL, SMALL + 1)]);
  });

  for (const transport of ['websocket', 'polling']) {
    test(`hands over by ${transport} what is more than waits for one client`, async (t) => {
      const who = unique('ann');
      const filler = 'x'.repeat(30_000);
      for (const n of range(0, 90)) await stage.server.publish(`user:${who}`, 'notice', { n, filler }, { app: 'desk' });
      const socket = connect(stage.server.url, { auth: { token: user(who) }, transports: [transport] });
      t.after(() => socket.disconnect());
      const { heard, all } = hearing(socket, 'notice', 89);
      await Promise.race([all, new Promise((_, reject) => { socket.on('disconnect', (why) => reject(new Error(why))); })]);
      assert.deepEqual(heard, range(0, 90));
    });
  }

  test('has an urgent one overtake what comes faster than its client polls', async () => {
    const who = unique('ann');
    await notice(`user:${who}`, 0);
    const url = `${stage.server.url}/socket.io/?EIO=4&transport=polling`;
    const poll = async (query, options) => (await (await fetch(url + query, options)).text()).split('\x1e');
    const [open] = await poll('');
    const session = `&sid=${JSON.parse(open.slice(1)).sid}`;
    await poll(session, { method: 'POST', body: `40${JSON.stringify({ token: user(who) })}` });
    const heard = [];
    // One answer takes fewer than these, so there is always something left.
    const tick = () => stage.server.publish(`user:${who}`, 'tick', 0, { app: 'desk' });
    const round = async () => {
      await Promise.all(range(0, 30).map(tick));
      heard.push(...await poll(session));
    };
    await round();
    await round();
    await stage.server.publish(`user:${who}`, 'notice', { n: 1 }, { app: 'desk', priority: 'urgent' });
    for (const _ of range(0, 3)) await round();
    const notices = heard.filter((packet) => packet.includes('"notice"')).map((packet) => packet.replace(/^42\d+/, ''));
    assert.deepEqual(notices, ['["notice",{"n":0}]', '["notice",{"n":1}]']);
  });

  test('is heard in the store’s order, also what becomes due', async (t) => {
    const who = unique('ann');
    const here = await device(t, stage.server, who);
    const { heard, all } = hearing(here, 'notice', 'last');
    let n = 0;
    await Promise.all(range(0, 8).map(async () => {
      while (n < 600) await notice(`user:${who}`, n += 1, n % 4 === 0 ? { deliver_at: Date.now() + 40 } : {});
    }));
    await notice(`user:${who}`, 'last', { deliver_at: Date.now() + 100 });
    await all;
    const { messages } = await ok(`/api/v1/inbox?app=desk&user=${who}&order=oldest&limit=1000`);
    assert.deepEqual(heard, messages.map(({ data }) => data.n));
  });

  test('has everybody hear a roster who was put on it while they connected, and nobody who was taken off', async (t) => {
    for (const method of ['PUT', 'DELETE']) {
      for (const round of range(0, 15)) {
        const who = unique('ann');
        if (method === 'DELETE') await roster('PUT', who);
        const coming = device(t, stage.server, who, { teams: ['red'] });
        for (let later = 0; later < round; later += 1) await stage.server.api('/readyz');
        await roster(method, who);
        const here = await coming;
        const { heard, all } = hearing(here, 'notice', 'own');
        await notice('team:red', 'team');
        await notice(`user:${who}`, 'own');
        await all;
        assert.deepEqual(heard.filter((n) => n !== 'own'), method === 'PUT' ? ['team'] : [], `${method} after ${round} requests`);
      }
    }
  });

  test('brings of a channel what was said between coming onto its roster and going off it, and nothing else', async (t) => {
    const who = unique('ann');
    const here = await device(t, stage.server, who, { teams: ['red'] });
    const { heard, all } = hearing(here, 'notice', 'last');
    for (const round of range(0, 100)) {
      await notice('team:red', 'before');
      await roster('PUT', who);
      await notice('team:red', round);
      await roster('DELETE', who);
    }
    await notice(`user:${who}`, 'last');
    await all;
    assert.deepEqual(heard, [...range(0, 100), 'last']);
  });

  test('counts and shows a message once that lies in several places', async (t) => {
    const who = unique('ann');
    await roster('PUT', who);
    for (const n of range(0, 3)) await notice([`user:${who}`, 'team:red'], n);
    const own = `app=desk&user=${who}`;
    assert.deepEqual(await ok(`/api/v1/inbox/unread?${own}`), { count: 3 });
    for (const [order, expect] of [['oldest', [0, 1, 2]], ['newest', [2, 1, 0]]]) {
      const shown = [];
      for (let cursor = ''; cursor !== undefined;) {
        const { messages, next: more } = await ok(`/api/v1/inbox?${own}&order=${order}&limit=1${cursor && `&cursor=${cursor}`}`);
        shown.push(...messages.map(({ data }) => data.n));
        cursor = more;
      }
      assert.deepEqual(shown, expect);
    }
    const { messages } = await ok(`/api/v1/inbox?${own}&order=oldest`);
    const marked = await ok('/api/v1/inbox/mark', { body: { app: 'desk', user: who, up_to: messages[1].id, state: 'read' } });
    assert.deepEqual(marked, { changed: 2, unknown: [] });
    const here = connect(stage.server.url, { auth: { token: user(who, ['red']) } });
    t.after(() => here.disconnect());
    const { heard } = hearing(here, 'notice');
    const counted = next(here, 'unread-count');
    await connected(here);
    assert.deepEqual(await counted, [{ count: 1 }]);
    assert.deepEqual(heard, [2]);
  });

  test('is that of the app which is named, where several accept a token', async () => {
    const who = unique('ann');
    await notice(`user:${who}`, 'desk');
    await stage.server.publish(`user:${who}`, 'notice', { n: 'twin' }, { app: 'twin', delivery: 'durable' });
    const own = { token: user(who) };
    const listed = async (app) => (await ok(`/api/v1/inbox${app && `?app=${app}`}`, own)).messages.map(({ data }) => data.n);
    assert.deepEqual([await listed(''), await listed('desk'), await listed('twin')], [['desk'], ['desk'], ['twin']]);
    const marked = await ok('/api/v1/inbox/mark', { ...own, body: { app: 'twin', all: true, state: 'read' } });
    assert.equal(marked.changed, 1);
    assert.deepEqual(await ok('/api/v1/inbox/unread?app=desk', own), { count: 1 });
    for (const app of ['small', 'none']) {
      assert.equal((await stage.server.api(`/api/v1/inbox?app=${app}`, own)).status, 401);
    }
  });
});

test('what becomes durable while a client joins its channels comes once', async (t) => {
  let asked;
  const asks = new Promise((resolve) => { asked = resolve; });
  const backend = createServer((request, response) => asked(() => response.setHeader('content-type', 'application/json').end('{"allow":true}')));
  await new Promise((resolve) => backend.listen(0, '127.0.0.1', resolve));
  t.after(() => backend.close());
  const server = await serving(t, `
[key.backend]
secret = { env = "OYEZ_API_KEY" }
[app.desk]
origins = ["*"]
[app.desk.socketio]
[app.desk.auth.jwt]
algorithms = ["HS256"]
secret = { env = "JWT_SECRET" }
[app.desk.identity]
user = "claims.sub"
[app.desk.inbox]
[app.desk.connect]
join = ["user:{user.id}", "slow"]
reply = { event = "welcome" }
[[app.desk.channel]]
name = "user:{id}"
subscribe = "id == user.id"
inbox = "{id}"
[[app.desk.channel]]
name = "slow"
subscribe = { ask = "http://127.0.0.1:${backend.address().port}/may", timeout = "20s", private = true }
`, { args: ['--data-dir', directory(t)] });
  const socket = connect(server.url, { auth: { token: token({ sub: 'ann' }) }, transports: ['websocket'] });
  t.after(() => socket.disconnect());
  const heard = [];
  socket.on('notice', ({ n }, ack) => { heard.push([n, typeof ack]); ack?.(); });
  const answer = await asks;
  await server.publish('user:ann', 'notice', { n: 1 }, { delivery: 'durable' });
  const welcome = next(socket, 'welcome');
  answer();
  await welcome;
  const last = next(socket, 'last');
  await server.publish('user:ann', 'notice', { n: 2 }, { delivery: 'durable' });
  await server.publish('user:ann', 'last', {}, { delivery: 'durable' });
  await last;
  assert.deepEqual(heard, [[1, 'function'], [2, 'function']]);
});
