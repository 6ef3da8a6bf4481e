// Sources whose servers speak TLS, with certificates of an authority that only the file names.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import { authority } from './authority.mjs';
import { CONFIG, ENV, device } from './keeping.mjs';
import { rabbitmq } from './rabbitmq.mjs';
import { freePort, redis } from './redis.mjs';
import { logged, working } from './sources.mjs';
import { serving } from './stage.mjs';

const config = (kind, more, ca) => CONFIG({
  more: `
[app.desk.source.events]
kind = "${kind}"
url = { env = "SOURCE_URL" }
from = ["events"]
${more}
${ca ? 'ca = { file = "ca.pem" }' : ''}
[[app.desk.source.events.rule]]
match = "events"
to = "user:{data.user}"
event = "event"
`,
});

/** Hears what `publish` says, from a server whose authority it believes, and not from one that nobody vouches for. */
async function believes(t, { kind, more = '', url, ca, publish }) {
  const env = { ...ENV, SOURCE_URL: url };
  const stranger = await serving(t, config(kind, more, false), { env });
  const line = await logged(stranger, 0, 'source_failed', 'credentials', 'name whom to believe in `ca`');
  assert.ok(!line.includes('hidden'), line);
  await stranger.stop();
  const server = await serving(t, config(kind, more, true), { env, files: { 'ca.pem': ca } });
  await working(server, 'events');
  const ann = await device(t, server, 'ann');
  await publish(JSON.stringify({ user: 'ann', n: 1 }));
  assert.deepEqual(await ann.heard.take('event'), { user: 'ann', n: 1 });
}

function certificate(t) {
  const one = authority();
  t.after(one.end);
  one.issue('server');
  return { ca: readFileSync(one.file('ca.pem'), 'utf8'), paths: { ca: one.file('ca.pem'), certificate: one.file('server.pem'), key: one.file('server.key') } };
}

test('RabbitMQ, by amqps', async (t) => {
  const { ca, paths } = certificate(t);
  const broker = await rabbitmq(t, { tls: paths });
  await broker.start();
  const { channel, publish } = await broker.connect();
  await channel.assertExchange('tls', 'topic', { durable: true });
  const url = `amqps://guest:guest@127.0.0.1:${broker.tlsPort}`;
  await believes(t, { kind: 'rabbitmq', more: 'exchange = "tls"', url, ca, publish: (text) => publish('tls', 'events', text) });
});

for (const kind of ['redis', 'redis-streams']) {
  test(`${kind}, by rediss`, async (t) => {
    const { ca, paths } = certificate(t);
    const port = await freePort();
    const broker = await redis(
      t, '--tls-port', port, '--tls-cert-file', paths.certificate, '--tls-key-file', paths.key,
      '--tls-ca-cert-file', paths.ca, '--tls-auth-clients', 'no', '--requirepass', 'hidden',
    );
    await broker.start();
    const client = new Redis({ port: broker.port, password: 'hidden' });
    t.after(() => client.disconnect());
    const publish = (text) => (kind === 'redis' ? client.publish('events', text) : client.xadd('events', '*', 'data', text));
    const more = kind === 'redis' ? '' : 'field = "data"';
    await believes(t, { kind, more, url: `rediss://:hidden@127.0.0.1:${port}`, ca, publish });
  });
}
