// Everything that waits has an end: half of a request, a session without a namespace, an upgrade that is never finished,
// a client that is gone without a word, one that does not read. And time in which the server itself did not run is
// nobody's fault. Times are short here, by configuration; what takes long is in tests/siege.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import tls from 'node:tls';
import { setTimeout as delay } from 'node:timers/promises';
import { Bare, BareWebSocket } from './bare.mjs';
import { API_KEY, SECRET, attach, binary, connect, connected, next, token } from './harness.mjs';
import { folder, raw, service, serving } from './stage.mjs';
import { eventually, standstill } from './waiting.mjs';

const HEADER_MS = 700;
const IDLE_MS = 1500;
const BODY_MS = 4000;
const PING_MS = 400;
const PONG_MS = 300;
/** What a busy machine may add. */
const SLACK_MS = 900;

const config = ({ server = '', socketio = '', auth } = {}) => `
[server]
header_timeout = "${HEADER_MS}ms"
idle_timeout = "${IDLE_MS}ms"
body_timeout = "${BODY_MS}ms"
${server}
[key.backend]
secret = { env = "OYEZ_API_KEY" }
[app.desk]
origins = "*"
[app.desk.socketio]
${socketio}
[app.desk.websocket]
ping_interval = "${PING_MS}ms"
pong_timeout = "${PING_MS + PONG_MS}ms"
[app.desk.limits]
connections_per_user = 100
connects_per_second = "none"
[app.desk.auth]
from = ["auth.token", "query.token"]
${auth ?? '[app.desk.auth.jwt]\nalgorithms = ["HS256"]\nsecret = { env = "JWT_SECRET" }'}
[app.desk.identity]
user = "claims.sub"
[[app.desk.channel]]
name = "user:{id}"
subscribe = "id == user.id"
[app.desk.connect]
join = "user:{user.id}"
`;
const QUICK = `ping_interval = "${PING_MS}ms"\nping_timeout = "${PONG_MS}ms"\nconnect_timeout = "500ms"\nupgrade_timeout = "500ms"`;
const ENGINE = '/socket.io/?EIO=4&transport=websocket';
const GET = 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n';
const CONNECT = (user) => `40${JSON.stringify({ token: token({ sub: user }) })}`;

const suite = { undo: [], after: (undo) => suite.undo.unshift(undo) };
/** Short heartbeats. */
let quick;
/** Those of Socket.IO. */
let patient;

before(async () => {
  [quick, patient] = await Promise.all([serving(suite, config({ socketio: QUICK })), serving(suite, config())]);
});
after(async () => {
  for (const undo of suite.undo) await undo();
  for (const { logs } of [quick, patient]) assert.deepEqual(logs.filter((line) => line.includes('panicked')), []);
});

/** A polling session with connections of its own: {sid, get(), post(text), hangUp()}, each answer as {status, text}. */
async function polling(server, user, version = 4) {
  const path = `/socket.io/?EIO=${version}&transport=polling`;
  const agent = new http.Agent({ keepAlive: true });
  const ask = (query, { method = 'GET', body } = {}) => new Promise((resolve, reject) => {
    const request = http.request(server.url + path + query, { agent, method }, async (answer) => {
      let text = '';
      for await (const bytes of answer) text += bytes;
      resolve({ status: answer.statusCode, text });
    });
    request.on('error', reject).end(body);
  });
  const { text } = await ask('');
  const { sid } = JSON.parse(text.slice(text.indexOf('{'), text.lastIndexOf('}') + 1));
  const self = { sid, path: `${path}&sid=${sid}`, hangUp: () => agent.destroy(), get: () => ask(`&sid=${sid}`), post: (body) => ask(`&sid=${sid}`, { method: 'POST', body }) };
  if (user) {
    assert.equal((await self.post(CONNECT(user))).text, 'ok');
    assert.match((await self.get()).text, /^40/);
  }
  return self;
}

/** A session on a websocket that speaks only if told to. */
async function session(t, server, user) {
  const socket = BareWebSocket.at(t, server.port, ENGINE);
  socket.say(CONNECT(user));
  await socket.message((text) => text.startsWith('40'));
  return socket;
}

const count = async (server, user) => (await server.api(`/api/v1/connections?user=${user}`)).json.connections.length;
const gone = (server, user, ms) => eventually(async () => await count(server, user) === 0, `the end of ${user}`, ms);
const descriptors = (server) => readdirSync(`/proc/${server.child.pid}/fd`).length;

/** Milliseconds from the connection's beginning to its end, which must not come before `from` or much after `to`. */
async function endsWithin(wire, from, to) {
  const took = await Promise.race([wire.end, delay(to + 3000, undefined, { ref: false })]);
  assert.ok(took >= from - 20 && took <= to + SLACK_MS, `ended after ${took} ms, not between ${from} and ${to}`);
}

/** Writes `text` a byte at a time, so that all of it would take `ms`. */
async function drip(wire, text, ms) {
  for (const byte of text) {
    if (wire.ended || wire.destroyed) return;
    wire.write(byte);
    await delay(ms / text.length);
  }
}

describe('a request that does not come', { concurrency: true }, () => {
  for (const [what, bytes] of Object.entries({ 'nothing': '', 'half a head': GET.slice(0, 20), 'a byte': 'G' })) {
    test(`${what}: the connection ends in time`, (t) => endsWithin(Bare.of(t, quick.port, bytes), HEADER_MS, HEADER_MS));
  }

  test('a head that comes byte by byte has the same time', async (t) => {
    const wire = Bare.of(t, quick.port);
    await Promise.all([endsWithin(wire, HEADER_MS, HEADER_MS), drip(wire, GET.repeat(2), HEADER_MS * 4)]);
  });

  test('TLS and the head share it', async (t) => {
    const home = folder(t, {});
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=x', '-keyout', 'key.pem', '-out', 'cert.pem'], { cwd: home, stdio: 'pipe' });
    const files = Object.fromEntries(['cert.pem', 'key.pem'].map((name) => [name, readFileSync(join(home, name))]));
    const server = await serving(t, config({ server: '[server.tls]\ncertificate = "cert.pem"\nkey = "key.pem"' }), { files });
    const wire = Bare.of(t, server.port);
    await delay(HEADER_MS / 2);
    const secure = tls.connect({ socket: wire.socket, rejectUnauthorized: false });
    secure.on('error', () => {});
    await next(secure, 'secureConnect');
    await Promise.all([endsWithin(wire, HEADER_MS, HEADER_MS), drip(secure, GET, HEADER_MS * 4)]);
  });

  test('between two requests there is more time, and the second one has its own', async (t) => {
    const wire = Bare.of(t, quick.port, GET);
    assert.equal(await wire.status(), 200);
    await delay(HEADER_MS * 1.5);
    assert.equal(wire.ended, false, 'an idle connection is not a slow head');
    wire.text = '';
    wire.write(GET);
    assert.equal(await wire.status(), 200);
    wire.begun = performance.now();
    wire.write(GET.slice(0, 20));
    await endsWithin(wire, HEADER_MS, HEADER_MS);
  });

  test('an idle connection ends in its time', async (t) => {
    const wire = Bare.of(t, quick.port, GET);
    assert.equal(await wire.status(), 200);
    await endsWithin(wire, IDLE_MS, IDLE_MS);
  });

  test('none of this is for a request that is there: a slow body, and a GET that waits', async (t) => {
    const client = await polling(patient, 'slow');
    const wire = Bare.of(t, patient.port, `POST ${client.path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 7\r\n\r\n`);
    const waiting = client.get();
    await drip(wire, '42["x"]', IDLE_MS * 1.5);
    await wire.heard('\r\nok');
    await patient.publish('user:slow', 'news', {});
    assert.match((await waiting).text, /"news"/);
  });
});

describe('a body that comes a byte a second', { concurrency: true }, () => {
  /** What is answered to a POST whose body never gets to its end. */
  const answered = async (t, path, header = '') => {
    const wire = Bare.of(t, patient.port, `POST ${path} HTTP/1.1\r\nHost: x\r\n${header}Content-Length: 60\r\n\r\n`);
    await Promise.all([endsWithin(wire, BODY_MS, BODY_MS), drip(wire, '4'.repeat(60), 60_000)]);
    return wire.text;
  };

  test('of polling, and its session stays', async (t) => {
    const client = await polling(patient, 'drip');
    assert.match(await answered(t, client.path), /^HTTP\/1\.1 408 /);
    assert.equal((await client.post('42["x"]')).text, 'ok');
  });

  test('of the API', async (t) => {
    const text = await answered(t, '/api/v1/publish', `Authorization: Bearer ${API_KEY}\r\n`);
    assert.match(text, /^HTTP\/1\.1 400 [^]*the body took longer than 4s; send it again/);
  });
});

describe('a polling request that breaks off', { concurrency: true }, () => {
  test('in the middle of a POST: it is bad, not large', async (t) => {
    const client = await polling(patient);
    const wire = Bare.of(t, patient.port, `POST ${client.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n42["x"`);
    wire.socket.end();
    assert.equal(await wire.status(), 400);
  });

  test('while it waits, with a further request behind it: the session ends at once', async (t) => {
    const client = await polling(patient, 'behind');
    const wire = Bare.of(t, patient.port, `GET ${client.path} HTTP/1.1\r\nHost: x\r\n\r\n`);
    wire.write(`GET /healthz HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(3000)}\r\n\r\n`);
    await delay(50); // so that the end comes by itself
    wire.socket.destroy();
    await gone(patient, 'behind', 1000);
  });
});

describe('a session that gets no further', { concurrency: true }, () => {
  test('without a namespace it ends, on a websocket and by polling', async (t) => {
    const socket = BareWebSocket.at(t, quick.port, ENGINE);
    const client = await polling(quick);
    assert.equal(await socket.closed(), 4002);
    let heard = '';
    while (!heard.endsWith('1')) {
      const { status, text } = await client.get();
      assert.equal(status, 200, heard);
      heard += text;
    }
  });

  test('a websocket for a session that is not there is refused, whichever thread it would have lived on', async (t) => {
    const client = await polling(quick);
    assert.equal((await client.post('1')).text, 'ok');
    for (const sid of [client.sid, client.sid, client.sid, client.sid, 'unknown']) {
      const wire = BareWebSocket.at(t, quick.port, `${ENGINE}&sid=${sid}`);
      assert.equal(await wire.status(), 400);
      await wire.heard('Session ID unknown');
    }
  });

  for (const [what, says] of Object.entries({ 'never begun': [], 'never finished': ['2probe'] })) {
    test(`an upgrade that is ${what} ends, and polling goes on`, async (t) => {
      const user = `upgrade-${says.length}`;
      const client = await polling(patient, user);
      const quickly = await polling(quick, user);
      const polls = (async () => {
        for (;;) {
          const { status, text } = await quickly.get();
          assert.equal(status, 200);
          if (text.includes('"news"')) return;
          if (text.includes('2')) await quickly.post('3');
        }
      })();
      const [slow, probe] = [patient, quick].map((server, index) => BareWebSocket.at(t, server.port, `${ENGINE}&sid=${[client, quickly][index].sid}`));
      says.forEach((text) => { probe.say(text); slow.say(text); });
      assert.equal(await probe.status(), 101);
      await endsWithin(probe, 500, 500);
      assert.equal(slow.ended, false);
      await quick.publish(`user:${user}`, 'news', {});
      await polls;
      assert.equal(await count(quick, user), 1);
    });
  }

  test('a CONNECT that waits while the client upgrades and says it again makes one membership', async (t) => {
    let answer;
    const asked = new Promise((resolve) => { answer = resolve; });
    const backend = await service(t, async () => { await asked; return { body: { active: true, sub: 'twice' } }; });
    const server = await serving(t, config({ auth: `[app.desk.auth.introspection]\nurl = "${backend.url}"` }));
    const client = await polling(server);
    assert.equal((await Promise.race([client.post('40{"token":"t"}'), eventually(() => backend.calls.length, 'a question')])), 1);
    const socket = BareWebSocket.at(t, server.port, `${ENGINE}&sid=${client.sid}`);
    socket.say('2probe');
    await socket.message((text) => text === '3probe');
    socket.say('5');
    socket.say('40{"token":"t"}');
    await eventually(() => server.api('/healthz'), 'a turn of every thread');
    answer();
    assert.equal(await socket.closed(), 4506);
    assert.equal(socket.messages.filter((text) => String(text).startsWith('40')).length, 1);
    await gone(server, 'twice');
  });
});

describe('a client that is gone without a word', { concurrency: true }, () => {
  test('on a websocket: its session and its descriptor go with the heartbeat', async (t) => {
    const server = await serving(t, config({ socketio: QUICK }));
    await server.api('/healthz');
    const before = descriptors(server);
    const sockets = await Promise.all(Array.from({ length: 5 }, () => session(t, server, 'silent')));
    sockets.forEach((socket) => { socket.answers = false; });
    // Its own end of the connection stays open: nothing but the heartbeat can tell.
    await gone(server, 'silent', PING_MS * 2 + PONG_MS + 1000);
    assert.deepEqual(await Promise.all(sockets.map((socket) => socket.closed(1000))), Array(5).fill(4001));
    await eventually(() => descriptors(server) <= before, 'descriptors');
  });

  test('on a plain WebSocket', async (t) => {
    const socket = BareWebSocket.at(t, quick.port, `/ws?token=${token({ sub: 'plain' })}`);
    await eventually(async () => await count(quick, 'plain') === 1, 'the connection');
    socket.answers = false;
    assert.equal(await socket.closed(PING_MS * 2 + PONG_MS + 1000), 4001);
  });

  test('by polling: a GET that waits, and no GET at all', async (t) => {
    const [waits, asksNothing] = await Promise.all([polling(quick, 'waits'), polling(quick, 'asks-nothing')]);
    Bare.of(t, quick.port, `GET ${waits.path} HTTP/1.1\r\nHost: x\r\n\r\n`);
    await Promise.all(['waits', 'asks-nothing'].map((user) => gone(quick, user, PING_MS * 2 + PONG_MS + 1000)));
    asksNothing.hangUp();
    assert.equal((await asksNothing.get()).status, 400);
  });

  test('by polling: its connections end with its session, not when they have been idle for long', async (t) => {
    const server = await serving(t, config({ socketio: 'ping_interval = "1s"\nping_timeout = "1s"' }).replace(/idle_timeout = .*/, 'idle_timeout = "60s"'));
    const client = await polling(server, 'vanished');
    const pongs = Bare.of(t, server.port, `POST ${client.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n3`);
    await pongs.heard('\r\nok');
    const polls = Bare.of(t, server.port, `GET ${client.path} HTTP/1.1\r\nHost: x\r\n\r\n`);
    const other = Bare.of(t, server.port, GET);
    await polls.heard('\r\n\r\n2');
    polls.write(`GET ${client.path} HTTP/1.1\r\nHost: x\r\n\r\n`);
    await Promise.all([pongs, polls].map((wire) => endsWithin(wire, 0, 3000)));
    assert.equal(await count(server, 'vanished'), 0);
    assert.equal(other.ended, false, 'an idle connection that no client of a session was on');
  });
});

describe('a client that does not read', { concurrency: true }, () => {
  for (const [what, bytes] of [['at all', 0], ['more than 1 KB/s', 1000]]) {
    test(`${what}: it ends with the heartbeat, and another one misses nothing`, async (t) => {
      const server = await serving(t, config({ socketio: 'ping_interval = "1s"\nping_timeout = "1s"' }));
      const user = 'reader';
      const other = await connected(connect(server.url, { transports: ['websocket'], auth: { token: token({ sub: user }) } }));
      t.after(() => other.disconnect());
      const slow = await session(t, server, user);
      slow.socket.removeAllListeners('data');
      slow.socket.pause();
      const trickle = setInterval(() => bytes && slow.socket.read(bytes / 10), 100);
      t.after(() => clearInterval(trickle));
      const text = 'x'.repeat(256 * 1024);
      let heard = 0;
      other.on('page', () => { heard += 1; });
      for (let page = 0; page < 40; page += 1) await server.publish(`user:${user}`, 'page', text);
      await eventually(() => heard === 40, 'all pages');
      await eventually(async () => await count(server, user) === 1, 'the end of the slow one');
    });
  }
});

test('a server that was stopped gives up nobody who is still there, and everybody who is not', async (t) => {
  const [engine, v3, plain] = [
    await session(t, quick, 'stopped'),
    BareWebSocket.at(t, quick.port, `/socket.io/?EIO=3&transport=websocket&token=${token({ sub: 'stopped' })}`),
    raw(t, `${quick.ws}/ws?token=${token({ sub: 'stopped' })}`),
  ];
  const dead = await session(t, quick, 'stopped-dead');
  const client = await polling(quick, 'stopped');
  const heard = { polling: 0, v3: 0, plain: 0 };
  const polls = (async () => {
    for (;;) {
      const { text, status } = await client.get();
      if (status !== 200) return;
      if (text !== '2') continue;
      heard.polling += 1;
      await client.post('3');
    }
  })();
  plain.on('ping', () => { heard.plain += 1; });
  const beats = setInterval(() => v3.say('2'), PING_MS);
  t.after(() => clearInterval(beats));
  await v3.message((text) => text.startsWith('40'));
  await plain.opened;
  await engine.message((text) => text === '2');

  dead.answers = false;
  await standstill(quick.child);
  await delay(2500);
  quick.child.kill('SIGCONT');

  const pings = () => engine.messages.filter((text) => text === '2').length;
  const before = { engine: pings(), v3: v3.messages.length, ...heard };
  await eventually(() => pings() > before.engine + 2 && v3.messages.length > before.v3 + 2 && heard.polling > before.polling + 2 && heard.plain > before.plain + 2, 'heartbeats of all', 8000);
  assert.equal(await count(quick, 'stopped'), 4);
  assert.equal(await dead.closed(), 4001);
  assert.ok(quick.logs.some((line) => line.includes('stood_still')));
  await quick.api('/api/v1/disconnect', { body: { user: 'stopped', transport: true } });
  await polls;
});

test('without file descriptors it waits, says so once, counts, and goes on', async (t) => {
  const path = join(folder(t, { 'oyez.toml': config({ server: 'shards = 1', socketio: QUICK }) }), 'oyez.toml');
  const limited = spawn('sh', ['-c', 'ulimit -n 64; exec "$0" "$@"', binary(), 'serve', '--config', path, '--listen', '127.0.0.1:0'], {
    env: { ...process.env, JWT_SECRET: SECRET, OYEZ_API_KEY: API_KEY }, stdio: ['ignore', 'pipe', 'pipe'],
  });
  const server = await attach(limited);
  t.after(() => server.stop());
  const logged = (event) => server.logs.filter((line) => line.includes(event)).length;
  const member = await session(t, server, 'inside');
  const crowd = Array.from({ length: 100 }, () => Bare.of(t, server.port));
  await eventually(() => logged('accept_failed'), 'a word about it');
  // Whoever is inside is served, and those outside get in when the others have had their time.
  const pings = member.messages.length;
  await eventually(() => member.messages.length > pings + 1, 'heartbeats');
  await Promise.all(crowd.map((wire) => wire.end));
  await eventually(() => logged('accept_resumed'), 'a word about the end of it');
  const outside = connect(server.url, { transports: ['websocket'], auth: { token: token({ sub: 'outside' }) } });
  t.after(() => outside.disconnect());
  await connected(outside);
  const failures = Number((await server.api('/metrics')).text.match(/^oyez_accept_failures_total (\d+)/m)[1]);
  assert.ok(failures > 2, `${failures} failures`);
  assert.equal(logged('accept_failed'), 1);
});
