// Attacks on tokens: none of the table comes in by any door, keys are not asked for by whoever likes, and rights that are
// lost stop deliveries within a second while the session stays open.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { connect, connected, fence, next } from './harness.mjs';
import { drop, heard, open, unique } from './steps.mjs';
import { jwt, newKey, now } from './stage.mjs';
import { attacks, connectWith, honest, queryWith, refreshWith, world } from './token-attacks.mjs';

const APPS = ['local', 'pinned', 'remote', 'sessions'];
const WAYS = { websocket: ['websocket'], polling: ['polling'] };
const suite = { undo: [], after: (undo) => suite.undo.unshift(undo) };
let w;
let server;
let table;

before(async () => {
  w = await world(suite);
  server = w.server;
  table = await attacks(w);
});
after(async () => {
  for (const undo of suite.undo) await undo();
  assert.deepEqual(server.logs.filter((line) => line.includes('panicked')), []);
});

const enter = async (t, name, user, more = {}, transports = ['websocket']) => {
  const token = (await honest(w, user, more))[name];
  return Object.assign(await open(t, `${server.url}/${name}`, { transports, auth: { token } }, 'hello'), { token });
};
const local = (sub, more = {}) => jwt(w.keys.HS256, { sub, iss: 'https://id.example', aud: 'desk', ...more });

test('the table has attacks enough, each of its own name', () => {
  assert.ok(table.length >= 60, `${table.length}`);
  assert.equal(new Set(table.map(([name, target]) => `${name} ${target}`)).size, table.length);
});

describe('no attack is let in', () => {
  before(async () => {
    // Else nothing would be shown by what follows.
    for (const target of APPS) {
      const good = (await honest(w, 'u1'))[target];
      assert.equal(await connectWith(server, target, good), 'accepted', target);
      assert.equal(await queryWith(server, target, good), 'accepted', target);
    }
  });

  test('by a CONNECT packet', async () => {
    for (const [name, target, token] of table) {
      const outcome = await connectWith(server, target, token);
      assert.equal(outcome, name === '1 MB' ? 'closed 1009' : 'refused', `${name}, at ${target}`);
    }
  });

  test('by a query', async () => {
    for (const [name, target, token] of table) {
      const outcome = await queryWith(server, target, token);
      assert.ok(outcome === undefined || outcome === 'refused', `${name}, at ${target}: ${outcome}`);
    }
  });

  test('by a refresh of an open session, which stays what it was', async (t) => {
    const sockets = Object.fromEntries(await Promise.all(APPS.map(async (name) => [name, await enter(t, name, 'u1')])));
    for (const [name, target, token] of table) {
      const outcome = await refreshWith(sockets[target], token);
      assert.ok(outcome === undefined || outcome === 'refused', `${name}, at ${target}: ${outcome}`);
    }
    for (const name of APPS) {
      const denied = next(sockets[name], 'error');
      sockets[name].emit('auth:refresh', { token: (await honest(w, 'root'))[name] });
      assert.equal((await denied)[0].message, 'a refresh must be of the same user');
      assert.equal(sockets[name].connected, true);
    }
  });

  test('nor is anybody asked whom a token names', () => assert.deepEqual(w.evil.calls, []));
});

test('a flood of unknown key ids causes no request for keys just after one', async () => {
  await connectWith(server, 'remote', (await honest(w, 'u1')).remote);
  const before = w.publisher.calls.length;
  const forged = newKey('ES256');
  await Promise.all(Array.from({ length: 200 }, (_, n) => connectWith(server, 'remote', jwt({ ...forged, kid: `flood-${n}` }, { sub: 'root' }))
    .then((outcome) => assert.equal(outcome, 'refused'))));
  assert.ok(before > 0);
  assert.equal(w.publisher.calls.length, before);
});

describe('rights that are lost', { concurrency: true }, () => {
  /** Publishes to `site` every 20 ms until told to end; each event carries the time. */
  const publishing = (site) => {
    let on = true;
    const done = (async () => {
      while (on) {
        await server.publish(`site:${site}`, 'tick', { at: Date.now() }, { app: 'local' });
        await delay(20);
      }
    })();
    return async () => { on = false; await done; };
  };
  /** What `socket` still hears of `site` a second and more after `lose()` began; the neighbour hears on. */
  async function lost(socket, neighbour, site, lose) {
    const end = publishing(site);
    await Promise.all([next(socket, 'tick'), next(neighbour, 'tick')]);
    const from = Date.now();
    await lose();
    await delay(from + 1000 - Date.now());
    const late = heard(socket, 'tick').length;
    for (let ticks = 0; ticks < 5; ticks += 1) await next(neighbour, 'tick');
    await end();
    assert.equal(heard(socket, 'tick').length, late, 'nothing more comes after a second');
    assert.ok(heard(neighbour, 'tick').some(({ at }) => at > from + 1000), 'the neighbour hears on');
    return heard(socket, 'tick').filter(({ at }) => at > from + 1000);
  }

  for (const [way, transports] of Object.entries(WAYS)) {
    test(`in a refresh: deliveries stop within a second, the session stays: ${way}`, async (t) => {
      const [user, site] = [unique('u'), unique('s')];
      const socket = await enter(t, 'local', user, { sites: [site] }, transports);
      const neighbour = await enter(t, 'local', unique('u'), { sites: [site] });
      const late = await lost(socket, neighbour, site, () => socket.emitWithAck('auth:refresh', { token: local(user, { sites: [] }) }));
      assert.deepEqual(late, []);
      assert.equal(socket.connected, true);
    });

    test(`by revocation: deliveries stop within a second, and so does the session: ${way}`, async (t) => {
      const [user, site] = [unique('u'), unique('s')];
      const socket = await enter(t, 'local', user, { sites: [site] }, transports);
      const neighbour = await enter(t, 'local', unique('u'), { sites: [site] });
      const ended = drop(socket);
      const late = await lost(socket, neighbour, site, () => server.api('/api/v1/revoke', { body: { app: 'local', user } }));
      assert.deepEqual(late, []);
      await ended;
    });
  }

  test('a refresh widens nobody else: not a user of equal rights, not another namespace of the same connection', async (t) => {
    const [one, other, site, more] = ['u', 'u', 's', 's'].map(unique);
    // Equal rights are kept once for all who have them.
    const [socket, equal] = [await enter(t, 'local', one, { sites: [site] }), await enter(t, 'local', other, { sites: [site] })];
    const second = socket.io.socket('/pinned', { auth: { token: (await honest(w, other, { sites: [site] })).pinned } });
    await connected(second);
    const seen = [];
    second.onAny((event) => seen.push(event));
    await socket.emitWithAck('auth:refresh', { token: local(one, { sites: [site, more] }) });
    await server.publish(`site:${more}`, 'wider', {}, { app: 'local' });
    await server.publish(`site:${more}`, 'wider', {}, { app: 'pinned' });
    await Promise.all([fence(server, socket, `site:${more}`, { app: 'local' }), fence(server, equal, `site:${site}`, { app: 'local' }), fence(server, second, `site:${site}`, { app: 'pinned' })]);
    assert.equal(heard(socket, 'wider').length, 1);
    assert.deepEqual([heard(equal, 'wider').length, seen.filter((event) => event === 'wider').length], [0, 0]);
  });

  test('a token whose signature was written in another way is the revoked one', async (t) => {
    const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
    const user = unique('u');
    const token = jwt(w.keys.ES256, { sub: user, iss: 'https://id.example', aud: 'desk' });
    const [message, mark] = [token.slice(0, token.lastIndexOf('.')), Buffer.from(token.slice(token.lastIndexOf('.') + 1), 'base64url')];
    const s = (order - BigInt(`0x${mark.toString('hex', 32)}`)).toString(16).padStart(64, '0');
    const twin = `${message}.${Buffer.concat([mark.subarray(0, 32), Buffer.from(s, 'hex')]).toString('base64url')}`;
    assert.notEqual(token, twin);
    const sockets = await Promise.all([token, twin].map((each) => open(t, `${server.url}/local`, { auth: { token: each } }, 'hello')));
    const ended = Promise.all(sockets.map((socket) => drop(socket, 1000)));
    const id = `sha256:${createHash('sha256').update(message).digest('hex')}`;
    const answer = await server.api('/api/v1/revoke', { body: { app: 'local', token_id: id, until: now() + 60 } });
    assert.equal(answer.status, 200, answer.text);
    await ended;
    for (const each of [token, twin]) assert.equal(await connectWith(server, 'local', each), 'refused');
    const other = connect(`${server.url}/local`, { auth: { token: local(user) } });
    t.after(() => other.disconnect());
    await connected(other);
  });
});
