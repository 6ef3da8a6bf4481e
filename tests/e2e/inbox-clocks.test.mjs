// The wall clock jumps, by an hour and by a day, forth and back, while the server runs, and before it starts again: nothing
// is lost, doubled or expired that would not have been without it. (libfaketime: Debian's package `faketime`.)
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { attach, binary, fence, token } from './harness.mjs';
import { CONFIG, device, directory } from './keeping.mjs';
import { VARIABLES, starting } from './namespaces.mjs';
import { folder } from './stage.mjs';
import { eventually } from './waiting.mjs';

const library = readdirSync('/usr/lib').map((name) => `/usr/lib/${name}/faketime/libfaketime.so.1`).find(existsSync);
const skip = library ? false : 'no libfaketime here';
const [HOUR, DAY] = [3600, 86_400];
const MINUTES = 60_000;
const TIMELY = { forward: 'a clock that is put forward', back: 'a clock that is put back' };

/** A server on `dir` whose clock is ahead by what `server.shift(seconds)` says. */
async function shifted(t, dir, seconds = 0) {
  const file = join(folder(t, {}), 'shift');
  const shift = (by) => writeFileSync(file, `${by < 0 ? '' : '+'}${by}\n`);
  shift(seconds);
  const env = { ...VARIABLES, LD_PRELOAD: library, FAKETIME_TIMESTAMP_FILE: file, FAKETIME_NO_CACHE: '1', FAKETIME_DONT_FAKE_MONOTONIC: '1', DONT_FAKE_MONOTONIC: '1' };
  const server = await attach(spawn(binary(), starting(t, dir, CONFIG()), { env, stdio: ['ignore', 'pipe', 'pipe'] }));
  t.after(() => server.stop());
  const ok = async (path, options) => {
    const answer = await server.api(path, options);
    assert.equal(answer.status, 200, answer.text);
    return answer.json;
  };
  return Object.assign(server, {
    shift,
    say: (data, more = {}) => server.publish('user:ann', 'notice', data, { app: 'desk', id: data, ...more }),
    list: async () => (await ok('/api/v1/inbox?app=desk&user=ann&order=oldest&limit=1000')).messages.map(({ data }) => data),
    unread: async () => (await ok('/api/v1/inbox/unread?app=desk&user=ann')).count,
    verdict: async (id) => (await ok(`/api/v1/messages/${id}/trace?app=desk&user=ann`)).verdict,
    forget: (id) => ok('/api/v1/inbox/delete', { body: { app: 'desk', user: 'ann', ids: [id] } }),
    expired: async () => Number((await server.api('/metrics', { token: null })).text.match(/^oyez_inbox_expired_total (\d+)/m)[1]),
  });
}

/** A device whose token is good by any of these clocks. */
const arriving = (t, server) => device(t, server, 'ann', { shown: token({ sub: 'ann', teams: [] }, { expiresIn: '7d', noTimestamp: true }) });

/** What is said at three times, of every kind. */
async function say(server, when) {
  await server.say(`${when}-plain`);
  await server.say(`${when}-half-hour`, { ttl_ms: 30 * MINUTES });
  await server.say(`${when}-deleted`);
  await server.forget(`${when}-deleted`);
  return [`${when}-plain`, `${when}-half-hour`];
}

describe('an inbox by a clock', { concurrency: true, skip }, () => {
  for (const [way, by] of [['forward', HOUR], ['forward', DAY], ['back', -HOUR], ['back', -DAY]]) {
    test(`${TIMELY[way]} by ${Math.abs(by)} seconds, and set right again`, async (t) => {
      const server = await shifted(t, directory(t));
      const phone = await arriving(t, server);
      const tablet = await arriving(t, server);
      const lasting = await say(server, 'before');
      const due = Date.now() + 6_000;
      await server.say('soon', { deliver_at: due });
      await server.say('at-half-past', { deliver_at: Date.now() + 30 * MINUTES });
      await server.say('brief', { ttl_ms: 1 });

      server.shift(by);
      lasting.push(...await say(server, 'meanwhile'));
      for (const id of ['before-plain', 'before-deleted', 'meanwhile-deleted', 'soon']) assert.equal((await server.say(id)).duplicate, true, id);
      if (by > 0) {
        // Rounds of upkeep go on, and take what is over by any clock.
        await eventually(async () => await server.expired() === 1, 'what was brief has expired', 15_000);
        await phone.heard.take('notice', (data) => data === 'soon', 15_000);
        assert.ok(Date.now() >= due, 'not before then');
        lasting.push('soon');
      }
      assert.deepEqual((await server.list()).filter((data) => data !== 'brief'), lasting);
      assert.ok(server.logs.some((line) => line.includes('clock_jumped')));
      // Who comes now gets all of it, and can mark it.
      const late = await arriving(t, server);
      await late.heard.take('unread-count');
      assert.deepEqual(late.heard.all('notice').filter((data) => data !== 'brief'), lasting);
      assert.equal((await late.emitWithAck('notification:ack', { id: 'before-half-hour', state: 'seen' })).ok, true);

      server.shift(0);
      if (by < 0) {
        await phone.heard.take('notice', (data) => data === 'soon', 15_000);
        assert.ok(Date.now() >= due, 'not before then');
        lasting.push('soon');
      }
      for (const id of ['before-deleted', 'meanwhile-deleted', 'soon', 'at-half-past']) assert.equal((await server.say(id)).duplicate, true, id);
      lasting.push(...await say(server, 'after'));
      await eventually(async () => await server.expired() === 1, 'what was brief has expired, and nothing else', 15_000);
      assert.deepEqual(await server.list(), lasting);
      assert.equal(await server.unread(), lasting.length);
      assert.equal(await server.verdict('at-half-past'), 'scheduled');
      // Each was heard once, by those who stayed all the time: no clock ends a session.
      for (const socket of [phone, tablet]) {
        await fence(server, socket, 'user:ann', { app: 'desk', delivery: 'durable' });
        assert.ok(socket.connected);
        const heard = socket.heard.all('notice').filter((data) => data !== 'brief' && !data.endsWith('-deleted'));
        assert.deepEqual(heard, lasting);
      }
    });
  }

  for (const [way, by] of [['forward', HOUR], ['back', -HOUR], ['back', -DAY]]) {
    test(`${TIMELY[way]} by ${Math.abs(by)} seconds between two starts`, async (t) => {
      const dir = directory(t);
      const first = await shifted(t, dir);
      const lasting = await say(first, 'before');
      const due = Date.now() + 3_000;
      await first.say('soon', { deliver_at: due });
      assert.equal(await first.stop(), 0);
      const second = await shifted(t, dir, by);
      const phone = await arriving(t, second);
      for (const id of ['before-plain', 'before-deleted', 'soon']) assert.equal((await second.say(id)).duplicate, true, id);
      if (by > 0) {
        // There is no other clock to go by: half an hour is over, and what was to come is due.
        await phone.heard.take('notice', (data) => data === 'soon');
        lasting.splice(1, 1, 'soon');
      }
      lasting.push(...await say(second, 'meanwhile'));
      assert.deepEqual(await second.list(), lasting);
      assert.equal(await second.stop(), 0);
      const third = await shifted(t, dir);
      const again = await arriving(t, third);
      for (const id of ['before-deleted', 'meanwhile-deleted', 'soon']) assert.equal((await third.say(id)).duplicate, true, id);
      if (by < 0) {
        // It was said half an hour before it is now by an hour, or a day: over.
        lasting.splice(lasting.indexOf('meanwhile-half-hour'), 1);
        await eventually(async () => (await third.list()).includes('soon'), 'it is due now', 15_000);
        lasting.push('soon');
      }
      lasting.push(...await say(third, 'after'));
      await fence(third, again, 'user:ann', { app: 'desk' });
      assert.deepEqual(await third.list(), lasting);
      assert.equal(await third.unread(), lasting.length);
      assert.deepEqual(again.heard.all('notice').filter((data) => !data.endsWith('-deleted')), lasting);
    });
  }
});
