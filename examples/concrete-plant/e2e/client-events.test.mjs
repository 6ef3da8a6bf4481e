// seeds/002: every row of 客户端订阅事件 with its exact answer, and what happens to a wrong one.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fence, next, serve } from '../../../tests/e2e/harness.mjs';
import { ISO, ask, barrier, heard, heardExactly, unique, uniqueNumber } from '../../../tests/e2e/steps.mjs';
import { CONFIG, login, own } from './plant.mjs';

let server;
before(async () => { server = await serve(CONFIG); });
after(() => server.stop());

/** Publishes to `channel` and counts what this socket hears of it. */
async function hears(socket, channel, times) {
  const event = unique('production:update');
  await server.publish(channel, event, {});
  await heardExactly(server, socket, own(socket), event, times);
}

test('subscribe:site {siteId: number} is answered with the same number and 订阅成功', async (t) => {
  const socket = await login(t, server);
  const answer = await ask(socket, 'subscribed', 'subscribe:site', { siteId: socket.site });
  assert.deepEqual(answer, { siteId: socket.site, message: '订阅成功' });
  await hears(socket, `site:${socket.site}`, 1);
});

test('subscribe:site takes the number as text, too, and echoes it as sent', async (t) => {
  const socket = await login(t, server);
  const answer = await ask(socket, 'subscribed', 'subscribe:site', { siteId: `${socket.site}` });
  assert.deepEqual(answer, { siteId: `${socket.site}`, message: '订阅成功' });
  await hears(socket, `site:${socket.site}`, 1);
});

test('站点隔离: the site of somebody else is denied by an exception', async (t) => {
  const socket = await login(t, server);
  const site = uniqueNumber();
  const error = await ask(socket, 'exception', 'subscribe:site', { siteId: site });
  assert.equal(error.status, 'error');
  assert.ok(error.message.length > 0);
  assert.deepEqual(heard(socket, 'subscribed'), []);
  await hears(socket, `site:${site}`, 0);
});

test('站点隔离: what the client says about itself is no right', async (t) => {
  const socket = await login(t, server);
  const site = uniqueNumber();
  await ask(socket, 'exception', 'subscribe:site', { siteId: site, userType: 'admin', sites: [site], user: { roles: ['admin'] } });
  await hears(socket, `site:${site}`, 0);
});

test('an administrator may subscribe to every site, and to several', async (t) => {
  const admin = await login(t, server, { userType: 'admin' });
  const sites = [uniqueNumber(), uniqueNumber()];
  for (const siteId of sites) assert.deepEqual(await ask(admin, 'subscribed', 'subscribe:site', { siteId }), { siteId, message: '订阅成功' });
  for (const siteId of sites) await hears(admin, `site:${siteId}`, 1);
});

test('unsubscribe:site is answered with 取消订阅成功 and ends the delivery', async (t) => {
  const socket = await login(t, server);
  await ask(socket, 'subscribed', 'subscribe:site', { siteId: socket.site });
  assert.deepEqual(await ask(socket, 'unsubscribed', 'unsubscribe:site', { siteId: socket.site }), { siteId: socket.site, message: '取消订阅成功' });
  await hears(socket, `site:${socket.site}`, 0);
});

test('unsubscribe:site of a site one never subscribed to is answered all the same', async (t) => {
  const socket = await login(t, server);
  assert.deepEqual(await ask(socket, 'unsubscribed', 'unsubscribe:site', { siteId: 9 }), { siteId: 9, message: '取消订阅成功' });
});

test('subscribe:alarms without argument is answered with 订阅告警成功', async (t) => {
  const socket = await login(t, server);
  assert.deepEqual(await ask(socket, 'subscribed', 'subscribe:alarms'), { channel: 'alarms', message: '订阅告警成功' });
  await hears(socket, 'alarms', 1);
});

test('subscribe:notifications without argument is answered with 订阅通知成功', async (t) => {
  const socket = await login(t, server);
  assert.deepEqual(await ask(socket, 'subscribed', 'subscribe:notifications'), { channel: 'notifications', message: '订阅通知成功' });
  await hears(socket, 'notifications', 1);
});

test('ping is answered by pong {timestamp}', async (t) => {
  const socket = await login(t, server);
  const { timestamp, ...rest } = await ask(socket, 'pong', 'ping');
  assert.match(timestamp, ISO);
  assert.deepEqual(rest, {});
});

test('an acknowledgement is never answered: the original answers by events only', async (t) => {
  const socket = await login(t, server);
  const acked = [];
  const said = [['subscribe:site', { siteId: socket.site }], ['subscribe:alarms'], ['subscribe:notifications'], ['unsubscribe:site', { siteId: socket.site }], ['ping']];
  for (const [event, ...args] of said) socket.emit(event, ...args, (...answer) => acked.push([event, answer]));
  await next(socket, 'pong');
  await barrier(socket);
  await fence(server, socket, own(socket));
  assert.deepEqual(acked, []);
  assert.equal(heard(socket, 'subscribed').length, 3);
  assert.equal(heard(socket, 'unsubscribed').length, 1);
});

for (const [what, args] of [
  ['no body', []], ['null', [null]], ['an empty object', [{}]], ['a null site', [{ siteId: null }]], ['an object for a site', [{ siteId: { $gt: 0 } }]],
  ['a wildcard', [{ siteId: '*' }]], ['a control character', [{ siteId: '1\n2' }]],
  ['1,000 digits', [{ siteId: '9'.repeat(1000) }]], ['a number instead of a body', [7]],
]) {
  test(`subscribe:site with ${what} is answered by exception, also for an administrator, and the connection stays`, async (t) => {
    const admin = await login(t, server, { userType: 'admin' });
    const error = await ask(admin, 'exception', 'subscribe:site', ...args);
    assert.equal(error.status, 'error');
    assert.equal(typeof error.message, 'string');
    assert.deepEqual(heard(admin, 'subscribed'), []);
    await ask(admin, 'pong', 'ping');
  });
}

test('no client speaks for the server, and unknown events do no harm', async (t) => {
  const [rogue, victim] = await Promise.all([login(t, server), login(t, server)]);
  await ask(victim, 'subscribed', 'subscribe:alarms');
  rogue.emit('alarm:new', { title: 'forged', level: 'critical' });
  rogue.emit('system:message', { message: 'forged', level: 'error' });
  // The room subscription of the repository's other document, which this gateway never knew.
  rogue.emit('subscribe', { room: 'site_1', events: ['alarm', 'production', 'queue'] });
  await barrier(rogue);
  await ask(rogue, 'pong', 'ping');
  await heardExactly(server, victim, own(victim), 'alarm:new', 0);
  await heardExactly(server, victim, own(victim), 'system:message', 0);
});
