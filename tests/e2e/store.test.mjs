// A data directory that cannot be used, and a disk that is full: what the server says, and what goes on all the same.
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { CONFIG, ENV, device, directory, user } from './keeping.mjs';
import { VARIABLES, apart, apartFails, isolated, starting } from './namespaces.mjs';
import { run, serving } from './stage.mjs';
import { eventually } from './waiting.mjs';

const MIB = 1024 * 1024;

const notice = (server, who, data) => server.publish(`user:${who}`, 'notice', data, { app: 'desk' });

/** A directory that a server has written messages into. */
async function used(t) {
  const dir = directory(t);
  const server = await serving(t, CONFIG(), { env: ENV, args: ['--data-dir', dir] });
  for (let n = 0; n < 20; n += 1) await notice(server, 'ann', { n });
  assert.equal(await server.stop(), 0);
  return dir;
}

/** The server does not start, and says why and what to do. */
async function refused(t, dir, ...words) {
  const { code, stdout, stderr } = await run(starting(t, dir, CONFIG()), VARIABLES);
  assert.equal(code, 1, stdout + stderr);
  for (const word of words) assert.match(stderr, word);
  assert.ok(!/panicked|RUST_BACKTRACE/.test(stderr), stderr);
}

const log = (dir) => readdirSync(join(dir, 'engine'), { recursive: true }).find((name) => name.endsWith('.jnl'));

/** What is in a directory, to see that nothing of it was touched. */
function contents(dir) {
  const files = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((file) => file.isFile());
  const hash = (path) => createHash('sha256').update(readFileSync(path)).digest('hex');
  return files.map((file) => [file.name, hash(join(file.parentPath, file.name))]).toSorted();
}

test('a directory that another server has is left to it', async (t) => {
  const dir = directory(t);
  const first = await serving(t, CONFIG(), { env: ENV, args: ['--data-dir', dir] });
  await refused(t, dir, /in use by another process; stop that one, or choose another --data-dir/);
  await notice(first, 'ann', 1);
  assert.equal((await first.api('/readyz', { token: null })).status, 200);
});

test('a directory of a newer version is left as it is', async (t) => {
  const dir = await used(t);
  const marker = join(dir, 'engine', 'version');
  const bytes = readFileSync(marker);
  bytes[3] = 99;
  writeFileSync(marker, bytes);
  const before = contents(dir);
  await refused(t, dir, /newer version \(format 99, this one knows up to \d+\); run that version/);
  assert.deepEqual(contents(dir), before);
});

test('a damaged log is told, left as it is, and repaired by the command that is told', async (t) => {
  const dir = await used(t);
  const path = join(dir, 'engine', log(dir));
  const bytes = readFileSync(path);
  const at = bytes.indexOf('"n":9');
  assert.ok(at > 0, 'the payloads stand in the log');
  bytes[at] ^= 1;
  writeFileSync(path, bytes);
  const before = contents(dir);
  await refused(t, dir, /damaged/, /oyez store repair --data-dir /, /oyez store verify --data-dir /);
  assert.deepEqual(contents(dir), before);
  const repaired = await run(['store', 'repair', '--data-dir', dir]);
  assert.equal(repaired.code, 0, repaired.stderr);
  const server = await serving(t, CONFIG(), { env: ENV, args: ['--data-dir', dir] });
  const { messages } = (await server.api('/api/v1/inbox?order=oldest', { token: user('ann') })).json;
  assert.deepEqual(messages.map(({ data }) => data.n), Array.from({ length: 20 }, (_, n) => n).filter((n) => n !== 9));
});

test('a store of which a part is missing is refused, and nothing of the rest is touched', async (t) => {
  const dir = await used(t);
  const away = join(directory(t), 'away');
  for (const part of ['engine/version', 'engine/keyspaces/0/current', 'engine/keyspaces', 'engine']) {
    const path = join(dir, part);
    renameSync(path, away);
    const before = contents(dir);
    const missing = new RegExp(`a part of the store is missing: ${path}.*put it back`);
    await refused(t, dir, missing, /oyez store restore --data-dir /);
    for (const command of ['verify', 'stats', 'repair']) {
      const { code, stderr } = await run(['store', command, '--data-dir', dir]);
      assert.equal(code, 1, stderr);
      assert.match(stderr, missing);
    }
    assert.deepEqual(contents(dir), before);
    renameSync(away, path);
  }
  const server = await serving(t, CONFIG(), { env: ENV, args: ['--data-dir', dir] });
  const { messages } = (await server.api('/api/v1/inbox', { token: user('ann') })).json;
  assert.equal(messages.length, 20, 'put back, all is there');
});

test('a path that is no directory is told', async (t) => {
  const file = join(directory(t), 'file');
  writeFileSync(file, '');
  await refused(t, file, /is no directory: .*; name one/);
  await refused(t, join(file, 'below'), /is no directory: .*; name one/);
  for (const args of [['--store', 'embedded'], ['--store', 'memory', '--data-dir', directory(t)]]) {
    const { code, stderr } = await run(starting(t, '', CONFIG()).slice(0, -2).concat(args), VARIABLES);
    assert.equal(code, 2, stderr);
    assert.match(stderr, /--data-dir/);
  }
});

test('a directory that is read-only is told', { skip: apartFails() }, async (t) => {
  const dir = await used(t);
  const child = isolated(`mount --bind ${dir} ${dir} && mount -o remount,bind,ro ${dir}`, starting(t, dir, CONFIG()));
  let stderr = '';
  child.stderr.on('data', (text) => { stderr += text; });
  const code = await new Promise((resolve) => child.on('close', resolve));
  assert.equal(code, 1, stderr);
  assert.match(stderr, /cannot be written: .*[Rr]ead-only.*; make it writable for the user that runs the server/);
});

test('without a directory the server says that it forgets', async (t) => {
  const server = await serving(t, CONFIG(), { env: ENV });
  assert.ok(server.logs.some((line) => /kept in memory, and lost.*--data-dir DIR/.test(line)), server.logs.join('\n'));
  assert.equal((await notice(server, 'ann', 1)).level, 'accepted');
});

test('a disk that is full stops what is stored, and nothing else, until there is room', { skip: apartFails() }, async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'oyez-data-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const server = await apart(t, `mount -t tmpfs -o size=600m tmpfs ${dir}`, dir, CONFIG());
  const inside = join('/proc', String(server.child.pid), 'root', dir);
  const phone = await device(t, server, 'ann');
  await notice(server, 'ann', 'before');
  assert.equal(await phone.heard.take('notice'), 'before');

  const { bavail, bsize } = statfsSync(inside);
  const ballast = join(inside, 'ballast');
  writeFileSync(ballast, Buffer.alloc(bavail * bsize - 200 * MIB));
  const publish = (more) => server.api('/api/v1/publish', { body: { app: 'desk', to: 'user:ann', event: 'notice', data: 'full', ...more } });
  const full = [507, 'store_full'];
  for (const more of [{}, { level: 'synced' }, { deliver_at: Date.now() + 3_600_000 }]) {
    const answer = await publish(more);
    assert.deepEqual([answer.status, answer.json.error.code], full, answer.text);
    assert.match(answer.json.error.message, /make room, and publishing goes on by itself/);
  }
  const mark = () => server.api('/api/v1/inbox/mark', { token: user('ann'), body: { all: true, state: 'read' } });
  const readiness = await server.api('/readyz', { token: null });
  assert.equal(readiness.status, 503);
  assert.deepEqual(readiness.json.reasons.map(({ reason }) => reason), ['store']);
  assert.match(readiness.json.reasons[0].message, /the disk of .* is full/);
  assert.equal(server.logs.filter((line) => line.includes('store_trouble')).length, 1, 'it is logged once');
  // What is not to be stored is said, what is stored is read, and who connects gets it.
  await server.publish('user:ann', 'ping', 'live', { app: 'desk' });
  assert.equal(await phone.heard.take('ping'), 'live');
  await server.publish('user:ann', 'notice', 'also live', { app: 'desk', delivery: 'live' });
  assert.equal(await phone.heard.take('notice'), 'also live');
  const { messages } = (await server.api('/api/v1/inbox', { token: user('ann') })).json;
  assert.deepEqual(messages.map(({ data }) => data), ['before']);
  const late = await device(t, server, 'ann');
  assert.equal(await late.heard.take('notice'), 'before');
  assert.equal((await mark()).status, 200, 'what becomes of a message needs no room of its own');
  assert.equal((await publish()).status, 507);

  rmSync(ballast);
  await eventually(async () => (await server.api('/readyz', { token: null })).status === 200, 'ready again, by itself', 15_000);
  await notice(server, 'ann', 'after');
  assert.equal(await phone.heard.take('notice'), 'after');
  assert.equal(server.logs.filter((line) => line.includes('store_recovered')).length, 1);
  assert.deepEqual(phone.heard.all('notice'), ['before', 'also live', 'after']);
});
