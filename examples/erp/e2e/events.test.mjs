// seeds/000: every event of `ServerToClientEvents` (document and code), and the three rooms that decide who hears it.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fence, next, serve } from '../../../tests/e2e/harness.mjs';
import { DURABLE, barrier, heard, heardExactly, said, unique } from '../../../tests/e2e/steps.mjs';
import { headquarters, login } from './erp.mjs';

let server;
before(async () => { server = await serve('examples/erp/oyez.toml'); });
after(() => server.stop());

// The superset of the document's payload and the one in @twcrm/shared.
const EVENTS = {
  'order:new': { orderId: 'o-1', tenantId: 't-1', orderNo: 'SO-2026-001', amount: 1280.5 },
  'order:status_changed': { orderId: 'o-1', status: 'CONFIRMED', orderNo: 'SO-2026-001' },
  'order:shipped': { orderId: 'o-1', trackingNo: 'SF1234567890', carrier: '顺丰' },
  'stock:low': { productId: 'p-1', productName: '轴承', warehouseId: 'w-1', quantity: 3, safetyStock: 10 },
  'stock:updated': { productId: 'p-1', warehouseId: 'w-1', quantity: 42 },
  'workorder:assigned': { workOrderId: 'wo-1', workOrderNo: 'WO-001', assigneeId: 'u-9' },
  'workorder:completed': { workOrderId: 'wo-1', workOrderNo: 'WO-001' },
  'notification:new': { id: 'n-1', title: '新通知', body: '正文', content: '正文', link: '/orders/o-1', type: 'ORDER', module: 'ordering', refType: 'order', refId: 'o-1' },
  'announcement:new': { id: 'a-1', title: '公告', type: 'SYSTEM' },
};

for (const [event, payload] of Object.entries(EVENTS)) {
  test(`${event}: bare payload to its tenant and to headquarters, once each`, async (t) => {
    const [member, stranger, hq] = await Promise.all([login(t, server), login(t, server), headquarters(t, server)]);
    const data = { ...payload, mark: unique('mark') };
    const received = next(member, event);
    await server.publish(`tenant:${member.tenant}`, event, data);
    assert.deepEqual(said(await received), [data], 'one argument, no envelope');
    await heardExactly(server, member, `user:${member.user}`, event, 1, DURABLE);
    await heardExactly(server, stranger, `user:${stranger.user}`, event, 0, DURABLE);
    await fence(server, hq, 'platform', DURABLE);
    assert.deepEqual(heard(hq, event).filter(({ mark }) => mark === data.mark), [data]);
  });
}

test('emitToPlatform: only headquarters hears the room platform', async (t) => {
  const [member, hq] = await Promise.all([login(t, server), headquarters(t, server)]);
  const data = { orderId: unique('o'), tenantId: member.tenant, amount: 99 };
  const received = next(hq, 'order:new');
  await server.publish('platform', 'order:new', data);
  assert.deepEqual(said(await received), [data]);
  await heardExactly(server, member, `user:${member.user}`, 'order:new', 0, DURABLE);
});

test('emitToUser: the person on every device, headquarters once, nobody else of the tenant', async (t) => {
  const desk = await login(t, server);
  const [phone, colleague, hq] = await Promise.all([
    login(t, server, { id: desk.user, tenantId: desk.tenant }),
    login(t, server, { tenantId: desk.tenant }),
    headquarters(t, server),
  ]);
  const event = unique('notification:new');
  const received = Promise.all([next(desk, event), next(phone, event), next(hq, event)]);
  await server.publish(`user:${desk.user}`, event, { title: '审批', body: '请审批' });
  for (const [data] of await received) assert.deepEqual(data, { title: '审批', body: '请审批' });
  await heardExactly(server, colleague, `user:${colleague.user}`, event, 0);
  await heardExactly(server, hq, 'platform', event, 1);
  await heardExactly(server, phone, `user:${phone.user}`, event, 1);
});

test('headquarters hears once what reaches it through several rooms', async (t) => {
  const hq = await headquarters(t, server);
  const event = unique('order:new');
  await server.publish([`tenant:${hq.tenant}`, `user:${hq.user}`, 'platform'], event, { orderId: 'o-2' });
  await heardExactly(server, hq, 'platform', event, 1, DURABLE);
});

test('platform needs the role platform_admin: isPlatform and platform_viewer do not suffice', async (t) => {
  const [clerk, viewer] = await Promise.all([
    login(t, server, { tenantId: unique('hq'), isPlatform: true }),
    login(t, server, { roles: ['platform_viewer'], isPlatform: true }),
  ]);
  const event = unique('order:new');
  await server.publish('platform', event, { orderId: 'o-3' });
  await heardExactly(server, clerk, `user:${clerk.user}`, event, 0, DURABLE);
  await heardExactly(server, viewer, `user:${viewer.user}`, event, 0, DURABLE);
});

test('broadcast to everybody', async (t) => {
  const [a, b] = await Promise.all([login(t, server), login(t, server)]);
  const event = unique('announcement:new');
  const received = Promise.all([next(a, event), next(b, event)]);
  await server.publish('*', event, EVENTS['announcement:new']);
  assert.deepEqual(await received, [[EVENTS['announcement:new']], [EVENTS['announcement:new']]]);
});

test('an event name that no document lists is published all the same', async (t) => {
  const member = await login(t, server);
  const received = next(member, 'finance:invoice_overdue');
  await server.publish(`tenant:${member.tenant}`, 'finance:invoice_overdue', { invoiceId: 'i-1' });
  assert.deepEqual(await received, [{ invoiceId: 'i-1' }]);
});

test('no client joins a room by asking, and no client speaks for the server', async (t) => {
  const [rogue, member] = await Promise.all([login(t, server), login(t, server)]);
  const event = unique('order:new');
  rogue.emit('subscribe', { channel: `tenant:${member.tenant}` });
  rogue.emit('join', `tenant:${member.tenant}`);
  rogue.emit('order:new', { orderId: 'forged', tenantId: member.tenant, amount: 1 });
  await barrier(rogue);
  await server.publish(`tenant:${member.tenant}`, event, {});
  await heardExactly(server, rogue, `user:${rogue.user}`, event, 0, DURABLE);
  await heardExactly(server, member, `user:${member.user}`, 'order:new', 0, DURABLE);
  assert.ok(rogue.connected, 'unknown events are no reason to close');
});

test("the hook's off('order:new') removes its listeners and nothing else", async (t) => {
  const member = await login(t, server);
  let calls = 0;
  member.on('order:new', () => { calls += 1; });
  await server.publish(`tenant:${member.tenant}`, 'order:new', { orderId: 'o-4' });
  await fence(server, member, `user:${member.user}`, DURABLE);
  member.off('order:new');
  await server.publish(`tenant:${member.tenant}`, 'order:new', { orderId: 'o-5' });
  await heardExactly(server, member, `user:${member.user}`, 'order:new', 2, DURABLE);
  assert.equal(calls, 1);
});
