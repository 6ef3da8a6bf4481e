// seeds/004: administrators hear how the services are, as the document has it: what changes in Consul, and then all of them.
// (`ConsulMonitor.tsx` shows invented data; its view model is what arrives here.)
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { consul } from '../../../tests/e2e/consul.mjs';
import { serve } from '../../../tests/e2e/harness.mjs';
import { eventually } from '../../../tests/e2e/waiting.mjs';
import { ADMIN, CONFIG, Clients, newUser } from './clients.mjs';

test('administrators hear each change of a service, and how all are; users hear nothing', async (t) => {
  const fake = await consul(t);
  await fake.start();
  fake.set('user-service', 'u1', 'passing');
  const server = await serve(CONFIG, { env: { CONSUL_HTTP_ADDR: fake.address } });
  t.after(() => server.stop());
  const clients = new Clients(server);
  t.after(() => clients.close());
  const [admin, user] = [await clients.as(newUser(), ADMIN), await clients.as(newUser())];
  await eventually(() => fake.asked.length === 2, 'it waits for changes', 20_000);
  fake.set('user-service', 'u1', 'critical');
  const { data } = await admin.inbox.take('message', ({ type }) => type === 'consul.service.changed');
  const { timestamp, ...change } = data;
  assert.deepEqual(change, { serviceName: 'user-service', oldStatus: 'passing', newStatus: 'critical' });
  assert.ok(Math.abs(Date.now() - Date.parse(timestamp)) < 60_000, timestamp);
  const all = await admin.inbox.take('message', ({ type, data }) => type === 'consul.services.updated' && data[0]?.status === 'critical');
  assert.deepEqual(all.data, [{
    service: 'user-service', status: 'critical', healthyCount: 0, unhealthyCount: 1, instances: [{ id: 'u1', node: 'n1', status: 'critical' }],
  }]);
  assert.deepEqual(user.inbox.all('message'), []);
});
