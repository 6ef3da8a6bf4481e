// The stock socket.io-client 4.8 against `examples/embed/conformance`: what every user of Socket.IO takes for granted.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { Manager } from 'socket.io-client';
import { connect, connected, next } from './harness.mjs';
import { serveConformance } from './conformance.mjs';

const WAYS = {
  'websocket only': { transports: ['websocket'] },
  'polling only': { transports: ['polling'] },
  'polling, then upgrade': { transports: ['polling', 'websocket'] },
  'websocket, then polling': { transports: ['websocket', 'polling'] },
};
const VALUES = [
  ['no argument'],
  ['a string', 'hello'],
  ['text beyond ASCII', '订阅成功 ü € 😀 \u2028 "quoted" \\ \n'],
  ['several arguments', 1, 'two', { three: [3] }, null, true, -0.5],
  ['nested objects', { a: { b: [{ c: null }, []] }, 'key with "quotes"': {} }],
  ['a binary', Buffer.from([0, 1, 2, 255])],
  ['an empty binary', Buffer.alloc(0)],
  ['binaries inside objects', { file: { name: 'a.bin', bytes: Buffer.from('bytes') } }, [Buffer.from([7]), 'x']],
  ['the same text as a placeholder', { placeholder: 0, num: 0 }],
];

let server;
const open = [];
const client = (options = {}, path = '') => {
  const socket = connect(server.url + path, options);
  open.push(socket);
  return socket;
};
const echo = async (socket, ...args) => {
  const back = next(socket, 'message-back');
  socket.emit('message', ...args);
  return back;
};

before(async () => { server = await serveConformance(); });
after(async () => {
  for (const socket of open) socket.disconnect();
  await server?.stop();
});

for (const [way, options] of Object.entries(WAYS)) {
  describe(way, () => {
    test('connects and hears what the server says first', async () => {
      const socket = client({ ...options, auth: { token: 'abc' } });
      const [auth] = await next(socket, 'auth');
      assert.deepEqual(auth, { token: 'abc' });
      assert.equal(socket.connected, true);
      assert.ok(socket.id.length >= 16);
      assert.notEqual(socket.id, socket.io.engine.id, 'the id that others may see is not the transport\'s secret');
    });

    for (const [name, ...args] of VALUES) {
      test(`echoes ${name}`, async () => {
        const socket = await connected(client(options));
        assert.deepEqual(await echo(socket, ...args), args);
      });
      test(`acknowledges ${name}`, async () => {
        const socket = await connected(client(options));
        const answer = await new Promise((resolve) => { socket.emit('message-with-ack', ...args, (...back) => resolve(back)); });
        assert.deepEqual(answer, args);
      });
    }

    test('keeps the order of a burst, text and binary mixed', async () => {
      const socket = await connected(client(options));
      const count = 300;
      const seen = [];
      const all = new Promise((resolve) => {
        socket.on('message-back', (index, body) => { seen.push([index, Buffer.isBuffer(body)]); if (seen.length === count) resolve(); });
      });
      for (let index = 0; index < count; index += 1) socket.emit('message', index, index % 3 ? 'text' : Buffer.from([index % 256]));
      await all;
      assert.deepEqual(seen, Array.from({ length: count }, (_, index) => [index, index % 3 === 0]));
    });

    test('stays through several heartbeats', async () => {
      const socket = await connected(client(options));
      for (let beat = 0; beat < 3; beat += 1) await next(socket.io, 'ping');
      assert.deepEqual(await echo(socket, 'still here'), ['still here']);
    });

    test('two namespaces share one connection', async () => {
      const manager = new Manager(server.url, { ...options, reconnection: false });
      const [main, custom] = [manager.socket('/', { auth: { n: 1 } }), manager.socket('/custom', { auth: { n: 2 } })];
      open.push(main, custom);
      const heard = await Promise.all([next(main, 'auth'), next(custom, 'auth')]);
      assert.deepEqual(heard, [[{ n: 1 }], [{ n: 2 }]]);
      assert.notEqual(main.id, custom.id);
      assert.deepEqual(await echo(custom, Buffer.from([1])), [Buffer.from([1])]);
      custom.disconnect();
      assert.deepEqual(await echo(main, 'the other lives'), ['the other lives']);
    });

    test('refuses an unknown namespace and keeps the rest', async () => {
      const manager = new Manager(server.url, { ...options, reconnection: false });
      const [main, random] = [manager.socket('/'), manager.socket('/random')];
      open.push(main, random);
      const [[error]] = await Promise.all([next(random, 'connect_error'), connected(main)]);
      assert.equal(error.message, 'Invalid namespace');
      assert.deepEqual(await echo(main, 1), [1]);
    });

    test('comes back by itself when the transport is cut', async () => {
      let calls = 0;
      const auth = (give) => give({ call: (calls += 1) });
      const socket = client({ ...options, auth, reconnection: true, reconnectionDelay: 10, reconnectionDelayMax: 20 });
      assert.deepEqual(await next(socket, 'auth'), [{ call: 1 }]);
      const first = socket.id;
      const [gone, again] = [next(socket, 'disconnect'), next(socket, 'auth')];
      socket.io.engine.close();
      await gone;
      assert.deepEqual(await again, [{ call: 2 }], 'the auth callback is asked again');
      assert.notEqual(socket.id, first);
      assert.deepEqual(await echo(socket, 'back'), ['back']);
    });

    test('may leave and connect again', async () => {
      const socket = await connected(client(options));
      socket.disconnect();
      socket.connect();
      await connected(socket);
      assert.deepEqual(await echo(socket, 'again'), ['again']);
    });

    test('an acknowledgement that never comes times out at the client', async () => {
      const socket = await connected(client(options));
      await assert.rejects(socket.timeout(50).emitWithAck('nobody-handles-this', 1), /timed out/);
      assert.deepEqual(await echo(socket, 'fine'), ['fine']);
    });

    test('carries a message just below the limit, and drops only who exceeds it', async () => {
      const [good, bad] = await Promise.all([connected(client(options)), connected(client(options))]);
      const large = 'x'.repeat(990_000);
      assert.equal((await echo(good, large))[0].length, large.length);
      const gone = next(bad, 'disconnect');
      bad.emit('message', 'x'.repeat(1_000_100));
      assert.match((await gone)[0], /transport (close|error)/);
      assert.deepEqual(await echo(good, 'unharmed'), ['unharmed']);
    });
  });
}

describe('the upgrade', () => {
  test('ends on websocket and loses nothing on the way', async () => {
    const socket = client({ transports: ['polling', 'websocket'] });
    const upgraded = next(socket.io, 'open').then(() => next(socket.io.engine, 'upgrade'));
    const seen = [];
    const count = 200;
    const all = new Promise((resolve) => {
      socket.on('message-back', (index) => { seen.push(index); if (seen.length === count) resolve(); });
    });
    await connected(socket);
    const sendOne = (index) => {
      socket.emit('message', index);
      if (index + 1 < count) setImmediate(sendOne, index + 1);
    };
    sendOne(0);
    await upgraded;
    await all;
    assert.equal(socket.io.engine.transport.name, 'websocket');
    assert.deepEqual(seen, Array.from({ length: count }, (_, index) => index));
  });

  test('is not offered to a client that asks for polling only', async () => {
    const socket = await connected(client({ transports: ['polling'] }));
    await next(socket.io, 'ping');
    assert.equal(socket.io.engine.transport.name, 'polling');
  });
});

describe('around the protocol', () => {
  test('a session that nobody knows is refused with the documented code', async () => {
    const response = await fetch(`${server.url}/socket.io/?EIO=4&transport=polling&sid=unknown`);
    assert.equal(response.status, 400);
    assert.deepEqual(await response.json(), { code: 1, message: 'Session ID unknown' });
  });

  test('one hundred clients at once are all served', async () => {
    const sockets = Array.from({ length: 100 }, () => client({ transports: ['websocket'] }));
    await Promise.all(sockets.map((socket) => connected(socket, 15_000)));
    const answers = await Promise.all(sockets.map((socket, index) => socket.timeout(15_000).emitWithAck('message-with-ack', index)));
    assert.deepEqual(answers, sockets.map((_, index) => index));
    for (const socket of sockets) socket.disconnect();
  });

  test('a browser of another origin may ask (CORS preflight)', async () => {
    const response = await fetch(`${server.url}/socket.io/?EIO=4&transport=polling`, {
      method: 'OPTIONS',
      headers: { origin: 'http://example.com', 'access-control-request-method': 'POST', 'access-control-request-headers': 'x-extra' },
    });
    assert.equal(response.status, 204);
    assert.ok(['*', 'http://example.com'].includes(response.headers.get('access-control-allow-origin')));
    assert.match(response.headers.get('access-control-allow-methods'), /POST/);
  });

  test('the client library is served as Node serves it', async () => {
    const response = await fetch(`${server.url}/socket.io/socket.io.js`);
    assert.equal(response.status, 200);
    assert.match(response.headers.get('content-type'), /javascript/);
    assert.match(await response.text(), /Socket\.IO v4\./);
    const etag = response.headers.get('etag');
    const cached = await fetch(`${server.url}/socket.io/socket.io.js`, { headers: { 'if-none-match': etag } });
    assert.equal(cached.status, 304);
  });
});
