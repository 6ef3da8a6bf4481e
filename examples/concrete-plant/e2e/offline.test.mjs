// seeds/002, 扩展功能建议: 消息持久化（离线消息）, 消息确认机制, 消息优先级.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { WebSocket } from 'ws';
import { fence, next, serve } from '../../../tests/e2e/harness.mjs';
import { DURABLE, ask, derive, heard, heardExactly, uniqueNumber } from '../../../tests/e2e/steps.mjs';
import { eventually } from '../../../tests/e2e/waiting.mjs';
import { CONFIG, claims, login, own, sign } from './plant.mjs';

let server;
before(async () => { server = await serve(CONFIG); });
after(() => server.stop());

const alarm = (siteId) => ({ id: uniqueNumber(), type: 'equipment_fault', level: 'critical', title: '搅拌机故障', message: '2号机停机', siteId, status: 'pending' });
/** What `sendAlarmNotification` publishes. */
const raise = (site, data = alarm(site)) => server.publish([`site:${site}`, 'alarms'], 'alarm:new', data, { id: `alarm-${data.id}` });

/** Somebody who has looked at their site, and went home. */
async function employee(t, more) {
  const socket = await login(t, server, more);
  await ask(socket, 'subscribed', 'subscribe:site', { siteId: socket.site });
  socket.disconnect();
  return { sub: socket.user, siteId: socket.site };
}

/** They are back, and have heard all that waited. */
async function back(t, who) {
  const socket = await login(t, server, who);
  await fence(server, socket, own(socket), DURABLE);
  return socket;
}

test('离线消息: an alarm waits for those who have subscribed to its site, and is shown once', async (t) => {
  const who = await employee(t);
  const data = alarm(who.siteId);
  await raise(who.siteId, data);
  const socket = await back(t, who);
  const [, said, acknowledge] = socket.heard.find(([name]) => name === 'alarm:new');
  assert.deepEqual(said, data);
  await ask(socket, 'subscribed', 'subscribe:site', { siteId: socket.site });
  await ask(socket, 'subscribed', 'subscribe:alarms');
  await heardExactly(server, socket, own(socket), 'alarm:new', 1, DURABLE);
  acknowledge();
  await ask(socket, 'pong', 'ping');
  socket.disconnect();
  assert.deepEqual(heard(await back(t, who), 'alarm:new'), []);
});

test('an alarm waits for nobody of another site, though they watch all alarms', async (t) => {
  const site = uniqueNumber();
  const other = await login(t, server);
  await ask(other, 'subscribed', 'subscribe:alarms');
  other.disconnect();
  await raise(site);
  assert.deepEqual(heard(await back(t, { sub: other.user, siteId: other.site }), 'alarm:new'), []);
});

test('who has moved to another site does not hear what waited at the old one', async (t) => {
  const who = await employee(t);
  await raise(who.siteId);
  const moved = await back(t, { ...who, siteId: uniqueNumber() });
  assert.deepEqual(heard(moved, 'alarm:new'), []);
});

test('unsubscribe:site ends it', async (t) => {
  const who = await employee(t);
  const socket = await back(t, who);
  await ask(socket, 'subscribed', 'subscribe:site', { siteId: who.siteId });
  await ask(socket, 'unsubscribed', 'unsubscribe:site', { siteId: who.siteId });
  socket.disconnect();
  await raise(who.siteId);
  assert.deepEqual(heard(await back(t, who), 'alarm:new'), []);
});

test('用户私信通知 waits for its user; dashboards and positions wait for nobody', async (t) => {
  const who = await employee(t);
  await server.publish(`user:${who.sub}`, 'notification:new', { id: 1, title: '任务', content: '请处理' });
  for (const event of ['dashboard:update', 'vehicle:update', 'production:update']) await server.publish(`site:${who.siteId}`, event, { id: 1 });
  const socket = await back(t, who);
  assert.deepEqual(heard(socket, 'notification:new'), [{ id: 1, title: '任务', content: '请处理' }]);
  for (const event of ['dashboard:update', 'vehicle:update', 'production:update']) assert.deepEqual(heard(socket, event), []);
});

test('消息优先级: on a congested connection an alarm overtakes the dashboards that wait', async (t) => {
  const slow = await serve(await derive(t, CONFIG, (text) => text.replace('[app.concrete-plant.limits]', '[app.concrete-plant.limits]\noutbox = "64MiB"')));
  t.after(() => slow.stop());
  const who = claims();
  const ws = new WebSocket(`${slow.ws}/socket.io/?EIO=4&transport=websocket`);
  t.after(() => ws.terminate());
  const names = [];
  ws.on('message', (packet) => {
    const text = String(packet);
    if (text === '2') ws.send('3');
    if (text.startsWith('0')) ws.send(`40/ws,${JSON.stringify({ token: sign(who) })}`);
    if (text.startsWith('42/ws,')) {
      const [name] = JSON.parse(text.slice(text.indexOf('[')));
      if (name === 'connected') ws.send(`42/ws,${JSON.stringify(['subscribe:site', { siteId: who.siteId }])}`);
      names.push(name);
    }
  });
  await eventually(() => names.includes('subscribed'), 'it is subscribed');
  ws.pause();
  const count = 64;
  const overview = { production: 'x'.repeat(512 * 1024) };
  for (let n = 0; n < count; n += 1) await slow.publish(`site:${who.siteId}`, 'dashboard:update', overview);
  await slow.publish(`site:${who.siteId}`, 'alarm:new', alarm(who.siteId));
  ws.resume();
  const all = () => names.includes('alarm:new') && names.filter((name) => name === 'dashboard:update').length === count;
  await eventually(all, 'everything has arrived', 20_000);
  const pushes = names.filter((name) => name.endsWith(':update') || name === 'alarm:new');
  const before = pushes.indexOf('alarm:new');
  assert.ok(before < count / 2, `the alarm came after ${before} of ${count} dashboards`);
});
