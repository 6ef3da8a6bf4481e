// Hostile bytes: each file of `tests/corpus` against one real server, beside an honest stock client that must not notice.
// What must happen stands in `tests/corpus/KIND.json`: `close CODE NAME` and `status …` within a second, `hears TEXT` and
// `stays` with a connection that is still of use.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import notepack from 'notepack.io';
import { manifest, tables } from '../corpus/generate.mjs';
import { ROOT, connect, connected, serve, token } from './harness.mjs';
import { Raw, Wire } from './wire.mjs';

const HOME = 'tests/corpus';
const AT_ONCE = 8;
/** The longest that the server may take to end a connection. */
const SECOND = 1000;
const ENGINE = '/socket.io/?EIO=4&transport=';
const V3 = '/socket.io/?EIO=3&transport=';

let server;
let honest;
let shown;
let serial = 0;

/** Waits for `promise`, but not longer than a second; what it gives, or undefined. */
const soon = (promise) => Promise.race([promise, delay(SECOND, undefined, { ref: false })]);

const isText = (name) => name.endsWith('.txt');

// ── websockets ──

/** A connection of each kind, ready for the file: how it begins, how a file is said, and what shows that it lives. */
const STAGES = {
  frames: { open: joined, say: (wire, bytes) => wire.write(bytes), probe },
  deflate: { open: () => joined(['Sec-WebSocket-Extensions: permessage-deflate']), say: (wire, bytes) => wire.write(bytes), probe },
  engine: { open: () => ready(new Wire(server.port, `${ENGINE}websocket`), (text) => text.startsWith?.('0{')), say: message, probe: joins },
  engine3: { open: () => ready(new Wire(server.port, `${V3}websocket&token=${shown}`), (text) => text === '40'), say: message, probe },
  socketio: { open: joined, say: packets, probe },
  json: { open: joined, say: packets, probe },
  names: { open: joined, say: packets, probe },
  native: { open: native, say: message, probe: probeNative },
  msgpack: { open: joinedInMsgpack, say: message, probe: probeInMsgpack },
};

async function ready(wire, fits) {
  assert.ok(await wire.hears(fits), 'the stage is set');
  wire.heard.length = 0;
  return wire;
}

async function joined(more) {
  const wire = new Wire(server.port, `${ENGINE}websocket`, more);
  wire.say(`40${JSON.stringify({ token: shown })}`);
  return ready(wire, (text) => text.startsWith?.('40{'));
}

async function native() {
  const wire = new Wire(server.port, `/ws?token=${shown}`);
  wire.say('{"type":"probe","n":0}');
  return ready(wire, (text) => text.includes?.('alive'));
}

async function joinedInMsgpack() {
  const wire = new Wire(server.port, `${ENGINE}websocket`);
  wire.say(notepack.encode({ type: 0, nsp: '/', data: { token: shown } }));
  return ready(wire, (message) => Buffer.isBuffer(message) && message.includes('sid'));
}

function message(wire, bytes, name) {
  if (name.endsWith('.raw')) wire.write(bytes);
  else wire.say(isText(name) ? bytes.toString('utf8') : bytes);
}

function packets(wire, bytes) {
  for (const packet of bytes.toString('utf8').split('\x1e')) wire.say(packet.startsWith('b') ? Buffer.from(packet.slice(1), 'base64') : `${packet}`);
}

function probe(wire, n) {
  wire.say(`42["probe",{"n":${n}}]`);
  return (text) => text === `42["alive",${n}]`;
}

function joins(wire) {
  wire.say(`40${JSON.stringify({ token: shown })}`);
  return (text) => text.startsWith?.('40{');
}

function probeNative(wire, n) {
  wire.say(`{"type":"probe","n":${n}}`);
  return (text) => text === `{"type":"alive","data":${n}}`;
}

function probeInMsgpack(wire, n) {
  wire.say(notepack.encode({ type: 2, nsp: '/', data: ['probe', { n }] }));
  return (answer) => Buffer.isBuffer(answer) && answer.includes('alive') && notepack.decode(answer).data?.[1] === n;
}

/** Plays a file on a websocket, and says what happened in the words of the manifest. */
async function onWebsocket({ open, say, probe: ask }, { name, bytes, expect }) {
  const wire = await open();
  try {
    const begun = performance.now();
    say(wire, bytes, name);
    const [word] = expect.split(' ', 1);
    if (word === 'close') {
      const end = await soon(wire.closed);
      if (!end) return `open after ${SECOND} ms`;
      assert.ok(end.at - begun < SECOND, `closed after ${end.at - begun} ms`);
      return `close ${end.code} ${end.reason}`;
    }
    const lives = ask(wire, ++serial);
    const answer = await wire.hears(lives);
    if (answer === undefined) {
      const end = await wire.closed;
      return `close ${end.code} ${end.reason}`;
    }
    if (word === 'stays') return 'stays';
    const wanted = expect.slice('hears '.length);
    return wire.heard.some((text) => text.startsWith?.(wanted)) ? expect : `hears ${JSON.stringify(wire.heard).slice(0, 300)}`;
  } finally {
    wire.destroy();
  }
}

// ── polling ──

async function onPolling(url, { name, bytes }, { probed, join }) {
  const opened = await (await fetch(url)).text();
  const { sid } = JSON.parse(opened.slice(opened.indexOf('{'), opened.indexOf('}') + 1));
  const own = `${url}&sid=${sid}`;
  const post = (body, type = 'text/plain;charset=UTF-8') => fetch(own, { method: 'POST', headers: { 'content-type': type }, body });
  if (join) {
    assert.equal((await post(join)).status, 200);
    await (await fetch(own)).text();
  }
  const begun = performance.now();
  const { status } = await post(bytes, isText(name) ? undefined : 'application/octet-stream');
  assert.ok(performance.now() - begun < SECOND, 'answered in time');
  const n = ++serial;
  await post(probed(n));
  let answer = await fetch(own);
  for (let text = await answer.text(); answer.status === 200; text = await answer.text()) {
    if (text.includes(`42["alive",${n}]`)) return `status ${status}, stays`;
    answer = await fetch(own);
  }
  return `status ${status}, over`;
}

const POLLS = {
  polling: (file) => onPolling(`${server.url}${ENGINE}polling`, file, { join: `40${JSON.stringify({ token: shown })}`, probed: (n) => `42["probe",{"n":${n}}]` }),
  polling3: (file) => onPolling(`${server.url}${V3}polling&b64=1&token=${shown}`, file, { probed: (n) => { const text = `42["probe",{"n":${n}}]`; return `${text.length}:${text}`; } }),
};

// ── HTTP ──

/** Sends a request in `pieces`, and then that nothing follows. */
async function request(pieces) {
  const raw = new Raw(server.port);
  try {
    await raw.opened;
    const begun = performance.now();
    for (const piece of pieces) await raw.write(piece);
    raw.socket.end();
    const at = await soon(raw.ended);
    assert.ok(at !== undefined && at - begun < SECOND, `ended within ${SECOND} ms (heard ${JSON.stringify(raw.text.slice(0, 100))})`);
    return `status ${raw.statuses().join(' ') || 'none'}`;
  } finally {
    raw.destroy();
  }
}

const REFUSALS = ['status 400', 'status none'];

/** The quick way of a whole request and the way of one in pieces must not differ. */
async function onHttp({ bytes }) {
  const whole = await request([bytes]);
  const half = Math.ceil(bytes.length / 2);
  const parted = await request([bytes.subarray(0, half), bytes.subarray(half)]);
  // Whether a refusal still has a word for it may depend on how much of the request was seen.
  if (!(REFUSALS.includes(whole) && REFUSALS.includes(parted))) assert.equal(parted, whole, 'in two pieces as in one');
  return whole;
}

// ── the test ──

const play = (kind, file) => {
  if (kind === 'http') return onHttp(file);
  return POLLS[kind] ? POLLS[kind](file) : onWebsocket(STAGES[kind], file);
};

const stored = (kind) => Object.entries(JSON.parse(readFileSync(join(ROOT, HOME, `${kind}.json`), 'utf8'))).map(([name, [expect, why]]) => ({ name, expect, why, bytes: readFileSync(join(ROOT, HOME, kind, name)) }));
const kinds = readdirSync(join(ROOT, HOME)).filter((name) => name.endsWith('.json')).map((name) => name.slice(0, -'.json'.length));

before(async () => {
  server = await serve(`${HOME}/app.toml`);
  shown = token({ sub: 'hostile' });
  honest = await connected(connect(server.url, { transports: ['websocket'], auth: { token: token({ sub: 'honest' }) } }));
  honest.ticks = [];
  honest.dropped = 0;
  honest.on('tick', ({ n, at }) => honest.ticks.push([n, performance.now() - at]));
  honest.on('disconnect', () => { honest.dropped += 1; });
});

after(async () => {
  honest?.disconnect();
  assert.equal(await server?.stop(), 0);
  assert.deepEqual(server.logs.filter((line) => /panicked|PANIC/.test(line)), []);
});

/** Publishes to the honest client without a pause until told to end, and expects everything to be heard, in order, in time. */
function beside() {
  let on = true;
  const run = (async () => {
    honest.ticks.length = 0;
    let sent = 0;
    for (; on; sent += 1) {
      await server.publish('user:honest', 'tick', { n: sent, at: performance.now() });
      await delay(5);
    }
    const end = performance.now() + SECOND;
    while (honest.ticks.length < sent && performance.now() < end) await delay(5);
    assert.deepEqual(honest.ticks.map(([n]) => n), Array.from({ length: sent }, (_, n) => n), 'everything was heard, in order');
    const slowest = Math.max(...honest.ticks.map(([, ms]) => ms));
    assert.ok(slowest < SECOND, `the slowest took ${slowest} ms`);
    assert.equal(honest.dropped, 0, 'the honest client stayed connected');
  })();
  return async () => { on = false; await run; };
}

for (const kind of kinds) {
  test(`${kind}: every file ends as its manifest says, and an honest client notices nothing`, async () => {
    const files = stored(kind);
    const quiet = beside();
    const wrong = [];
    const queue = [...files];
    await Promise.all(Array.from({ length: AT_ONCE }, async () => {
      for (let file = queue.shift(); file; file = queue.shift()) {
        const { name, expect, why } = file;
        const found = await play(kind, file).catch((error) => `error: ${error.message}`);
        if (found !== expect) wrong.push({ name, expect, found, why });
      }
    }));
    await quiet();
    assert.deepEqual(wrong, []);
    console.log(`corpus files: ${files.length} (${kind})`);
  });
}

describe('the stored files', () => {
  test('are what the tables say', async () => {
    for (const [kind, cases] of Object.entries(await tables())) {
      assert.equal(readFileSync(join(ROOT, HOME, `${kind}.json`), 'utf8'), manifest(cases), `${kind}.json: run node ${HOME}/generate.mjs`);
      assert.deepEqual(readdirSync(join(ROOT, HOME, kind)).sort(), cases.map(({ name }) => name).sort());
      // What zlib makes of the same text differs from version to version.
      const differ = kind === 'deflate' ? [] : cases.filter(({ name, bytes }) => !bytes.equals(readFileSync(join(ROOT, HOME, kind, name))));
      assert.deepEqual(differ.map(({ name }) => name), [], `${kind}: run node ${HOME}/generate.mjs`);
    }
  });

  test('are at least 400, of every kind that a client can speak', () => {
    assert.ok(kinds.flatMap(stored).length >= 400);
    assert.deepEqual(kinds, ['deflate', 'engine', 'engine3', 'frames', 'http', 'json', 'msgpack', 'names', 'native', 'polling', 'polling3', 'socketio']);
  });
});
