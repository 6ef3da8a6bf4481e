// What changes in the health of a Consul's services: each change once, whatever its index does, and what is said when it is
// not as it should be.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { consul } from './consul.mjs';
import { CONFIG, ENV, device } from './keeping.mjs';
import { figure, logged, working } from './sources.mjs';
import { serving } from './stage.mjs';
import { eventually } from './waiting.mjs';

const config = (more = '') => CONFIG({
  more: `
[app.desk.source.health]
kind = "consul"
url = { env = "CONSUL_HTTP_ADDR" }
token = { env = "CONSUL_HTTP_TOKEN" }
${more}
[[app.desk.source.health.rule]]
match = "consul.{what}"
to = "user:ann"
event = "{address}"
`,
});

/** A server that follows all services of a Consul, asking every second; and Ann. */
async function start(t, address, { more = 'from = ["*"]\nwait = "1s"', env } = {}) {
  const server = await serving(t, config(more), { env: { ...ENV, CONSUL_HTTP_ADDR: address, ...env } });
  return { server, ann: await device(t, server, 'ann') };
}
const changes = ({ heard }) => heard.all('consul.service.changed').map(({ serviceName, oldStatus, newStatus }) => [serviceName, oldStatus, newStatus].join(' '));

test('each change is told once: also when nothing comes for a while, when other things change, and when the index goes back', async (t) => {
  const fake = await consul(t);
  await fake.start();
  fake.set('', '', 'passing');
  fake.set('device', 'd1', 'passing');
  fake.set('user', 'u1', 'passing');
  const { server, ann } = await start(t, fake.address);
  await working(server, 'health');
  const told = () => fake.asked.length;
  fake.set('user', 'u1', 'critical');
  await ann.heard.take('consul.service.changed');
  const all = await ann.heard.take('consul.services.updated', (services) => services[1]?.status === 'critical');
  assert.deepEqual(all.map(({ service, status, healthyCount, unhealthyCount }) => [service, status, healthyCount, unhealthyCount]),
    [['device', 'passing', 1, 0], ['user', 'critical', 0, 1]]);
  assert.ok(!JSON.stringify(ann.heard.seen).includes('secret'));

  // Its time is over, twice: it asks again with the same index, and nothing is told.
  let before = told();
  await eventually(() => told() >= before + 2, 'it asks again', 10_000);
  const [last, one] = fake.asked.slice(-2).map((path) => new URL(path, 'http://x').searchParams.get('index'));
  assert.equal(last, one);
  before = told();
  fake.touch();
  await eventually(() => told() > before, 'it asks again');
  assert.deepEqual(changes(ann), ['user passing critical']);

  // A Consul that was restored counts from an earlier index, and the question with the later one ends without a change.
  fake.restore(3);
  await eventually(() => fake.asked.at(-1).includes('index=3&'), 'it asks from there', 10_000);
  assert.ok(fake.asked.some((path, at) => at > before && path.includes('index=0&')), fake.asked.join('\n'));
  fake.remove('d1');
  await ann.heard.take('consul.service.changed', ({ serviceName }) => serviceName === 'device');
  fake.set('', '', 'critical');
  fake.set('web', 'w1', 'warning', 'n2');
  await ann.heard.take('consul.service.changed', ({ serviceName }) => serviceName === 'web');
  fake.set('user', 'u1', 'passing', 'n2');
  await ann.heard.take('consul.service.changed', ({ newStatus }) => newStatus === 'warning' && changes(ann).length === 4);
  assert.deepEqual(changes(ann), ['user passing critical', 'device passing ', 'web  warning', 'user critical warning']);
  assert.equal(await figure(server, 'failures', 'health', { reason: 'unreachable' }), 0);
});

test('an index of zero, which does not wait: changes are told all the same, and it is not asked without end', async (t) => {
  const fake = await consul(t);
  await fake.start();
  fake.unindexed();
  fake.set('user', 'u1', 'passing');
  const { server, ann } = await start(t, fake.address);
  await working(server, 'health');
  fake.set('user', 'u1', 'critical');
  await ann.heard.take('consul.service.changed', undefined, 10_000);
  const before = fake.asked.length;
  const begun = performance.now();
  await eventually(() => fake.asked.length >= before + 3, 'it asks again', 10_000);
  assert.ok(performance.now() - begun > 1_500, 'about once a second');
  assert.deepEqual(changes(ann), ['user passing critical']);
});

test('a Consul that is not there yet, that loses its leader and comes back; what changed meanwhile is told then', async (t) => {
  const fake = await consul(t);
  await fake.start();
  const { address } = fake;
  await fake.stop();
  const { server, ann } = await start(t, `http://${address}`);
  await logged(server, 0, 'source_failed', 'unreachable', `is Consul running at ${address}?`);
  await server.publish('user:ann', 'hello', 1, { app: 'desk' });
  await ann.heard.take('hello');
  fake.set('user', 'u1', 'passing');
  await fake.start();
  await ann.heard.take('consul.services.updated', ([user]) => user.status === 'passing', 40_000);
  const before = server.logs.length;
  fake.refuse(500, 'No cluster leader');
  await logged(server, before, 'source_failed', 'No cluster leader', 'has Consul a leader?');
  fake.set('user', 'u1', 'critical');
  fake.refuse();
  await ann.heard.take('consul.service.changed', undefined, 40_000);
  assert.deepEqual(changes(ann), ['user passing critical']);
});

test('only the services that are named, and a token that may not read is told with the remedy', async (t) => {
  const fake = await consul(t, { token: 'good-one' });
  await fake.start();
  fake.set('user', 'u1', 'passing');
  const weak = await start(t, fake.address, { env: { CONSUL_HTTP_TOKEN: 'hidden' } });
  const line = await logged(weak.server, 0, 'source_failed', 'forbidden', 'node_prefix');
  assert.ok(!line.includes('hidden'), line);
  const { server, ann } = await start(t, fake.address, { more: 'from = ["user"]', env: { CONSUL_HTTP_TOKEN: 'good-one' } });
  await working(server, 'health');
  fake.set('other', 'o1', 'critical');
  fake.set('user', 'u1', 'warning');
  assert.deepEqual(await ann.heard.take('consul.service.changed'), { serviceName: 'user', oldStatus: 'passing', newStatus: 'warning' });
  assert.ok(ann.heard.all('consul.services.updated').every((services) => services.every(({ service }) => service === 'user')));
});
