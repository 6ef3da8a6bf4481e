// What a hostile client does to its own connection must not be felt by anybody else. Raw sockets say what no stock
// client would; an honest stock client beside them keeps being served.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import net from 'node:net';
import { connect, connected, next, serve, token } from './harness.mjs';
import { eventually } from './waiting.mjs';

const UPGRADE = 'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';
const ENGINE = '/socket.io/?EIO=4&transport=websocket';
const CONNECT = (user) => `40/ws,${JSON.stringify({ token: token({ sub: user, userType: 'user', siteId: 1 }) })}`;
const FLOODS = {
  events: '42/ws,["x"]', joins: '42/ws,["subscribe:site",{"siteId":9}]', 'refused connects': '40/nope,', pongs: '3',
};

let server;
let honest;
const sockets = [];

/** A masked frame (with a key of zeros, which leaves the payload as it is). */
function frame(text, opcode = 1) {
  const payload = Buffer.from(text);
  const head = payload.length < 126 ? [0x80 | opcode, 0x80 | payload.length] : [0x80 | opcode, 0xfe, payload.length >> 8, payload.length & 255];
  return Buffer.concat([Buffer.from([...head, 0, 0, 0, 0]), payload]);
}

/** A bare TCP connection that collects what it hears; `heard(text)` waits for it. */
function raw(port, head) {
  const socket = net.connect(port, '127.0.0.1');
  sockets.push(socket);
  const self = { socket, text: '', ended: false };
  socket.on('error', () => {});
  socket.on('close', () => { self.ended = true; });
  socket.on('data', (bytes) => { self.text += bytes.toString('latin1'); });
  self.heard = (text) => eventually(() => self.text.includes(text), `"${text}" (heard ${JSON.stringify(self.text.slice(0, 300))})`);
  self.status = () => eventually(() => self.text.match(/^HTTP\/1\.[01] (\d+)/)?.[1], 'a status').then(Number);
  socket.write(head);
  return self;
}

/** Writes `bytes` again and again, as fast as they are taken, until told to end. */
function flood({ socket }, bytes) {
  const chunk = Buffer.concat(Array(Math.ceil((128 * 1024) / bytes.length)).fill(bytes));
  let on = true;
  const more = () => { while (on && !socket.destroyed && socket.write(chunk)); };
  socket.on('drain', more);
  more();
  return () => { on = false; socket.destroy(); };
}

before(async () => {
  server = await serve('examples/concrete-plant/oyez.toml');
  honest = await connected(connect(`${server.url}/ws`, { transports: ['websocket'], auth: { token: token({ sub: 1, userType: 'user', siteId: 1 }) } }));
});
after(async () => {
  for (const socket of sockets) socket.destroy();
  honest?.disconnect();
  assert.equal(await server?.stop(), 0);
  assert.deepEqual(server.logs.filter((line) => line.includes('panicked')), []);
});

describe('a client that talks without end', () => {
  for (const [what, text] of Object.entries(FLOODS)) {
    test(`floods ${what}, and nobody waits for it`, async () => {
      // Several, so that every shard has some.
      const ends = [];
      for (let user = 100; user < 104; user += 1) {
        const client = raw(server.port, `GET ${ENGINE} HTTP/1.1\r\nHost: x\r\n${UPGRADE}\r\n`);
        client.socket.write(frame(CONNECT(user)));
        await client.heard('40/ws');
        client.socket.removeAllListeners('data').pause();
        ends.push(flood(client, frame(text)));
      }
      try {
        for (let count = 0; count < 5; count += 1) {
          const heard = next(honest, `tick-${what}`, 3000);
          await server.publish('user:1', `tick-${what}`, {});
          await heard;
        }
      } finally {
        ends.forEach((end) => end());
      }
    });
  }

  test('floods pings on a probe, and the session that it probes keeps polling', async () => {
    const polling = `${server.url}/socket.io/?EIO=4&transport=polling`;
    const { sid } = JSON.parse((await (await fetch(polling)).text()).slice(1));
    const probe = raw(server.port, `GET ${ENGINE}&sid=${sid} HTTP/1.1\r\nHost: x\r\n${UPGRADE}\r\n`);
    assert.equal(await probe.status(), 101);
    probe.socket.removeAllListeners('data').pause();
    const end = flood(probe, frame('', 9));
    try {
      const post = await fetch(`${polling}&sid=${sid}`, { method: 'POST', body: CONNECT(110), signal: AbortSignal.timeout(3000) });
      assert.equal(await post.text(), 'ok');
      const heard = next(honest, 'tick-probe', 3000);
      await server.publish('user:1', 'tick-probe', {});
      await heard;
    } finally {
      end();
    }
  });

  test('floods after a fault, and is dropped within seconds all the same', async () => {
    const client = raw(server.port, `GET ${ENGINE} HTTP/1.1\r\nHost: x\r\n${UPGRADE}\r\n`);
    assert.equal(await client.status(), 101);
    client.socket.write(frame('9'));
    const end = flood(client, frame('42["x"]'));
    await eventually(() => client.ended, 'the end of the connection');
    end();
  });
});

describe('what is not a WebSocket handshake', () => {
  for (const [what, head] of [
    ['a POST', `POST ${ENGINE} HTTP/1.1\r\nHost: x\r\n${UPGRADE}\r\n`],
    ['a request with a body', `GET ${ENGINE} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n${UPGRADE}\r\nhello`],
    ['a request with chunks', `GET ${ENGINE} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n${UPGRADE}\r\n0\r\n\r\n`],
    ['a choice of protocols', `GET ${ENGINE} HTTP/1.1\r\nHost: x\r\n${UPGRADE.replace('websocket', 'h2c, websocket')}\r\n`],
    ['HTTP/1.0', `GET ${ENGINE} HTTP/1.0\r\nHost: x\r\n${UPGRADE}\r\n`],
  ]) {
    test(`${what} is refused`, async () => assert.equal(await raw(server.port, head).status(), 400));
  }
});

describe('a polling client that was away', () => {
  // More than one response takes, and the connection ends meanwhile.
  const COUNT = 40;
  async function away(server, user) {
    const polling = `${server.url}/socket.io/?EIO=4&transport=polling`;
    const { sid } = JSON.parse((await (await fetch(polling)).text()).slice(1));
    const get = async () => { const answer = await fetch(`${polling}&sid=${sid}`); return { status: answer.status, packets: (await answer.text()).split('\x1e') }; };
    assert.equal(await (await fetch(`${polling}&sid=${sid}`, { method: 'POST', body: CONNECT(user) })).text(), 'ok');
    await get();
    for (let count = 0; count < COUNT; count += 1) await server.publish(`user:${user}`, 'order', { count });
    /** Everything up to the goodbye. */
    return async () => {
      const packets = [];
      while (packets.at(-1) !== '1') {
        const answer = await get();
        assert.equal(answer.status, 200, `after ${packets.length} packets`);
        packets.push(...answer.packets);
      }
      assert.deepEqual(packets.filter((packet) => packet.includes('"order"')).map((packet) => JSON.parse(packet.slice(6))[1].count), Array.from({ length: COUNT }, (_, count) => count));
    };
  }

  test('hears all of it after the server has ended its session', async () => {
    const fetchAll = await away(server, 120);
    const answer = await server.api('/api/v1/disconnect', { body: { user: '120', transport: true } });
    assert.equal(answer.status, 200, answer.text);
    await fetchAll();
  });

  test('hears all of it while the node goes down', async () => {
    const mortal = await serve('examples/concrete-plant/oyez.toml');
    const fetchAll = await away(mortal, 121);
    const stopped = mortal.stop();
    await fetchAll();
    assert.equal(await stopped, 0);
  });
});

test('a head far beyond 32 KiB is refused', async () => {
  const cookie = raw(server.port, `GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nCookie: ${'a=b; '.repeat(20000)}\r\n\r\n`);
  assert.equal(await cookie.status(), 431);
});

test('an answer does not wait for the rest of the next request', async () => {
  const request = 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n';
  const pipelined = raw(server.port, `${request}${request}${request.slice(0, 20)}`);
  assert.equal(await pipelined.status(), 200);
});

test('an answer is not lost when its client ends its side in the middle of the next request', async () => {
  const request = 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n';
  const ended = raw(server.port, `${request}${request.slice(0, 20)}`);
  ended.socket.end();
  assert.equal(await ended.status(), 200);
});

test('no answer is lost when its client ends its side right after the last request', async () => {
  const request = 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n';
  const requests = request.repeat(1000);
  // That the goodbye comes while an answer is owed is up to chance; several make it likely.
  const clients = Array.from({ length: 20 }, () => raw(server.port, requests));
  clients.forEach((client) => client.socket.end());
  await eventually(() => clients.every((client) => client.ended), 'the end of all connections');
  assert.deepEqual(clients.map((client) => client.text.split('HTTP/1.1 200').length - 1), clients.map(() => 1000));
});

test('whoever is let in while the node goes down is told so, and the node does not wait for them', async () => {
  for (let round = 0; round < 5; round += 1) {
    const mortal = await serve('examples/concrete-plant/oyez.toml');
    const clients = Array.from({ length: 300 }, () => raw(mortal.port, ''));
    await eventually(() => clients.every((client) => client.socket.readyState === 'open'), 'all connections');
    clients.forEach((client, index) => {
      client.socket.write(`GET ${ENGINE} HTTP/1.1\r\nHost: x\r\n${UPGRADE}\r\n`);
      if (index === 150) mortal.child.kill('SIGTERM');
    });
    assert.equal(await mortal.exited, 0);
    await eventually(() => clients.every((client) => client.ended), 'the end of all connections');
    const entered = clients.filter((client) => client.text.startsWith('HTTP/1.1 101'));
    assert.deepEqual(entered.filter((client) => !client.text.endsWith('going_away')).map((client) => client.text), []);
  }
});
