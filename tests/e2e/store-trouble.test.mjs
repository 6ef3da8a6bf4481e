// A data directory that becomes read-only, goes away or fails while the server runs: what is durable is refused in words,
// everything else goes on, and nothing that was stored is lost.
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { connect, connected, next } from './harness.mjs';
import { CONFIG, ENV, device, directory, user } from './keeping.mjs';
import { VARIABLES, apart, apartFails, starting } from './namespaces.mjs';
import { range } from './remembering.mjs';
import { run, serving } from './stage.mjs';
import { eventually } from './waiting.mjs';

const publish = (server, data, more = {}) => server.api('/api/v1/publish', { body: { app: 'desk', to: 'user:ann', event: 'notice', data, ...more } });
const ready = async (server) => (await server.api('/readyz', { token: null })).status === 200;
const logged = (server, event) => server.logs.filter((line) => line.includes(event)).length;

/** A server on `dir`, with `count` messages for ann: `n` of each, the first of them read. */
async function filled(server, count) {
  for (const n of range(0, count)) assert.equal((await publish(server, n, { level: n % 2 ? 'synced' : 'stored' })).json.level, n % 2 ? 'synced' : 'stored');
}

/** What lies in ann's inbox. */
async function kept(server) {
  const { json, text } = await server.api('/api/v1/inbox?order=oldest&limit=1000', { token: user('ann') });
  assert.ok(json.messages, text);
  return json.messages.map(({ data }) => data);
}

/** Nothing durable is taken, in these words; what is live is heard, what is stored is read, and who comes gets it. */
async function refuses(t, server, phone, words, stored) {
  for (const more of [{}, { level: 'synced' }, { deliver_at: Date.now() + 3_600_000 }, { id: 'again' }]) {
    const { status, json, text } = await publish(server, 'refused', more);
    assert.deepEqual([status, json.error?.code], [503, 'store_failed'], text);
    assert.match(json.error.message, words);
  }
  const readiness = await server.api('/readyz', { token: null });
  assert.equal(readiness.status, 503);
  assert.deepEqual(readiness.json.reasons.map(({ reason }) => reason), ['store']);
  assert.match(readiness.json.reasons[0].message, words);
  assert.match((await server.api('/metrics', { token: null })).text, /^oyez_store_working 0(\.0)?$/m);
  assert.equal(logged(server, 'store_trouble'), 1, 'it is logged once');
  await server.publish('user:ann', 'ping', 'live', { app: 'desk' });
  assert.equal(await phone.heard.take('ping'), 'live');
  assert.deepEqual(await kept(server), stored);
  const late = await device(t, server, 'ann');
  await late.heard.take('unread-count');
  assert.deepEqual(late.heard.all('notice'), stored);
  for (const [path, body] of [['mark', { all: true, state: 'read' }], ['delete', { ids: ['again'] }]]) {
    const { status, json, text } = await server.api(`/api/v1/inbox/${path}`, { token: user('ann'), body });
    assert.deepEqual([status, json.error?.code], [503, 'store_failed'], text);
  }
  const roster = await server.api('/api/v1/channels/team:red/roster', { method: 'PUT', body: { app: 'desk', users: ['ann'] } });
  assert.deepEqual([roster.status, roster.json.error?.code], [503, 'store_failed'], roster.text);
}

/** It is well again, and what was refused may be published again. */
async function recovers(server, phone, stored) {
  await eventually(() => ready(server), 'ready again, by itself', 15_000);
  const { json } = await publish(server, 'after', { id: 'again', level: 'synced' });
  assert.deepEqual([json.level, json.duplicate], ['synced', undefined]);
  assert.equal(await phone.heard.take('notice', (data) => data === 'after'), 'after');
  assert.equal(logged(server, 'store_recovered'), 1);
  assert.deepEqual(await kept(server), [...stored, 'after']);
  assert.ok(!phone.heard.all('notice').includes('refused'));
}

test('a data directory that becomes read-only is told, and used again when it is not', { skip: apartFails() }, async (t) => {
  const dir = directory(t);
  const server = await apart(t, 'true', dir, CONFIG());
  await filled(server, 20);
  const phone = await device(t, server, 'ann');
  server.inside(`mount --bind ${dir} ${dir} && mount -o remount,bind,ro ${dir}`);
  await eventually(async () => !await ready(server), 'not ready, though nobody publishes', 15_000);
  await refuses(t, server, phone, /cannot be written: .*read-only.*; make it writable for the user that runs the server/, range(0, 20));
  server.inside(`umount ${dir}`);
  await recovers(server, phone, range(0, 20));
});

for (const [what, away, back] of [
  ['another directory is mounted over', (dir, server) => server.inside(`mount -t tmpfs none ${dir}`), (dir, server) => server.inside(`umount ${dir}`)],
  ['is moved away', (dir) => renameSync(dir, `${dir}-away`), (dir) => renameSync(`${dir}-away`, dir)],
  ['is moved away, with another one in its place,', (dir) => { renameSync(dir, `${dir}-away`); mkdirSync(dir); }, (dir) => { rmSync(dir, { recursive: true }); renameSync(`${dir}-away`, dir); }],
]) {
  test(`a data directory that ${what} is told, and used again when it is back`, { skip: apartFails() }, async (t) => {
    const dir = directory(t);
    t.after(() => rmSync(`${dir}-away`, { recursive: true, force: true }));
    const server = await apart(t, 'true', dir, CONFIG());
    await filled(server, 20);
    const phone = await device(t, server, 'ann');
    away(dir, server);
    await eventually(async () => !await ready(server), 'not ready, though nobody publishes', 15_000);
    await refuses(t, server, phone, /is not there any more, or .*; put it back/, range(0, 20));
    back(dir, server);
    await recovers(server, phone, range(0, 20));
    assert.equal(await server.stop(), 0);
    const again = await serving(t, CONFIG(), { env: ENV, args: ['--data-dir', dir] });
    assert.deepEqual(await kept(again), [...range(0, 20), 'after']);
  });
}

for (const what of ['', 'engine']) {
  test(`a data directory whose ${what || 'content'} is deleted has nothing more put into it`, async (t) => {
    const dir = directory(t);
    const server = await serving(t, CONFIG(), { env: ENV, args: ['--data-dir', dir] });
    await filled(server, 20);
    const phone = await device(t, server, 'ann');
    for (const name of what ? [what] : readdirSync(dir)) rmSync(join(dir, name), { recursive: true });
    await refuses(t, server, phone, /is not there any more, or .*; put it back/, range(0, 20));
    // What is gone is gone; a restart begins anew, and says nothing of what it does not know. What it knows of it says.
    assert.equal(await server.stop(), 0);
    if (what) {
      const { code, stderr } = await run(starting(t, dir, CONFIG()), VARIABLES);
      assert.equal(code, 1, stderr);
      assert.match(stderr, /a part of the store is missing: .*engine; .*move .* away/);
      for (const name of readdirSync(dir)) rmSync(join(dir, name), { recursive: true });
    }
    const again = await serving(t, CONFIG(), { env: ENV, args: ['--data-dir', dir] });
    assert.deepEqual(await kept(again), []);
    assert.equal((await publish(again, 'new')).json.level, 'stored');
  });
}

/** Why the system's calls cannot be made to fail here. */
const strace = () => (spawnSync('strace', ['-V']).status === 0 ? false : 'no strace here');

/** From now on `calls` on the engine's log fail with `error`, until what is returned is called. */
async function failing(t, server, dir, calls, error) {
  const log = readdirSync(join(dir, 'engine'), { recursive: true }).find((name) => name.endsWith('.jnl'));
  const args = ['-f', '-p', String(server.child.pid), '-P', join(dir, 'engine', log), '-e', `inject=${calls}:error=${error}`];
  const child = spawn('strace', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  t.after(() => child.kill());
  let said = '';
  child.stderr.on('data', (text) => { said += text; });
  await eventually(() => said.includes('attached'), `strace attaches: ${said}`);
  return async () => {
    child.kill();
    if (child.exitCode === null && child.signalCode === null) await next(child, 'exit');
  };
}

for (const [calls, error] of [['write,writev,pwrite64', 'EROFS'], ['write,writev,pwrite64', 'ENOSPC'], ['write,writev,pwrite64', 'EIO'], ['fsync,fdatasync', 'EIO']]) {
  test(`a log whose ${calls} fails with ${error} is not written any more before a restart, and lacks nothing then`, { skip: strace() }, async (t) => {
    const dir = directory(t);
    const server = await serving(t, CONFIG(), { env: ENV, args: ['--data-dir', dir] });
    await filled(server, 20);
    const phone = await device(t, server, 'ann');
    const mend = await failing(t, server, dir, calls, error);
    const { status, json } = await publish(server, 'lost', { level: 'synced', id: 'once' });
    assert.deepEqual([status, json.error?.code], [503, 'store_failed']);
    await refuses(t, server, phone, /./, range(0, 20));
    assert.equal(logged(server, 'store_failed'), 1);
    await mend();
    // What the log holds is not known: it does not go on by itself, and says what to do.
    const { json: later } = await publish(server, 'still refused', { id: 'once' });
    assert.match(later.error.message, /restart/);
    assert.ok(!await ready(server));
    assert.ok(!phone.heard.all('notice').includes('lost'));
    assert.equal(await server.stop(), 0);
    const again = await serving(t, CONFIG(), { env: ENV, args: ['--data-dir', dir] });
    const there = await kept(again);
    assert.deepEqual(there.slice(0, 20), range(0, 20));
    // Whoever was told that it failed publishes it again; it is there once, wherever the first one came to.
    assert.equal((await publish(again, 'lost', { level: 'synced', id: 'once' })).status, 200);
    assert.deepEqual(await kept(again), [...range(0, 20), 'lost']);
  });
}

test('a client’s word is not lost with a directory that is gone for a while', async (t) => {
  const dir = directory(t);
  t.after(() => rmSync(`${dir}-away`, { recursive: true, force: true }));
  const server = await serving(t, CONFIG(), { env: ENV, args: ['--data-dir', dir] });
  await filled(server, 3);
  renameSync(dir, `${dir}-away`);
  const phone = connect(server.url, { auth: { token: user('ann') } });
  t.after(() => phone.disconnect());
  const acked = new Promise((resolve) => { phone.on('notice', (n, ack) => { ack('read'); if (n === 2) resolve(); }); });
  await connected(phone);
  await acked;
  await eventually(() => logged(server, 'acknowledgement_lost') > 0, 'the loss in the log');
  const answer = await phone.timeout(5000).emitWithAck('notification:ack', { all: true, state: 'read' });
  assert.ok(answer.ok !== true, JSON.stringify(answer));
  renameSync(`${dir}-away`, dir);
  // It hears them again, and its word counts.
  const later = await device(t, server, 'ann', { word: 'read' });
  await eventually(async () => (await server.api('/api/v1/inbox/unread', { token: user('ann') })).json.count === 0, 'all are read');
  assert.deepEqual(later.heard.all('notice'), range(0, 3));
});
