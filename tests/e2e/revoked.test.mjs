// What is revoked stays so: after a restart, a kill, and on a node that begins when all others are gone.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { connect, connected, serve, token } from './harness.mjs';
import { directory } from './keeping.mjs';
import { redis } from './redis.mjs';
import { now } from './stage.mjs';

const CONFIG = 'examples/ticketing/oyez.toml';

const enters = async (t, server, claims) => {
  const socket = connect(server.url, { transports: ['websocket'], auth: { token: token({ userId: 'ann', ...claims }) } });
  t.after(() => socket.disconnect());
  return connected(socket).then(() => true, () => false);
};

/** A place to keep things in, by each kind of store: the arguments. */
const STORES = {
  'a data directory': (t) => ['--data-dir', directory(t)],
  'a Redis': async (t) => {
    const engine = await redis(t);
    await engine.start();
    return ['--store', engine.url];
  },
};

for (const [name, store] of Object.entries(STORES)) {
  test(`${name} keeps what is revoked over a kill`, async (t) => {
    const args = await store(t);
    const start = () => serve(CONFIG, { args });
    let server = await start();
    t.after(() => server.stop());
    const revoke = async (what, until = now() + 3_600) => {
      const { status, text } = await server.api('/api/v1/revoke', { body: { ...what, until } });
      assert.equal(status, 200, text);
    };
    await revoke({ token_id: 'stolen' });
    await revoke({ user: 'eve' });
    await revoke({ user: 'bob', issued_before: now() + 60 });
    await revoke({ user: 'tim' }, now() + 2); // at least a whole second to come
    server.child.kill('SIGKILL');
    await server.exited;
    server = await start();
    // In force when it listens, or a moment later.
    while (await enters(t, server, { jti: 'stolen' }));
    const good = { ann: await enters(t, server, {}), eve: await enters(t, server, { userId: 'eve' }), bob: await enters(t, server, { userId: 'bob' }) };
    assert.deepEqual(good, { ann: true, eve: false, bob: false });
    while (!await enters(t, server, { userId: 'tim' }));
  });
}
