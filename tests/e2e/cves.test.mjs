// The published vulnerabilities of the Socket.IO stack, one test each: what went wrong there, and why it does not here.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { constants, deflateRawSync } from 'node:zlib';
import { frame, long64, times } from '../corpus/build.mjs';
import { connect, connected, next, serve, token } from './harness.mjs';
import { Raw, Wire, upgrade } from './wire.mjs';

const WEBSOCKET = '/socket.io/?EIO=4&transport=websocket';
const POLLING = '/socket.io/?EIO=4&transport=polling';
const MIB = 1024 * 1024;

let server;
let honest;
let shown;

before(async () => {
  server = await serve('tests/corpus/app.toml');
  shown = token({ sub: 'hostile' });
  honest = await connected(connect(server.url, { transports: ['websocket'], auth: { token: token({ sub: 'honest' }) } }));
});

after(async () => {
  assert.equal(honest.connected, true, 'the honest client was never cut');
  await serves();
  honest.disconnect();
  assert.equal(await server.stop(), 0);
  assert.deepEqual(server.logs.filter((line) => /panicked|PANIC/.test(line)), []);
});

/** The server still serves: what it is told reaches the honest client. */
async function serves() {
  const heard = next(honest, 'alive', 1000);
  honest.emit('probe', { n: 1 });
  assert.deepEqual(await heard, [1]);
}

/** A websocket that has joined `/`. */
async function joined(more) {
  const wire = new Wire(server.port, WEBSOCKET, more);
  wire.say(`40${JSON.stringify({ token: shown })}`);
  assert.ok(await wire.hears((text) => text.startsWith?.('40{')));
  return wire;
}

/** Says these messages on a websocket of its own and expects it to be closed so. */
async function closes(code, reason, ...messages) {
  const wire = await joined();
  const begun = performance.now();
  messages.forEach((message) => wire.say(message));
  const end = await wire.closed;
  assert.deepEqual([end.code, end.reason], [code, reason], String(messages[0]).slice(0, 100));
  assert.ok(end.at - begun < 1000, `closed after ${end.at - begun} ms`);
}

/** Sends a request and gives its status, which must come within a second. */
async function status(head) {
  const raw = new Raw(server.port);
  const begun = performance.now();
  await raw.write(head);
  raw.socket.end();
  await raw.ended;
  raw.destroy();
  assert.ok(performance.now() - begun < 1000, 'answered in time');
  return raw.statuses()[0];
}

/** Resident memory of the server, in bytes. */
const memory = () => Number(readFileSync(`/proc/${server.child.pid}/status`, 'latin1').match(/VmRSS:\s+(\d+) kB/)[1]) * 1024;

test('CVE-2016-10518: a pong holds what the ping held, and nothing of the memory behind it', async () => {
  // ws before 1.0.1 answered a ping by a buffer that it allocated by the payload's value, with old memory in it. Here the
  // payload is bytes that were read, copied into the answer.
  const payloads = ['', '0', '100', '99999', '\0', ...Array.from({ length: 125 }, (_, length) => times(length, 'p'))];
  const said = [Buffer.from(upgrade(WEBSOCKET)), ...payloads.map((payload) => frame(0x89, payload)), frame(0x88)];
  // One by one, and with the request: what is answered to pings comes after what is answered to that, and before the end.
  for (const writes of [said, [said[0], Buffer.concat(said.slice(1))], [Buffer.concat(said)]]) {
    const raw = new Raw(server.port);
    for (const bytes of writes) await raw.write(bytes);
    await raw.ended;
    const expect = payloads.map((payload) => String.fromCharCode(0x8a, payload.length) + payload).join('');
    const [head, answers] = raw.text.split(/(?<=\r\n\r\n)/);
    assert.match(head, /^HTTP\/1\.1 101 /);
    assert.match(answers, /^\x81.0\{"sid":/, 'first the session is open');
    assert.ok(answers.includes(`}${expect}\x88`), 'each pong is its ping');
    raw.destroy();
  }
});

test('CVE-2016-10542: a frame that announces gigabytes is refused by its header', async () => {
  // ws before 1.1.1 took messages of any length. Here the limit is checked before a byte of the payload is waited for, and
  // nothing is set aside for what is only announced.
  const before = memory();
  for (const length of [65537n, 1n << 31n, 1n << 40n, (1n << 63n) - 1n]) {
    const wire = await joined();
    wire.write(frame(0x82, 'x', { length: long64(length) }));
    assert.deepEqual([(await wire.closed).code, (await wire.closed).reason], [1009, 'message_too_big']);
  }
  assert.ok(memory() - before < 8 * MIB);
});

test('CVE-2017-16031: session ids cannot be guessed', async () => {
  // socket.io before 0.9.7 made ids by Math.random. Here 64 bits of each are from a cryptographic generator.
  const count = 200;
  const opened = await Promise.all(Array.from({ length: count }, async () => JSON.parse((await (await fetch(server.url + POLLING)).text()).slice(1)).sid));
  const secrets = opened.map((sid) => Buffer.from(sid, 'base64url').readBigUInt64LE());
  assert.equal(new Set(secrets).size, count);
  for (let bit = 0n; bit < 64n; bit += 1n) {
    const set = secrets.filter((secret) => (secret >> bit) & 1n).length;
    assert.ok(set > count * 0.25 && set < count * 0.75, `bit ${bit} is set in ${set} of ${count}`);
  }
  const gaps = secrets.slice(1).map((secret, index) => secret - secrets[index]);
  assert.equal(new Set(gaps).size, count - 1, 'they do not count');
});

test('CVE-2020-28481: pages of foreign origins are not let in', async () => {
  // socket.io before 2.4.0 allowed every origin unless told otherwise. Here `origins` has no default: an app without it does
  // not start, and one with it lets nobody else read or connect.
  for (const origin of ['https://evil.example', 'https://corpus.example.evil.example', 'null', 'http://corpus.example']) {
    const answer = await fetch(server.url + POLLING, { headers: { origin } });
    assert.equal(answer.status, 403, origin);
    assert.equal(answer.headers.get('access-control-allow-origin'), null, origin);
    assert.equal(await status(upgrade(WEBSOCKET, [`Origin: ${origin}`])), 400, origin);
  }
  const own = await fetch(server.url + POLLING, { headers: { origin: 'https://corpus.example' } });
  assert.equal(own.headers.get('access-control-allow-origin'), 'https://corpus.example');
});

test('CVE-2020-36048: a POST without end is cut off at the limit', async () => {
  // engine.io before 4.0.0 collected a POST by concatenating strings, up to 100 MB. Here a body is read up to `max_payload`
  // and then refused; the session lives on.
  const { sid } = JSON.parse((await (await fetch(server.url + POLLING)).text()).slice(1));
  const before = memory();
  const head = `POST ${POLLING}&sid=${sid} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n`;
  const chunk = `10000\r\n${times(0x10000, '4')}\r\n`;
  const raw = new Raw(server.port);
  await raw.write(`${head}${chunk}1\r\n4\r\n`);
  await raw.ended;
  assert.deepEqual(raw.statuses(), [413], 'one byte too many, and the end is not waited for');
  assert.ok(memory() - before < 8 * MIB);
  raw.destroy();
  const own = `${server.url}${POLLING}&sid=${sid}`;
  assert.equal((await fetch(own, { method: 'POST', body: `40${JSON.stringify({ token: shown })}` })).status, 200);
});

test('CVE-2020-36049: a packet with a number of a million digits costs no more than its bytes', async () => {
  // socket.io-parser before 3.4.1 read numbers digit by digit into strings, in time that grew with the square. Here digits
  // are a slice of the text, and a number that does not fit is refused.
  await closes(4505, 'parse_error', `45${times(60000, '1')}-["x"]`);
  await closes(4505, 'parse_error', `42${times(60000, '1')}["x"]`);
  await closes(4505, 'parse_error', `42/${times(60000, 'a')}`);
  const polled = JSON.parse((await (await fetch(server.url + POLLING)).text()).slice(1)).sid;
  const begun = performance.now();
  const answer = await fetch(`${server.url}${POLLING}&sid=${polled}`, { method: 'POST', body: `4${times(60000, '\x1e4')}`.slice(0, 65536) });
  assert.equal(answer.status, 400);
  assert.ok(performance.now() - begun < 1000);
});

test('CVE-2021-32640: a header of spaces is not slow to part', async () => {
  // ws before 7.4.6 parted Sec-WebSocket-Protocol by a regular expression that backtracked. Here there are none, and a head
  // has at most 32 KiB.
  for (const value of [`b${times(30000, ' ')}x`, times(15000, ' ,'), times(30000, ',')]) {
    assert.equal(await status(upgrade(WEBSOCKET, [`Sec-WebSocket-Protocol: ${value}`])), 101);
    assert.equal(await status(upgrade(WEBSOCKET, [`Sec-WebSocket-Extensions: permessage-deflate${value}`])), 101);
  }
});

test('CVE-2022-2421: a placeholder refers to a binary of its packet or to nothing', async () => {
  // socket.io-parser before 4.0.5 took any property name as `num`, so that a client placed references to functions. Here
  // `num` must be a number below the count of attachments, each used once.
  for (const num of ['"splice"', '"constructor"', '"__proto__"', '"length"', '-1', '1', '0.5', 'null', '{}', '[0]', 'true']) {
    await closes(4505, 'parse_error', `451-["x",{"_placeholder":true,"num":${num}}]`, Buffer.from('x'));
  }
});

test('CVE-2022-21676: a bad frame of a probing websocket closes that websocket only', async () => {
  // engine.io 4.0.0 to 6.1.0 did not listen for errors of a websocket that was probing; one bad frame ended the process. Here
  // it ends the probe, and its session goes on polling.
  const own = `${server.url}${POLLING}&sid=${JSON.parse((await (await fetch(server.url + POLLING)).text()).slice(1)).sid}`;
  for (const bad of [frame(0xb1, 'a'), frame(0x83, 'a'), frame(0x81, 'a', { mask: false }), frame(0x81, [0xff])]) {
    const wire = new Wire(server.port, own.slice(server.url.length).replace('polling', 'websocket'));
    wire.write(bad);
    await wire.closed;
  }
  assert.equal((await fetch(own, { method: 'POST', body: `40${JSON.stringify({ token: shown })}` })).status, 200);
  assert.match(await (await fetch(own)).text(), /^40\{/);
});

test('CVE-2022-41940: an upgrade that is refused and then reset harms nobody', async () => {
  // engine.io before 6.2.1 wrote to a refused socket without listening for its errors; a reset ended the process. Here every
  // read and write has its result looked at.
  for (const target of [POLLING, '/socket.io/?EIO=4&transport=nope', '/socket.io/?EIO=9&transport=websocket', `${WEBSOCKET}&sid=nope`, WEBSOCKET]) {
    const raw = new Raw(server.port);
    await raw.opened;
    await raw.write(upgrade(target));
    raw.socket.resetAndDestroy();
  }
  await serves();
});

test('CVE-2023-31125: a transport named like a property of an object is unknown', async () => {
  // engine.io 5.1.0 to 6.4.1 looked transports up in an object, whose inherited properties were found. Here it is a match on
  // two words.
  for (const name of ['constructor', '__proto__', 'toString', 'hasOwnProperty', 'valueOf', 'prototype']) {
    const answer = await fetch(`${server.url}/socket.io/?EIO=4&transport=${name}`);
    assert.deepEqual([answer.status, await answer.json()], [400, { code: 0, message: 'Transport unknown' }], name);
    assert.equal(await status(upgrade(`/socket.io/?EIO=4&transport=${name}`)), 400, name);
  }
});

test('CVE-2023-32695: an event whose name is an object is refused', async () => {
  // socket.io-parser 4.0.4 to 4.2.2 took an object as the name, and making it text threw. Here a name is a string or number.
  for (const name of ['{"toString":"foo"}', '{}', '[]', 'null', 'true', '[["x"]]']) await closes(4505, 'parse_error', `42[${name}]`);
});

test('CVE-2024-37890: a request with two thousand headers is refused', async () => {
  // ws before 8.17.1 read the header Upgrade without asking whether it was among those that Node had kept. Here a request
  // with more headers than are read is refused whole.
  const many = Array.from({ length: 2000 }, (_, index) => `X-${index}: x`);
  const [line, ...rest] = upgrade(WEBSOCKET).split('\r\n');
  assert.equal(await status([line, ...many, ...rest].join('\r\n')), 431);
  assert.equal(await status(upgrade(WEBSOCKET, many)), 431);
  const fewer = many.slice(0, 60);
  assert.equal(await status([line, ...fewer, ...rest].join('\r\n')), 101);
});

test('CVE-2024-38355: an event named `error` is an event like any other', async () => {
  // socket.io before 4.6.2 emitted a client's event `error` on an emitter that throws when nobody listens for that name.
  // Here names are looked up in a table of rules, and one that is not there is counted.
  const wire = await joined();
  wire.say('42["error"]');
  wire.say('42["error",{"message":"x"}]');
  wire.say('420["error"]');
  wire.say('42["probe",{"n":3}]');
  assert.ok(await wire.hears((text) => text === '42["alive",3]'));
  wire.destroy();
});

test('CVE-2026-33151: a packet announces at most ten attachments, and only a member may', async () => {
  // socket.io-parser before 4.2.6 waited for as many attachments as a packet announced, and kept what had come. Here ten are
  // the limit (CVE-2026-69185, mended in 4.2.7, was about the same), and whoever has not joined may leave none.
  for (const count of ['11', '1000000']) await closes(4505, 'too_many_attachments', `45${count}-["x"]`);
  await closes(4505, 'parse_error', '4599999999999999999999-["x"]');
  const stranger = new Wire(server.port, WEBSOCKET);
  stranger.say('4510-["x"]');
  assert.equal((await stranger.closed).reason, 'bad_state');
});

test('CVE-2026-48779: tiny fragments are counted, the empty ones too, and cost no memory of their own', async () => {
  // ws before 8.21.0 kept an object for each fragment and each chunk of data, a hundred times larger than what was in it.
  // Here fragments are appended to one buffer, and more than 500 crumbs at once end the connection.
  const before = memory();
  for (const crumb of [frame(0, 'a'), frame(0)]) {
    const wire = await joined();
    wire.write(Buffer.concat([frame(1, '4'), ...Array(100_000).fill(crumb)]));
    const end = await wire.closed;
    assert.ok(['flood', 'protocol_error'].includes(end.reason), end.reason);
  }
  // Byte by byte, with a pause that keeps them apart: the head and a hundred bytes of a message that is never whole.
  const slow = await joined();
  for (const byte of frame(0x81, times(100, 'a')).subarray(0, 90)) await new Promise((resolve) => { slow.socket.write(Buffer.of(byte), resolve); });
  assert.ok(memory() - before < 8 * MIB);
  slow.destroy();
});

test('a decompression bomb inflates to the limit and no further', async () => {
  const squeeze = (bytes) => deflateRawSync(bytes, { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, -4);
  const bomb = frame(0xc1, squeeze(Buffer.alloc(50 * MIB)));
  const before = memory();
  for (let count = 0; count < 5; count += 1) {
    const wire = await joined(['Sec-WebSocket-Extensions: permessage-deflate']);
    wire.write(bomb);
    assert.deepEqual([(await wire.closed).code, (await wire.closed).reason], [1009, 'message_too_big']);
  }
  assert.ok(memory() - before < 8 * MIB);
});
