// The history of channels, where nodes share a store: whichever of them said it, and whichever is asked.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { WebSocket } from 'ws';
import { ROOT, connect, connected } from './harness.mjs';
import { cluster, until } from './company.mjs';
import { CONFIG, RECOVERY, range, user } from './remembering.mjs';
import { folder } from './stage.mjs';
import { Inbox } from './waiting.mjs';

const shared = (t, count) => {
  const config = relative(ROOT, join(folder(t, { 'oyez.toml': CONFIG(RECOVERY) }), 'oyez.toml'));
  return cluster(t, count, { config, args: (at, { url }) => ['--store', url] });
};

const read = (node, channel, query = '', options = {}) => node.api(`/api/v1/channels/${channel}/history${query}`, options);
const numbers = ({ json }) => json.publications.map(({ data }) => data.n);

/** A plain WebSocket that has joined room:a since a place. */
async function watcher(t, node, since) {
  const socket = new WebSocket(`${node.ws}/ws?token=${user('raw', ['a'])}`);
  t.after(() => socket.terminate());
  const heard = new Inbox();
  socket.on('message', (data) => { const frame = JSON.parse(data); heard.put(frame.type, frame); });
  await heard.take('welcome');
  socket.send(JSON.stringify({ type: 'watch', room: 'a', since }));
  await heard.take('watching');
  return heard;
}

test('all nodes say the same of the past, in one order, and a place that one gave counts on the others', async (t) => {
  const { nodes } = await shared(t, 3);
  for (let n = 0; n < 12; n += 1) await nodes[n % 3].publish('news', 'item', { n });
  const [first, ...others] = await Promise.all(nodes.map((node) => read(node, 'news')));
  assert.deepEqual(numbers(first), range(0, 12));
  assert.equal(first.json.gap, false);
  for (const other of others) assert.deepEqual(other.json.publications, first.json.publications);
  const since = first.json.publications[8].offset;
  for (const node of nodes) {
    const rest = await read(node, 'news', `?since=${since}`);
    assert.deepEqual([numbers(rest), rest.json.gap, rest.json.more], [[9, 10, 11], false, false]);
    const page = await read(node, 'news', `?since=${since}&limit=2`);
    assert.deepEqual([numbers(page), page.json.more], [[9, 10], true]);
    assert.equal(page.json.offset, page.json.publications[1].offset);
  }
  // Bounded by the rule, and with word of what is lost.
  for (let n = 0; n < 4; n += 1) await nodes[n % 3].publish('few', 'item', { n });
  const few = await read(nodes[0], 'few');
  assert.deepEqual(numbers(few), [2, 3]);
  for (const [place, gap] of [[first.json.offset, true], [few.json.publications[0].offset, false]]) assert.equal((await read(nodes[1], 'few', `?since=${place}`)).json.gap, gap);
});

test('a page that polls is answered by any node, and waits on any', async (t) => {
  const { nodes: [a, b, c] } = await shared(t, 3);
  await a.publish('user:ann', 'item', { n: 0 });
  const token = user('ann');
  const known = await fetch(`${b.url}/api/v1/channels/user:ann/history`, { headers: { authorization: `Bearer ${token}` } });
  const { offset, publications } = await known.json();
  assert.deepEqual(publications.map(({ data }) => data.n), [0]);
  const tag = known.headers.get('etag');
  const again = await fetch(`${c.url}/api/v1/channels/user:ann/history`, { headers: { authorization: `Bearer ${token}`, 'if-none-match': tag } });
  assert.equal(again.status, 304);
  const waiting = read(c, 'user:ann', `?since=${offset}&wait=20`, { token });
  await a.publish('user:ann', 'item', { n: 1 });
  assert.deepEqual(numbers(await waiting), [1]);
  assert.equal((await read(b, 'user:ann', '', { token: user('bob') })).status, 403);
});

test('a node that is killed takes nothing along, nor do all of them', async (t) => {
  const { nodes, start, know } = await shared(t, 2);
  await nodes[0].publish('news', 'item', { n: 0 });
  const { offset } = (await read(nodes[1], 'news')).json;
  await nodes[0].publish('news', 'item', { n: 1 });
  for (const node of nodes) {
    node.child.kill('SIGKILL');
    await node.exited;
  }
  const next = await start(2);
  await know([next]);
  await next.publish('news', 'item', { n: 2 });
  const past = await read(next, 'news', `?since=${offset}`);
  assert.deepEqual([numbers(past), past.json.gap], [[1, 2], false]);
});

test('a plain WebSocket goes on, on any node, from where a page has read: nothing is lost, nothing comes twice', async (t) => {
  const { nodes } = await shared(t, 3);
  const COUNT = 200;
  // Whoever joins the room is in `news` all the while: nothing there may be taken for what the page had.
  const talk = async (node, at, to) => { for (let n = 0; n < COUNT; n += 1) await node.publish(to, to === 'news' ? 'headline' : 'item', { at, n }); };
  const talking = nodes.flatMap((node, at) => ['room:a', 'news'].map((to) => talk(node, at, to)));
  let over = false;
  Promise.all(talking).then(() => { over = true; });
  let rounds = 0;
  const joined = [];
  for (; !over || rounds < 3; rounds += 1) {
    const past = await read(nodes[rounds % 3], 'room:a');
    joined.push({ past: past.json.publications.map(({ data }) => data), heard: await watcher(t, nodes[(rounds + 1) % 3], past.json.offset) });
  }
  await Promise.all(talking);
  t.diagnostic(`${rounds} pages were read and gone on from`);
  for (const [at, node] of nodes.entries()) for (const [to, event] of [['room:a', 'item'], ['news', 'headline']]) await node.publish(to, event, { at, n: COUNT });
  for (const { past, heard } of joined) {
    for (const at of [0, 1, 2]) {
      await heard.take('headline', ({ data }) => data.at === at && data.n === COUNT);
      const news = heard.all('headline').map(({ data }) => data).filter((item) => item.at === at).map(({ n }) => n);
      assert.deepEqual(news, range(news[0], COUNT + 1 - news[0]));
      await heard.take('item', ({ data }) => data.at === at && data.n === COUNT);
      const all = [...past, ...heard.all('item').map(({ data }) => data)].filter((item) => item.at === at).map(({ n }) => n);
      assert.deepEqual(all, range(all[0], COUNT + 1 - all[0]));
    }
    assert.deepEqual(heard.all('gap'), []);
  }
});

test('a plain WebSocket gets of a channel that it joins only what it would have heard there', async (t) => {
  const { nodes: [a, b] } = await shared(t, 2);
  await a.publish('room:a', 'item', { n: 0 });
  const since = (await read(a, 'room:a')).json.offset;
  await a.publish(['room:a', 'room:b'], 'item', { n: 1 });
  await a.publish(['room:b'], 'item', { n: 2 });
  await a.publish(['room:a', 'room:b'], 'item', { n: 3 }, { except: ['room:a'] });
  await a.publish(['room:a', 'room:b'], 'item', { n: 4 }, { audience: { rooms: ['z'] } });
  await a.publish('room:a', 'item', { n: 5 });
  const heard = await watcher(t, b, since);
  assert.deepEqual(heard.all('item').map(({ data }) => data.n), [1, 5]);
  assert.deepEqual(heard.all('gap'), []);
  // An answer cannot be wanted twice.
  const ann = connect(a.url, { auth: { token: user('ann', ['a']) }, transports: ['websocket'] });
  t.after(() => ann.disconnect());
  ann.on('question', (...args) => args.at(-1)('yes'));
  await connected(ann);
  await ann.emitWithAck('join', ['room:a']);
  const { offset } = (await read(a, 'room:a')).json;
  const { json } = await a.api('/api/v1/publish', { body: { to: 'room:a', event: 'question', data: {}, ack: { timeout_ms: 5000 } } });
  assert.deepEqual(json.answers.flat().filter((answer) => answer === 'yes'), ['yes']);
  const late = await watcher(t, b, offset);
  assert.equal(late.all('gap').length, 1);
});

test('a channel that is named twice is one', async (t) => {
  const { nodes: [a, b] } = await shared(t, 2);
  await a.publish('room:a', 'item', { n: 0 });
  const since = (await read(b, 'room:a')).json.offset;
  await a.publish(['room:a', 'room:b', 'room:a'], 'item', { n: 1 });
  for (const [node, room] of [[a, 'room:a'], [b, 'room:a'], [b, 'room:b']]) {
    const rest = await read(node, room, `?since=${since}`);
    assert.deepEqual([numbers(rest), rest.json.gap], [[1], false]);
  }
  assert.equal((await a.api('/readyz')).status, 200);
});

test('a reload that takes the history from a channel, and one that gives it back, are a gap', async (t) => {
  const file = join(folder(t, { 'oyez.toml': CONFIG(RECOVERY) }), 'oyez.toml');
  const { nodes: [a, b] } = await cluster(t, 2, { config: relative(ROOT, file), args: (at, { url }) => ['--store', url] });
  const reload = async (text) => {
    writeFileSync(file, text);
    for (const node of [a, b]) {
      const before = node.logs.filter((line) => line.includes('config_loaded')).length;
      node.child.kill('SIGHUP');
      await until(() => node.logs.filter((line) => line.includes('config_loaded')).length > before, 'it has read the file');
    }
  };
  await a.publish('room:a', 'item', { n: 0 });
  const since = (await read(b, 'room:a')).json.offset;
  await reload(CONFIG(RECOVERY).replace('subscribe = "id in user.rooms"\nhistory = 100', 'subscribe = "id in user.rooms"'));
  await a.publish('room:a', 'item', { n: 1 });
  assert.equal((await read(a, 'room:a')).status, 404);
  await reload(CONFIG(RECOVERY));
  await a.publish('room:a', 'item', { n: 2 });
  for (const node of [a, b]) assert.equal((await read(node, 'room:a', `?since=${since}`)).json.gap, true);
});

test('without the store what is said is delivered all the same; then all are told that something is missing', async (t) => {
  const { engine, nodes: [a, b] } = await shared(t, 2);
  const ann = connect(a.url, { auth: { token: user('ann') }, transports: ['websocket'] });
  t.after(() => ann.disconnect());
  const heard = Inbox.of(ann);
  await connected(ann);
  await heard.take('welcome');
  await a.publish('news', 'item', { n: 0 });
  const { offset } = (await read(b, 'news')).json;
  await engine.stop();
  const answer = await a.publish('news', 'item', { n: 1 });
  assert.equal(answer.level, 'accepted');
  await heard.take('item', ({ n }) => n === 1);
  const refused = await read(a, 'news');
  assert.equal(refused.status, 503);
  assert.match(refused.json.error.message, /redis|store/i);
  await engine.start();
  for (const node of [a, b]) await until(async () => (await node.api('/readyz')).status === 200, 'it is green');
  await until(async () => (await read(b, 'news', `?since=${offset}`)).status === 200, 'it is read again');
  // Redis has forgotten all, and whoever had read before is told so.
  const past = await read(b, 'news', `?since=${offset}`);
  assert.equal(past.json.gap, true);
  await a.publish('news', 'item', { n: 2 });
  const rest = await read(b, 'news', `?since=${past.json.offset}`);
  assert.deepEqual([numbers(rest), rest.json.gap], [[2], false]);
});
