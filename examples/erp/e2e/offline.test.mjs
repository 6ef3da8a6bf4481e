// seeds/000: orders and notifications that come while nobody looks, and what becomes of notification:read.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fence, next, serve } from '../../../tests/e2e/harness.mjs';
import { DURABLE, heard, unique } from '../../../tests/e2e/steps.mjs';
import { login } from './erp.mjs';

let server;
before(async () => { server = await serve('examples/erp/oyez.toml'); });
after(() => server.stop());

const order = (tenantId) => ({ orderId: unique('o'), tenantId, orderNo: 'SO-2026-001', amount: 1280.5 });
const HQ = { roles: ['platform_admin'], isPlatform: true };

/** Somebody who was here before, and went home: what they are, to come back as. */
async function colleague(t, more = {}) {
  const socket = await login(t, server, more);
  socket.disconnect();
  return { ...more, id: socket.user, tenantId: socket.tenant };
}

/** They are back, and have heard all that waited. */
async function back(t, who) {
  const socket = await login(t, server, who);
  await fence(server, socket, `user:${who.id}`, DURABLE);
  return socket;
}

for (const event of ['order:new', 'order:status_changed', 'order:shipped']) {
  test(`${event} waits for its tenant's people and for headquarters, once`, async (t) => {
    const [clerk, stranger, hq] = await Promise.all([colleague(t), colleague(t), colleague(t, HQ)]);
    const data = order(clerk.tenantId);
    await server.publish([`tenant:${clerk.tenantId}`, 'platform'], event, data, { id: `${event}-${data.orderId}` });
    const mine = async (who) => heard(await back(t, who), event).filter(({ orderId }) => orderId === data.orderId);
    assert.deepEqual(await mine(clerk), [data]);
    assert.deepEqual(await mine(hq), [data]);
    assert.deepEqual(await mine(stranger), []);
  });
}

test("a tenant's order waits for headquarters by the echo; a person's notification does not", async (t) => {
  const [clerk, hq] = await Promise.all([colleague(t), colleague(t, HQ)]);
  const data = order(clerk.tenantId);
  const note = { id: unique('n'), title: '审批', content: '请审批', type: 'APPROVAL' };
  await server.publish(`tenant:${clerk.tenantId}`, 'order:new', data);
  await server.publish(`user:${clerk.id}`, 'notification:new', note);
  const socket = await back(t, hq);
  assert.deepEqual(heard(socket, 'order:new').filter(({ orderId }) => orderId === data.orderId), [data]);
  assert.deepEqual(heard(socket, 'notification:new').filter(({ id }) => id === note.id), []);
});

test('an order does not wait for who has lost the role that hears it', async (t) => {
  const { id, tenantId } = await colleague(t, HQ);
  const data = order('t-1');
  await server.publish('platform', 'order:new', data);
  const socket = await back(t, { id, tenantId, roles: ['tenant_user'] });
  assert.deepEqual(heard(socket, 'order:new').filter(({ orderId }) => orderId === data.orderId), []);
});

test('an outbox that repeats an order: stored and heard once', async (t) => {
  const clerk = await colleague(t);
  const data = order(clerk.tenantId);
  const send = () => server.publish(`tenant:${clerk.tenantId}`, 'order:new', data, { id: data.orderId });
  assert.equal((await send()).duplicate, undefined);
  assert.equal((await send()).duplicate, true);
  assert.deepEqual(heard(await back(t, clerk), 'order:new'), [data]);
});

test('notification:new waits for its person; stock levels wait for nobody', async (t) => {
  const clerk = await colleague(t);
  await server.publish(`user:${clerk.id}`, 'notification:new', { id: 'n-1', title: '审批', content: '请审批', type: 'APPROVAL' });
  await server.publish(`tenant:${clerk.tenantId}`, 'stock:updated', { productId: 'p-1', warehouseId: 'w-1', quantity: 42 });
  const socket = await back(t, clerk);
  assert.deepEqual(heard(socket, 'notification:new'), [{ id: 'n-1', title: '审批', content: '请审批', type: 'APPROVAL' }]);
  assert.deepEqual(heard(socket, 'stock:updated'), []);
});

test('notification:read on one device: the other hears it, the count falls, and it is not shown again', async (t) => {
  const clerk = await colleague(t);
  const id = unique('n');
  await server.publish(`user:${clerk.id}`, 'notification:new', { id, title: '审批', content: '请审批', type: 'APPROVAL' }, { id });
  const desk = await login(t, server, clerk);
  const phone = await login(t, server, clerk);
  const state = next(phone, 'notification:state');
  const none = new Promise((resolve) => { phone.on('unread-count', ({ count }) => { if (count === 0) resolve(); }); });
  assert.deepEqual(await desk.timeout(5000).emitWithAck('notification:read', { notificationId: id }), { ok: true });
  assert.deepEqual(await state, [{ ids: [id], state: 'read' }]);
  await none;
  const later = await login(t, server, clerk);
  await fence(server, later, `user:${clerk.id}`, DURABLE);
  assert.deepEqual(heard(later, 'notification:new'), []);
});
