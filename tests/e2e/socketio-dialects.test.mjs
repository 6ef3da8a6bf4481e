// The other ways to speak Socket.IO: the 2.x client (Engine.IO 3) and the msgpack parser, against `examples/embed/conformance`.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import io2 from 'socket.io-client-v2';
import msgpack from 'socket.io-msgpack-parser';
import { connect, connected, next } from './harness.mjs';
import { serveConformance } from './conformance.mjs';

const WAYS = { 'websocket only': ['websocket'], 'polling only': ['polling'], 'polling, then upgrade': ['polling', 'websocket'] };
const VALUES = [
  ['no argument'],
  ['text beyond ASCII', '订阅成功 ü € 😀'],
  ['several arguments', 1, 'two', { three: [3, null] }, true],
  ['a binary', Buffer.from([0, 1, 2, 255])],
  ['binaries inside objects', { bytes: Buffer.from('bytes'), text: 'é' }, [Buffer.from([7])]],
];
/** A binary arrives as Buffer or ArrayBuffer, as the client pleases; compare bytes. */
const bytes = (value) => {
  if (Buffer.isBuffer(value)) return { bytes: value.toString('hex') };
  if (value instanceof ArrayBuffer) return { bytes: Buffer.from(value).toString('hex') };
  if (Array.isArray(value)) return value.map(bytes);
  if (value && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, bytes(inner)]));
  return value;
};

let server;
const open = [];
const keep = (socket) => { open.push(socket); return socket; };
const old = (options = {}, path = '') => keep(io2(server.url + path, { forceNew: true, reconnection: false, ...options }));
const packed = (options = {}, path = '') => keep(connect(server.url + path, { parser: msgpack, ...options }));
const echo = async (socket, ...args) => {
  const back = next(socket, 'message-back');
  socket.emit('message', ...args);
  return back;
};
const ask = (socket, ...args) => new Promise((resolve) => { socket.emit('message-with-ack', ...args, (...back) => resolve(back)); });

before(async () => { server = await serveConformance(); });
after(async () => {
  for (const socket of open) socket.disconnect();
  await server?.stop();
});

for (const [family, make] of [['socket.io-client 2.x', old], ['msgpack parser', packed]]) {
  for (const [way, transports] of Object.entries(WAYS)) {
    describe(`${family}, ${way}`, () => {
      for (const [name, ...args] of VALUES) {
        test(`echoes and acknowledges ${name}`, async () => {
          const socket = await connected(make({ transports }));
          assert.deepEqual(bytes(await echo(socket, ...args)), bytes(args));
          assert.deepEqual(bytes(await ask(socket, ...args)), bytes(args));
        });
      }

      test('reaches another namespace', async () => {
        const socket = make({ transports }, '/custom');
        await next(socket, 'auth');
        assert.deepEqual(await echo(socket, 'custom'), ['custom']);
        assert.deepEqual(await ask(socket, 1, 2), [1, 2]);
      });

      test('keeps the order of a burst', async () => {
        const socket = await connected(make({ transports }));
        const count = 100;
        const seen = [];
        const all = new Promise((resolve) => {
          socket.on('message-back', (index) => { seen.push(index); if (seen.length === count) resolve(); });
        });
        for (let index = 0; index < count; index += 1) socket.emit('message', index);
        await all;
        assert.deepEqual(seen, Array.from({ length: count }, (_, index) => index));
      });

      test('comes back by itself when the transport is cut', async () => {
        const socket = await connected(make({ transports, reconnection: true, reconnectionDelay: 10, reconnectionDelayMax: 20 }));
        const again = next(socket, 'connect');
        socket.io.engine.close();
        await again;
        assert.deepEqual(await echo(socket, 'back'), ['back']);
      });
    });
  }
}

describe('socket.io-client 2.x', () => {
  test('its id is the transport\'s id, as Engine.IO 3 had it', async () => {
    const socket = await connected(old({ transports: ['websocket'] }));
    assert.equal(socket.id, socket.io.engine.id);
  });

  test('the query of a namespace arrives as its auth', async () => {
    const socket = old({ transports: ['websocket'], query: { token: 'abc' } }, '/custom');
    const [auth] = await next(socket, 'auth');
    assert.equal(auth.token, 'abc');
  });

  test('upgrades to websocket and goes on', async () => {
    const socket = old({ transports: ['polling', 'websocket'] });
    const upgraded = next(socket.io.engine, 'upgrade');
    await connected(socket);
    await upgraded;
    assert.equal(socket.io.engine.transport.name, 'websocket');
    assert.deepEqual(await echo(socket, 'é'), ['é']);
  });

  test('is kept alive by its own pings', async () => {
    const socket = await connected(old({ transports: ['websocket'] }));
    for (let beat = 0; beat < 3; beat += 1) await next(socket, 'pong');
    assert.deepEqual(await echo(socket, 'alive'), ['alive']);
  });
});

describe('msgpack parser', () => {
  test('says who refused an unknown namespace', async () => {
    const [error] = await next(packed({ transports: ['websocket'] }, '/random'), 'connect_error');
    assert.equal(error.message, 'Invalid namespace');
  });

  test('upgrades to websocket and goes on', async () => {
    const socket = packed({ transports: ['polling', 'websocket'] });
    await next(socket.io, 'open');
    await next(socket.io.engine, 'upgrade');
    await connected(socket);
    assert.deepEqual(bytes(await echo(socket, Buffer.from([1]))), bytes([Buffer.from([1])]));
  });

  test('sits beside a client of the text protocol', async () => {
    const [left, right] = await Promise.all([connected(packed()), connected(keep(connect(server.url)))]);
    assert.deepEqual(await Promise.all([echo(left, 'left'), echo(right, 'right')]), [['left'], ['right']]);
  });
});
