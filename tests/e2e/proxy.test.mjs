// Behind forwarders: PROXY headers and X-Forwarded-For or Forwarded, from those who are trusted and from those who are
// not. Here this machine is the forwarder; `cargo xtask siege proxies` has real ones.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import net from 'node:net';
import tls from 'node:tls';
import { readFileSync } from 'node:fs';
import { authority } from './authority.mjs';
import { API_KEY, SECRET, connect, connected, next, token } from './harness.mjs';
import { raw, run, folder, serving } from './stage.mjs';
import { Inbox, eventually } from './waiting.mjs';

const APP = `
[key.backend]
secret = { env = "OYEZ_API_KEY" }

[app.desk]
origins = ["https://desk.example"]

[app.desk.socketio]
[app.desk.websocket]

[app.desk.auth]
from = ["auth.token", "query.token"]

[app.desk.auth.jwt]
algorithms = ["HS256"]
secret = { env = "JWT_SECRET" }

[app.desk.identity]
user = "claims.sub"

[[app.desk.channel]]
name = "user:{id}"
subscribe = "id == user.id"

[app.desk.connect]
join = "user:{user.id}"
reply = { event = "welcome", data = "{'address': session.address}" }

[app.desk.limits]
connections_per_address = 2
`;
const proxy = (lines) => `[server.proxy]\n${lines}\n${APP}`;
const HEAD_TIMEOUT_MS = 5000;
const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');

/** A header of version 1. */
const text = (ip, port = 4711) => Buffer.from(`PROXY TCP${net.isIPv6(ip) ? 6 : 4} ${ip} ${net.isIPv6(ip) ? '::1' : '127.0.0.1'} ${port} 443\r\n`);

/** A header of version 2 with this command, family and block. */
function binary(command, family, block) {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(block.length);
  return Buffer.concat([SIGNATURE, Buffer.from([command, family]), length, block]);
}

/** A header of version 2 for an IPv4 address, and what AWS adds. */
function announced(ip) {
  const addresses = Buffer.from([...ip.split('.').map(Number), 10, 0, 0, 1, 0x12, 0x67, 0x01, 0xbb]);
  return binary(0x21, 0x11, Buffer.concat([addresses, Buffer.from([0xea, 0, 3, 1, 97, 98])]));
}
const LOCAL = binary(0x20, 0x00, Buffer.alloc(0));

/** A forwarder to `server`, until `t` is over, that says `header` at the start of each connection; gives its port. */
async function forwarder(t, server, header) {
  const open = new Set();
  const door = net.createServer((client) => {
    const behind = net.connect(server.port, '127.0.0.1');
    behind.write(header);
    client.pipe(behind).pipe(client);
    for (const [one, other] of [[client, behind], [behind, client]]) {
      open.add(one);
      one.on('error', () => other.destroy());
      one.on('close', () => open.delete(one));
    }
  });
  await new Promise((resolve) => door.listen(0, '127.0.0.1', resolve));
  t.after(() => { door.close(); open.forEach((socket) => socket.destroy()); });
  return door.address().port;
}

/** A stock client of `url`, connected; `welcome` is where the server says that it comes from. */
async function client(t, url, options = {}) {
  const socket = connect(url, { auth: { token: token({ sub: 'u' }) }, ...options });
  t.after(() => socket.disconnect());
  const heard = Inbox.of(socket);
  const upgraded = options.transports === undefined && new Promise((resolve) => socket.io.engine.once('upgrade', resolve));
  await connected(socket);
  await upgraded;
  socket.welcome = (await heard.take('welcome')).address;
  return socket;
}

/** Lets a client leave, and waits until its place is free. */
async function left(server, leave) {
  const count = () => server.logs.filter((line) => line.includes('"disconnect"')).length;
  const before = count();
  leave();
  await eventually(() => count() > before, 'the server notices');
}

/** Everything that comes back on a connection of its own for these bytes, until it is closed. */
async function answer(server, ...pieces) {
  const socket = net.connect(server.port, '127.0.0.1');
  socket.setNoDelay(true).on('error', () => {});
  let heard = '';
  socket.on('data', (bytes) => { heard += bytes; });
  const closed = next(socket, 'close', HEAD_TIMEOUT_MS + 3000);
  for (const piece of pieces) await new Promise((resolve) => socket.write(piece, resolve));
  await closed;
  return heard;
}

const GET = 'GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';

async function counted(port, name) {
  const response = await fetch(`http://127.0.0.1:${port}/metrics`);
  const lines = (await response.text()).matchAll(new RegExp(`^${name}_total\\{reason="(.*)"\\} (\\d+)$`, 'gm'));
  return Object.fromEntries([...lines].map(([, reason, value]) => [reason, Number(value)]));
}

describe('a PROXY header is required of a trusted forwarder', () => {
  let server;
  const undo = [];
  before(async () => { server = await serving({ after: (step) => undo.unshift(step) }, proxy('trusted = "127.0.0.1"\nprotocol = true')); });
  after(async () => { for (const step of undo) await step(); });

  for (const [version, header, expect] of [
    ['1 over IPv4', text('203.0.113.7'), '203.0.113.7'],
    ['1 over IPv6', text('2001:db8::7'), '2001:db8::7'],
    ['2', announced('203.0.113.8'), '203.0.113.8'],
  ]) {
    test(`version ${version}: both dialects, every transport and the API see the client`, async (t) => {
      const port = await forwarder(t, server, header);
      const url = `http://127.0.0.1:${port}`;
      for (const transports of [undefined, ['polling'], ['websocket']]) {
        const socket = await client(t, url, transports && { transports });
        assert.equal(socket.welcome, expect);
        await left(server, () => socket.disconnect());
      }
      const plain = raw(t, `ws://127.0.0.1:${port}/ws?token=${token({ sub: 'u' })}`);
      assert.equal((await plain.heard.take('welcome')).data.address, expect);
      const body = JSON.stringify({ to: 'user:u', event: 'news', data: { n: 1 } });
      const published = await fetch(`${url}/api/v1/publish`, { method: 'POST', body, headers: { authorization: `Bearer ${API_KEY}`, 'content-type': 'application/json' } });
      assert.equal(published.status, 200);
      assert.equal((await plain.heard.take('news')).data.n, 1);
      assert.ok(server.logs.some((line) => line.includes('"connect"') && line.includes(expect)), 'the log says it');
      await left(server, () => plain.terminate());
    });
  }

  test('what it says of itself is no client\'s address, and no header is believed on it', async (t) => {
    for (const header of [LOCAL, Buffer.from('PROXY UNKNOWN\r\n')]) {
      const port = await forwarder(t, server, header);
      assert.equal((await fetch(`http://127.0.0.1:${port}/healthz`)).status, 200);
      const socket = await client(t, `http://127.0.0.1:${port}`, { transports: ['websocket'], extraHeaders: { 'x-forwarded-for': '6.6.6.6' } });
      assert.equal(socket.welcome, '127.0.0.1');
      await left(server, () => socket.disconnect());
    }
  });

  test('in pieces, or in one with the request', async () => {
    const header = announced('203.0.113.9');
    assert.match(await answer(server, Buffer.concat([header, Buffer.from(GET)])), /^HTTP\/1\.1 200 /);
    assert.match(await answer(server, ...[...text('203.0.113.9')].map((byte) => Buffer.from([byte])), GET), /^HTTP\/1\.1 200 /);
    assert.match(await answer(server, header.subarray(0, 13), header.subarray(13, 20), Buffer.concat([header.subarray(20), Buffer.from(GET)])), /^HTTP\/1\.1 200 /);
  });

  test('the limit of connections is each client\'s, not the forwarder\'s', async (t) => {
    const [one, other] = await Promise.all(['203.0.113.20', '203.0.113.21'].map((ip) => forwarder(t, server, text(ip))));
    const join = (port) => client(t, `http://127.0.0.1:${port}`, { transports: ['websocket'] });
    await join(one);
    await join(one);
    await assert.rejects(join(one), /address/);
    await join(other);
  });

  test('without a good one the connection is closed with no answer, counted and logged', async (t) => {
    const port = await forwarder(t, server, LOCAL);
    const before = await counted(port, 'oyez_proxy_headers_refused');
    const long = binary(0x21, 0x11, Buffer.alloc(5000));
    for (const [bytes, reason] of [
      [Buffer.from(GET), 'missing'],
      [Buffer.from([22, 3, 1, 0, 100]), 'missing'],
      [Buffer.from('PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n'), 'malformed'],
      [Buffer.from(`PROXY TCP4 1.2.3.4 5.6.7.8 1 2 ${'x'.repeat(100)}`), 'too_long'],
      [long, 'too_long'],
      [binary(0x21, 0x41, Buffer.alloc(12)), 'malformed'],
      [binary(0x21, 0x11, Buffer.concat([Buffer.alloc(12), Buffer.from([3, 0, 4, 1, 2, 3, 4])])), 'checksum'],
    ]) {
      assert.equal(await answer(server, bytes, reason === 'too_long' ? '' : GET), '');
      const grown = async () => (await counted(port, 'oyez_proxy_headers_refused'))[reason] > before[reason];
      assert.ok(await grown(), reason);
      before[reason] += 1;
    }
    assert.ok(server.logs.some((line) => line.includes('proxy_header_refused') && line.includes('"missing"') && line.includes('send-proxy')));
  });

  test('it has to come in time', async () => {
    const begun = performance.now();
    const heard = await Promise.all([answer(server), answer(server, 'PROXY '), answer(server, announced('203.0.113.9').subarray(0, 20)), answer(server, LOCAL)]);
    const took = performance.now() - begun;
    assert.deepEqual(heard, ['', '', '', '']);
    assert.ok(took >= HEAD_TIMEOUT_MS - 500, `${took} ms`);
  });
});

test('a PROXY header stands before TLS, and what follows is encrypted as ever', async (t) => {
  const { ca, end, file, issue } = authority();
  t.after(end);
  issue('one');
  const files = { 'certificate.pem': readFileSync(file('one.pem')), 'key.pem': readFileSync(file('one.key')) };
  const config = `[server.tls]\ncertificate = "certificate.pem"\nkey = "key.pem"\n${proxy('trusted = "127.0.0.1"\nprotocol = true')}`;
  const server = await serving(t, config, { files });
  for (const header of [text('203.0.113.7'), announced('203.0.113.7')]) {
    const url = `https://127.0.0.1:${await forwarder(t, server, header)}`;
    const socket = await client(t, url, { ca });
    assert.equal(socket.welcome, '203.0.113.7');
    const plain = raw(t, `${url.replace('https', 'wss')}/ws?token=${token({ sub: 'u' })}`, { ca });
    assert.equal((await plain.heard.take('welcome')).data.address, '203.0.113.7');
    await left(server, () => plain.terminate());
    await left(server, () => socket.disconnect());
  }
  assert.equal(await answer(server, Buffer.from([22, 3, 1, 0, 100])), '', 'TLS without a header');
  // Inside of TLS it is nothing but a bad request.
  const port = await forwarder(t, server, LOCAL);
  const inside = tls.connect({ port, host: '127.0.0.1', ca }, () => inside.write(text('6.6.6.6')));
  let heard = '';
  inside.on('data', (bytes) => { heard += bytes; });
  await next(inside, 'close');
  assert.match(heard, /^HTTP\/1\.1 400 /);
});

test('a PROXY header of somebody who is not trusted is a bad request', async (t) => {
  const server = await serving(t, proxy('trusted = ["10.0.0.0/8", "2001:db8::/32"]\nprotocol = true'));
  assert.match(await answer(server, text('10.0.0.1'), GET), /^HTTP\/1\.1 400 /);
  assert.match(await answer(server, announced('10.0.0.1'), GET), /^HTTP\/1\.1 400 /);
  const socket = await client(t, server.url, { extraHeaders: { 'x-forwarded-for': '10.0.0.1', forwarded: 'for=10.0.0.1' } });
  assert.equal(socket.welcome, '127.0.0.1');
});

for (const [header, lines, spoofs] of [
  ['X-Forwarded-For', { one: '203.0.113.7', chain: '6.6.6.6, 203.0.113.7, 10.0.0.3', unknown: '203.0.113.7, unknown' }, { forwarded: 'for=6.6.6.6', 'x-real-ip': '6.6.6.6' }],
  ['Forwarded', { one: 'for="203.0.113.7:4711";proto=https', chain: 'for="6.6.6.6, for=203.0.113.7, for=10.0.0.3', unknown: 'for=203.0.113.7, for=_hidden' }, { 'x-forwarded-for': '6.6.6.6', 'x-real-ip': '6.6.6.6' }],
]) {
  test(`${header} of a trusted forwarder names the client; nothing else does`, async (t) => {
    const server = await serving(t, proxy(`trusted = ["127.0.0.1", "10.0.0.0/8"]\nheader = "${header}"`));
    const name = header.toLowerCase();
    for (const [line, expect] of [[lines.one, '203.0.113.7'], [lines.chain, '203.0.113.7'], [lines.unknown, '127.0.0.1']]) {
      for (const transports of [['polling'], ['websocket']]) {
        const socket = await client(t, server.url, { transports, extraHeaders: { [name]: line, ...spoofs } });
        assert.equal(socket.welcome, expect, `${line} over ${transports}`);
        await left(server, () => socket.disconnect());
      }
      const plain = raw(t, `${server.ws}/ws?token=${token({ sub: 'u' })}`, { headers: { [name]: line, ...spoofs } });
      assert.equal((await plain.heard.take('welcome')).data.address, expect);
      await left(server, () => plain.terminate());
    }
    const spoofed = await client(t, server.url, { transports: ['websocket'], extraHeaders: spoofs });
    assert.equal(spoofed.welcome, '127.0.0.1');
    // Two of one client, and a third is one too many; what they write in front makes no other client of them.
    const join = (before) => client(t, server.url, { transports: ['websocket'], extraHeaders: { [name]: header === 'Forwarded' ? `for=${before}, for=203.0.113.30` : `${before}, 203.0.113.30` } });
    await join('6.6.6.1');
    await join('6.6.6.2');
    await assert.rejects(join('6.6.6.3'), /address/);
  });
}

test('without [server.proxy] nobody is believed', async (t) => {
  const server = await serving(t, APP);
  const socket = await client(t, server.url, { extraHeaders: { 'x-forwarded-for': '6.6.6.6', forwarded: 'for=6.6.6.6' } });
  assert.equal(socket.welcome, '127.0.0.1');
  assert.match(await answer(server, text('6.6.6.6'), GET), /^HTTP\/1\.1 400 /);
});

test('what cannot be meant is refused at the start, with the remedy', async (t) => {
  for (const [lines, expect] of [
    ['trusted = "10.0.0.1/8"', /oyez\.toml:2:11: server\.proxy\.trusted: `10\.0\.0\.1\/8`: .*\n.*help: write "10\.0\.0\.0\/8"/],
    ['trusted = ["0.0.0.0/0"]', /everybody would be believed/],
    ['trusted = "balancer"', /it is no address and no network/],
    ['trusted = []', /nobody is believed/],
    ['header = "Forwarded"', /server\.proxy\.trusted is missing/],
    ['trusted = "10.0.0.0/8"\nheader = "Forwarde"', /did you mean `Forwarded`/],
    ['trusted = "10.0.0.0/8"\nheader = ["X-Forwarded-For", "Forwarded"]', /names several headers/],
    ['trusted = "10.0.0.0/8"\nheader = "none"', /believes nothing/],
    ['trusted = "10.0.0.0/8"\nprotocol = 2', /server\.proxy\.protocol must be true or false/],
  ]) {
    const path = folder(t, { 'oyez.toml': proxy(lines) });
    const { code, stderr } = await run(['check', `${path}/oyez.toml`], { JWT_SECRET: SECRET, OYEZ_API_KEY: API_KEY });
    assert.equal(code, 1, stderr);
    assert.match(stderr, expect);
  }
});
