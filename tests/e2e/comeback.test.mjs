// A client that comes back meets what has changed meanwhile: no room, other rules, an outbox that is too small, a second
// connection that shows the same secret. The bare protocol, because a stock client cannot be brought to most of it.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { WebSocket } from 'ws';
import { ROOT, serve, token } from './harness.mjs';
import { folder, service } from './stage.mjs';
import { Inbox, eventually } from './waiting.mjs';

const JWT = 'jwt = { algorithms = ["HS256"], secret = { env = "JWT_SECRET" } }';
const CONFIG = ({ limits = '', staff = 'true', news = '', auth = JWT, socketio = '' } = {}) => `
[server]
shards = 2
[key.backend]
secret = { env = "OYEZ_API_KEY" }
rights = ["*"]
[app.desk]
origins = ["*"]
auth.${auth}
identity.user = "claims.sub"
[app.desk.socketio]
${socketio}
[app.desk.recovery]
[app.desk.limits]
connects_per_second = "none"
${limits}
[[app.desk.channel]]
name = "news"
subscribe = true
history = 100_000
${news}
[[app.desk.channel]]
name = "staff"
subscribe = ${staff}
history = 100
[app.desk.connect]
join = ["news", "staff"]
`;

/** Serves it, and can change it: `change(parts)`. */
async function serving(t, parts) {
  const path = join(folder(t, { 'oyez.toml': CONFIG(parts) }), 'oyez.toml');
  const server = await serve(relative(ROOT, path));
  t.after(() => server.stop());
  const loaded = () => server.logs.filter((line) => line.includes('config_loaded')).length;
  const change = async (next) => {
    const before = loaded();
    writeFileSync(path, CONFIG(next));
    server.child.kill('SIGHUP');
    await eventually(() => loaded() > before, 'the configuration is read');
  };
  return Object.assign(server, { change });
}

/** One connection with the CONNECT sent: what it hears, its packets without their ids. */
async function client(t, server, auth) {
  const ws = new WebSocket(`${server.ws}/socket.io/?EIO=4&transport=websocket`);
  t.after(() => ws.terminate());
  const heard = new Inbox();
  ws.on('message', (data) => { const text = String(data); if (text === '2') ws.send('3'); heard.put('packet', text); });
  ws.on('close', (code) => heard.put('close', code));
  await heard.take('packet', (text) => text.startsWith('0'));
  ws.send(`40${JSON.stringify({ token: token({ sub: 'ann' }), ...auth })}`);
  const hears = async (prefix) => JSON.parse((await heard.take('packet', (text) => text.startsWith(prefix))).slice(prefix.length));
  const events = () => heard.all('packet').filter((text) => text.startsWith('42')).map((text) => JSON.parse(text.slice(2)));
  const items = () => events().filter(([name]) => name === 'item').map(([, data]) => data.n);
  const cut = async () => { ws.terminate(); await heard.take('close'); };
  return { ws, heard, hears, events, items, cut };
}

const say = (server, to, n, event = 'item') => server.publish(to, event, { n });
const gone = (server) => eventually(async () => (await server.api('/api/v1/connections')).json.connections.length === 0, 'it is cut off');

/** A client that has heard item 0 and been cut off before item 1: what it shows when it comes back. */
async function cutOff(t, server, auth) {
  const first = await client(t, server, auth);
  const { pid, sid } = await first.hears('40');
  await eventually(async () => (await server.api('/api/v1/connections')).json.connections[0]?.channels.length === 2);
  await say(server, 'news', 0);
  const [, , offset] = await first.hears('42');
  await first.cut();
  await gone(server);
  await say(server, 'news', 1);
  return { pid, offset, sid };
}

test('who is refused for want of room still gets everything when there is some', async (t) => {
  const server = await serving(t, { limits: 'connections = 1' });
  const shown = await cutOff(t, server);
  const other = await client(t, server, { token: token({ sub: 'bob' }) });
  await other.hears('40');
  for (let times = 0; times < 3; times += 1) {
    const refused = await client(t, server, shown);
    assert.equal((await refused.hears('44')).data.error, 'app_full');
    await refused.cut();
  }
  await other.cut();
  await gone(server);
  const back = await client(t, server, shown);
  assert.deepEqual(await back.hears('40'), { sid: shown.sid, pid: shown.pid });
  assert.deepEqual(back.items(), [1]);
});

test('who is ended again while its token is looked at still gets everything', async (t) => {
  let answer = () => ({ body: { active: true, sub: 'ann' } });
  const asked = await service(t, () => answer());
  const auth = `introspection = { url = "${asked.url}/", cache = "1s" }`;
  const server = await serving(t, { auth, socketio: 'connect_timeout = "300ms"' });
  const shown = await cutOff(t, server);
  let settle;
  answer = () => new Promise((resolve) => { settle = () => resolve({ body: { active: true, sub: 'ann' } }); });
  const cut = await client(t, server, { ...shown, token: 'another' });
  await eventually(() => settle, 'the token is asked about');
  await cut.heard.take('close');
  answer = () => ({ body: { active: true, sub: 'ann' } });
  settle();
  const back = await client(t, server, { ...shown, token: 'third' });
  assert.deepEqual(await back.hears('40'), { sid: shown.sid, pid: shown.pid });
  assert.deepEqual(back.items(), [1]);
});

test('who comes back under other rules hears only what those allow', async (t) => {
  const server = await serving(t);
  const shown = await cutOff(t, server);
  await say(server, 'staff', 2);
  await server.change({ staff: 'false' });
  const back = await client(t, server, shown);
  assert.equal((await back.hears('40')).sid, shown.sid);
  await say(server, 'staff', 3);
  await say(server, 'news', 4);
  await back.heard.take('packet', (text) => text.includes('"n":4'));
  assert.deepEqual(back.items(), [1, 4]);
});

test('who missed more than may wait for a client hears of a gap, however short each is', async (t) => {
  const server = await serving(t, { limits: 'outbox = "8KiB"' });
  const shown = await cutOff(t, server);
  for (let n = 2; n < 202; n += 1) await say(server, 'news', n);
  const back = await client(t, server, shown);
  assert.notEqual((await back.hears('40')).sid, shown.sid);
  assert.equal((await back.hears('42'))[0], 'gap');
  await say(server, 'news', 999);
  await back.heard.take('packet', (text) => text.includes('"n":999'));
});

test('what a session is told by its id while it is away comes among the rest', async (t) => {
  const server = await serving(t);
  const shown = await cutOff(t, server);
  await say(server, shown.sid, 2);
  await say(server, 'news', 3);
  const back = await client(t, server, shown);
  assert.deepEqual(await back.hears('40'), { sid: shown.sid, pid: shown.pid });
  assert.deepEqual(back.items(), [1, 2, 3]);
});

test('what a session is told by its id reaches it once and in order, however often it comes back meanwhile', async (t) => {
  const server = await serving(t);
  const first = await client(t, server);
  const { pid, sid } = await first.hears('40');
  let said = 0;
  let on = true;
  const talking = (async () => { for (; on; said += 1) await say(server, said % 2 ? sid : 'news', said); })();
  let now = first;
  const all = [];
  for (let round = 0; round < 20; round += 1) {
    await now.heard.take('packet', (text) => text.startsWith('42["item"'));
    const offset = now.events().at(-1).at(-1);
    all.push(...now.items());
    // Every other time its old connection is still there, and the server finds out by its return.
    if (round % 2) now.ws.terminate();
    now = await client(t, server, { pid, offset });
    assert.equal((await now.hears('40')).sid, sid);
  }
  on = false;
  await talking;
  await say(server, sid, said);
  await now.heard.take('packet', (text) => text.includes(`"n":${said}}`));
  all.push(...now.items());
  assert.deepEqual(all, Array.from({ length: said + 1 - all[0] }, (_, index) => all[0] + index));
});

test('what wanted an answer while a client was away is a gap; what was answered is none', async (t) => {
  const server = await serving(t);
  const ask = (to) => server.publish(to, 'question', {}, { ack: { timeout_ms: 5000 } });
  for (const [to, gap] of [['news', { channels: ['news'] }], [(sid) => sid, { channels: [], all: true }]]) {
    const shown = await cutOff(t, server);
    await server.publish(typeof to === 'string' ? to : to(shown.sid), 'question', {}, { ack: { timeout_ms: 1 } });
    const back = await client(t, server, shown);
    assert.notEqual((await back.hears('40')).sid, shown.sid);
    assert.deepEqual((await back.hears('42')).slice(0, 2), ['gap', gap]);
    await back.cut();
    await gone(server);
  }
  const here = await client(t, server);
  const { pid, sid } = await here.hears('40');
  for (const to of ['news', sid]) {
    const asked = ask(to);
    const question = await here.heard.take('packet', (text) => /^42\d+\["question"/.test(text));
    here.ws.send(`43${question.match(/^42(\d+)/)[1]}["yes"]`);
    assert.deepEqual((await asked).answers, ['yes']);
  }
  await here.cut();
  await gone(server);
  await say(server, 'news', 7);
  const back = await client(t, server, { pid });
  assert.equal((await back.hears('40')).sid, sid);
  assert.deepEqual(back.items(), [7]);
});

for (const by of ['user', 'session', 'channel']) {
  test(`who is taken out of a channel while away does not come back into it: by ${by}`, async (t) => {
    const server = await serving(t);
    const shown = await cutOff(t, server);
    await say(server, 'staff', 2);
    const who = { user: 'ann', session: shown.sid, channel: 'staff' }[by];
    assert.equal((await server.api('/api/v1/unsubscribe', { body: { [by]: who, channels: ['news'] } })).status, 200);
    const back = await client(t, server, shown);
    assert.equal((await back.hears('40')).sid, shown.sid);
    await say(server, 'news', 3);
    await say(server, 'staff', 4);
    await back.heard.take('packet', (text) => text.includes('"n":4'));
    assert.deepEqual(back.items(), [2, 4]);
  });

  test(`who is disconnected while away begins anew: by ${by}`, async (t) => {
    const server = await serving(t);
    const shown = await cutOff(t, server);
    const who = { user: 'ann', session: shown.sid, channel: 'staff' }[by];
    assert.equal((await server.api('/api/v1/disconnect', { body: { [by]: who } })).status, 200);
    const back = await client(t, server, shown);
    assert.notEqual((await back.hears('40')).sid, shown.sid);
    assert.deepEqual((await back.hears('42')).slice(0, 2), ['gap', { channels: [], all: true }]);
    await say(server, 'news', 3);
    await back.heard.take('packet', (text) => text.includes('"n":3'));
    assert.deepEqual(back.items(), [3]);
  });
}

test('who is put into a channel while away gets what is said there from then on', async (t) => {
  const server = await serving(t, { news: '[[app.desk.channel]]\nname = "late"\nsubscribe = false\nhistory = 10' });
  const shown = await cutOff(t, server);
  await say(server, 'late', 2);
  assert.equal((await server.api('/api/v1/subscribe', { body: { user: 'ann', channels: ['late'] } })).status, 200);
  await say(server, 'late', 3);
  const back = await client(t, server, shown);
  assert.equal((await back.hears('40')).sid, shown.sid);
  await say(server, 'late', 4);
  await back.heard.take('packet', (text) => text.includes('"n":4'));
  assert.deepEqual(back.items(), [1, 3, 4]);
});

test('a token that is revoked while its client is away brings nobody back; a new one of the same user does', async (t) => {
  const server = await serving(t);
  const old = token({ sub: 'ann' }, { jwtid: 'lost' });
  const shown = await cutOff(t, server, { token: old });
  assert.equal((await server.api('/api/v1/revoke', { body: { token_id: 'lost' } })).status, 200);
  const refused = await client(t, server, { ...shown, token: old });
  assert.match((await refused.hears('44')).message, /./);
  await refused.cut();
  const back = await client(t, server, { ...shown, token: token({ sub: 'ann' }, { jwtid: 'new' }) });
  assert.deepEqual(await back.hears('40'), { sid: shown.sid, pid: shown.pid });
  assert.deepEqual(back.items(), [1]);
});

test('who is cut off while a backend is still asked about a new rule is asked about again', async (t) => {
  let deny;
  const denied = new Promise((resolve) => { deny = () => resolve({ body: { allow: false } }); });
  const backend = await service(t, () => denied);
  const server = await serving(t);
  const first = await client(t, server);
  const { pid, sid } = await first.hears('40');
  await eventually(async () => (await server.api('/api/v1/connections')).json.connections[0]?.channels.length === 2);
  await server.change({ staff: `{ ask = "${backend.url}/may", cache = "0s", timeout = "20s", private = true }` });
  await eventually(() => backend.calls.length > 0, 'the backend is asked');
  await first.cut();
  await gone(server);
  await say(server, 'staff', 1);
  await say(server, 'news', 2);
  deny();
  const back = await client(t, server, { pid });
  assert.equal((await back.hears('40')).sid, sid);
  await say(server, 'staff', 3);
  await say(server, 'news', 4);
  await back.heard.take('packet', (text) => text.includes('"n":4'));
  assert.deepEqual(back.items(), [2, 4]);
});

test('who is cut off before it is in its channels begins anew', async (t) => {
  let allow;
  const allowed = new Promise((resolve) => { allow = () => resolve({ body: { allow: true } }); });
  const backend = await service(t, () => allowed);
  const server = await serving(t, { staff: `{ ask = "${backend.url}/may", cache = "0s", timeout = "20s", private = true }` });
  const first = await client(t, server);
  const { pid, sid } = await first.hears('40');
  await eventually(() => backend.calls.length > 0, 'the backend is asked');
  await first.cut();
  await say(server, 'news', 0);
  const back = await client(t, server, { pid });
  assert.notEqual((await back.hears('40')).sid, sid);
  await say(server, 'staff', 1);
  allow();
  await back.heard.take('packet', (text) => text.startsWith('42["gap",{"channels":[],"all":true}'));
  await say(server, 'staff', 2);
  await back.heard.take('packet', (text) => text.includes('"n":2'));
  assert.deepEqual(back.items(), [2]);
});

test('who is cut off before a gap reaches it hears of it when it comes back', async (t) => {
  const server = await serving(t);
  const shown = await cutOff(t, server);
  for (let n = 2; n <= 102; n += 1) await say(server, 'staff', n);
  // The server has said it, but this client does not show that it has heard it.
  let { pid } = shown;
  for (let time = 0; time < 3; time += 1) {
    const back = await client(t, server, { pid, offset: shown.offset });
    const begun = await back.hears('40');
    assert.notEqual(begun.sid, shown.sid);
    await back.heard.take('packet', (text) => text.startsWith('42["gap",{"channels":["news","staff"]}'));
    await say(server, 'news', 200 + time);
    await back.heard.take('packet', (text) => text.includes(`"n":${200 + time}`));
    assert.deepEqual(back.events()[0], ['gap', { channels: ['news', 'staff'] }, back.events()[0][2]]);
    await back.cut();
    await gone(server);
    await say(server, 'news', 300 + time);
    Object.assign(shown, { last: back.events(), begun });
    ({ pid } = begun);
  }
  const [gap, news] = shown.last;
  for (const [offset, items] of [[gap[2], [202, 302]], [news[2], [302]]]) {
    const back = await client(t, server, { pid, offset });
    assert.deepEqual(await back.hears('40'), shown.begun, 'it has heard of it');
    await eventually(() => back.items().length >= items.length);
    assert.deepEqual(back.items(), items);
    await back.cut();
    await gone(server);
  }
});

test('what is said while one that begins anew is put into its channels is named in its gap', async (t) => {
  let allow;
  const allowed = new Promise((resolve) => { allow = () => resolve({ body: { allow: true } }); });
  const backend = await service(t, () => (backend.calls.length > 1 ? allowed : { body: { allow: true } }));
  const server = await serving(t, { staff: `{ ask = "${backend.url}/may", cache = "0s", timeout = "20s", private = true }` });
  const shown = await cutOff(t, server);
  const heard = (await server.api('/api/v1/channels/news/history')).json.offset;
  for (let n = 2; n <= 102; n += 1) await say(server, 'staff', n);
  const back = await client(t, server, { ...shown, offset: heard });
  assert.notEqual((await back.hears('40')).sid, shown.sid);
  await eventually(() => backend.calls.length > 1, 'the backend is asked');
  // It has not been put into this channel, either, or hears it: both will do.
  await say(server, 'news', 103);
  allow();
  await back.heard.take('packet', (text) => text.startsWith('42["gap",{"channels":["news","staff"]}'));
});
