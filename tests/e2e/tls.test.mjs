// TLS by the server itself: stock clients over https:// and wss://, the API, a certificate replaced under open
// connections, and clients that do not get as far as a request.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import https from 'node:https';
import net from 'node:net';
import tls from 'node:tls';
import { spawn } from 'node:child_process';
import { copyFileSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { authority } from './authority.mjs';
import { API_KEY, ROOT, SECRET, attach, binary, connect, connected, next, serve, token } from './harness.mjs';
import { folder, raw, run } from './stage.mjs';
import { eventually } from './waiting.mjs';

const CONFIG = `
[server.tls]
certificate = "certificate.pem"
key = "key.pem"

[key.backend]
secret = { env = "OYEZ_API_KEY" }

[app.desk]
origins = ["https://desk.example"]

[app.desk.socketio]
max_payload = "4MiB"

[app.desk.websocket]
max_message = "4MiB"

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
reply = { event = "welcome", data = "{}" }

[[app.desk.on]]
event = "say"
reply = { event = "said", data = "data" }
`;
const HELLO_TIMEOUT_MS = 5000;
const ENV = { JWT_SECRET: SECRET, OYEZ_API_KEY: API_KEY };

const { ca, end, file, issue } = authority(); // it issues the certificates "one" and "two"
let server;

/** Puts a file in the place of another in one step, as a certificate's tools do. */
function install(from, to) {
  copyFileSync(file(from), file(`${to}.new`));
  renameSync(file(`${to}.new`), file(to));
}

before(async () => {
  issue('one');
  issue('two');
  install('one.pem', 'certificate.pem');
  install('one.key', 'key.pem');
  writeFileSync(file('oyez.toml'), CONFIG);
  server = await serve(relative(ROOT, file('oyez.toml')));
});
after(async () => {
  assert.equal(await server?.stop(), 0);
  assert.deepEqual(server.logs.filter((line) => line.includes('panicked')), []);
  end();
});

/** One request of its own connection: {status, headers, text, issued} (whom the certificate names). */
function request(path, { method = 'GET', body, headers = {}, base = server.url, ...options } = {}) {
  return new Promise((resolve, reject) => {
    const asked = https.request(`${base}${path}`, { method, ca, agent: false, headers, ...options }, (response) => {
      const issued = response.socket.getPeerCertificate().subject.CN;
      let text = '';
      response.on('data', (bytes) => { text += bytes; });
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, text, issued }));
    });
    asked.on('error', reject);
    asked.end(body);
  });
}

async function publish(to, event, data) {
  const headers = { authorization: `Bearer ${API_KEY}`, 'content-type': 'application/json' };
  const answer = await request('/api/v1/publish', { method: 'POST', headers, body: JSON.stringify({ to, event, data }) });
  assert.equal(answer.status, 200, answer.text);
}

async function client(t, user, options = {}) {
  const socket = connect(server.url, { ca, auth: { token: token({ sub: user }) }, ...options });
  t.after(() => socket.disconnect());
  return connected(socket);
}

/** A run of `oyez ARGS` that goes on until `t` is over; `stdout` is what it has said. */
function start(t, args) {
  const child = spawn(binary(), args, { stdio: ['ignore', 'pipe', 'ignore'] });
  const self = { stdout: '' };
  child.stdout.on('data', (bytes) => { self.stdout += bytes; });
  t.after(() => child.kill());
  return self;
}

/** Sends `data` and gives what comes back. */
async function echo(socket, data) {
  const said = next(socket, 'said', 10_000);
  socket.emit('say', data);
  return (await said)[0];
}

describe('a stock socket.io-client', () => {
  for (const [way, transports] of Object.entries({ 'https polling': ['polling'], wss: ['websocket'], 'polling, then upgrade': ['polling', 'websocket'] })) {
    test(`over ${way}: speaks and hears, small and large`, async (t) => {
      const user = `user-${transports.join('-')}`;
      const socket = connect(server.url, { ca, transports, auth: { token: token({ sub: user }) } });
      t.after(() => socket.disconnect());
      const upgraded = transports.length > 1 && new Promise((resolve) => socket.io.engine.once('upgrade', resolve));
      await connected(socket);
      await upgraded;
      assert.equal(socket.io.engine.transport.name, transports.at(-1));
      for (const data of [{ n: 1 }, { text: '订阅成功 '.repeat(100_000) }, { n: 2 }]) {
        assert.deepEqual(await echo(socket, data), data);
      }
      const heard = next(socket, 'news');
      await publish(`user:${user}`, 'news', { text: 'x'.repeat(200) });
      assert.equal((await heard)[0].text.length, 200);
    });
  }

  test('upgrades again and again, whichever shard its probes come to', async (t) => {
    await Promise.all(Array.from({ length: 12 }, async (_, index) => {
      const socket = connect(server.url, { ca, auth: { token: token({ sub: `many-${index}` }) } });
      t.after(() => socket.disconnect());
      await new Promise((resolve) => socket.io.engine.once('upgrade', resolve));
      assert.deepEqual(await echo(socket, { index }), { index });
    }));
  });

  test('that reads slowly misses the oldest and hears the newest, in order and whole', async (t) => {
    const socket = await client(t, 'slow', { transports: ['websocket'] });
    const tcp = socket.io.engine.transport.ws._socket;
    tcp.pause();
    const last = 399;
    const seen = [];
    const ended = new Promise((resolve) => socket.on('tick', ({ n, text }) => {
      assert.equal(text.length, 50_000);
      seen.push(n);
      if (n === last) resolve();
    }));
    for (let n = 0; n <= last; n += 1) await publish('user:slow', 'tick', { n, text: 'x'.repeat(50_000) });
    tcp.resume();
    await ended;
    assert.ok(seen.length < last, 'more than the buffers on the way hold');
    assert.deepEqual(seen, seen.toSorted((a, b) => a - b));
    assert.equal(new Set(seen).size, seen.length);
  });

  test('hears a burst in order', async (t) => {
    const socket = await client(t, 'burst', { transports: ['websocket'] });
    const count = 300;
    const seen = [];
    const all = new Promise((resolve) => socket.on('tick', ({ n }) => { seen.push(n); if (seen.length === count) resolve(); }));
    const commands = Array.from({ length: count }, (_, n) => ({ to: 'user:burst', event: 'tick', data: { n, text: 'x'.repeat(2000) } }));
    const headers = { authorization: `Bearer ${API_KEY}`, 'content-type': 'application/json' };
    const answer = await request('/api/v1/batch', { method: 'POST', headers, body: JSON.stringify({ commands: commands.map((publish) => ({ publish })) }) });
    assert.equal(answer.status, 200, answer.text);
    await all;
    assert.deepEqual(seen, Array.from({ length: count }, (_, n) => n));
  });
});

test('raw JSON over wss, and its refusal before the upgrade', async (t) => {
  const url = server.url.replace('https', 'wss');
  const socket = raw(t, `${url}/ws?token=${token({ sub: 'raw' })}`, { ca });
  await socket.heard.take('welcome');
  socket.say({ type: 'say', n: 7 });
  await socket.heard.take('said');
  const refused = raw(t, `${url}/ws?token=nonsense`, { ca });
  await assert.rejects(refused.opened, { status: 401 });
});

test('the pages over https', async () => {
  for (const path of ['/', '/api/docs', '/api/openapi.json', '/socket.io/socket.io.js']) {
    assert.equal((await request(path)).status, 200, path);
  }
});

test('the API and health over https, several requests on one connection', async (t) => {
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1, ca });
  t.after(() => agent.destroy());
  for (let count = 0; count < 3; count += 1) {
    assert.equal((await request('/healthz', { agent })).status, 200);
  }
  assert.equal((await request('/api/v1/publish', { method: 'POST', agent, body: '{}' })).status, 401);
});

for (const version of ['TLSv1.2', 'TLSv1.3']) {
  test(`${version} is spoken, with http/1.1 agreed on`, async () => {
    const socket = tls.connect({ port: server.port, host: '127.0.0.1', ca, ALPNProtocols: ['h2', 'http/1.1'], minVersion: version, maxVersion: version });
    await next(socket, 'secureConnect');
    assert.equal(socket.getProtocol(), version);
    assert.equal(socket.alpnProtocol, 'http/1.1');
    socket.destroy();
  });
}

/** The values of a counter by its labels, as Prometheus reads them: {'reason="closed"': 3}. */
async function counted(name) {
  const { text } = await request('/metrics', { headers: { authorization: `Bearer ${API_KEY}` } });
  const lines = text.matchAll(new RegExp(`^${name}_total\\{(.*)\\} (\\d+)$`, 'gm'));
  return Object.fromEntries([...lines].map(([, labels, value]) => [labels, Number(value)]));
}

test('handshakes are counted, by version and by whether a ticket was used', async () => {
  const series = (version, resumed) => `version="${version}",resumed="${resumed}"`;
  for (const version of ['1.2', '1.3']) {
    const before = await counted('oyez_tls_handshakes');
    const options = { port: server.port, host: '127.0.0.1', ca, minVersion: `TLSv${version}`, maxVersion: `TLSv${version}` };
    const asking = (more) => tls.connect({ ...options, ...more }, function ask() { this.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n'); });
    const first = asking();
    // With TLS 1.3 the ticket comes after the handshake.
    const [[session]] = await Promise.all([next(first, 'session'), next(first, 'data')]);
    first.destroy();
    const second = asking({ session });
    await next(second, 'data');
    assert.ok(second.isSessionReused());
    second.destroy();
    const grew = (after, name) => after[name] > (before[name] ?? 0);
    // Asking for them is a handshake of version 1.3, too.
    const after = await counted('oyez_tls_handshakes');
    assert.ok(grew(after, series(version, false)) && grew(after, series(version, true)), JSON.stringify(after));
  }
});

describe('who does not get as far as a request', () => {
  test('is counted by reason, and told of in the log with a remedy', async () => {
    const before = await counted('oyez_tls_handshake_failures');
    const port = { port: server.port, host: '127.0.0.1' };
    const failing = (options) => next(tls.connect({ ...port, ...options }), 'error');
    assert.equal((await run(['publish', '--url', server.url, 'user:u', 'news'], ENV)).code, 1, 'it does not believe the authority');
    await failing({ ca, ALPNProtocols: ['h2'] });
    await failing({ ca, minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL@SECLEVEL=0' });
    const plain = net.connect(port, () => plain.write('GET / HTTP/1.1\r\n\r\n'));
    await next(plain.resume(), 'close');
    const garbled = net.connect(port, () => garbled.write(Buffer.concat([Buffer.from([22, 3, 1, 0, 100]), Buffer.alloc(100, 0xff)])));
    await next(garbled.on('error', () => {}).resume(), 'close');
    const gone = net.connect(port, () => gone.end(Buffer.from([22, 3, 1])));
    await next(gone.resume(), 'close');
    const grown = async () => {
      const now = await counted('oyez_tls_handshake_failures');
      return Object.fromEntries(Object.keys(now).map((name) => [name.slice(8, -1), now[name] - before[name]]));
    };
    const expected = { not_tls: 1, timeout: 0, closed: 1, refused: 1, incompatible: 2, malformed: 1 };
    await eventually(async () => isDeepStrictEqual(await grown(), expected), 'every failure by its reason')
      .catch(async (error) => assert.deepEqual(await grown(), expected, error.message));
    const logged = server.logs.filter((line) => line.includes('tls_failed'));
    for (const reason of ['not_tls', 'refused', 'incompatible', 'malformed']) {
      assert.ok(logged.some((line) => line.includes(`"${reason}"`) && line.includes('127.0.0.1') && line.includes('help')), reason);
    }
  });

  test('plain HTTP is told to use https', async () => {
    const socket = net.connect(server.port, '127.0.0.1');
    let text = '';
    socket.on('data', (bytes) => { text += bytes; });
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await next(socket, 'close');
    assert.match(text, /^HTTP\/1\.1 400 /);
    assert.match(text, /use https:\/\//);
  });

  test('what only looks like TLS is closed at once', async () => {
    const socket = net.connect(server.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.resume();
    socket.write(Buffer.concat([Buffer.from([22, 3, 1, 0, 100]), Buffer.alloc(100, 0xff)]));
    await next(socket, 'close', 2000);
  });

  test('a handshake that is not finished ends in time', async () => {
    const silent = net.connect(server.port, '127.0.0.1');
    const slow = net.connect(server.port, '127.0.0.1');
    slow.write(Buffer.from([22, 3, 1]));
    await Promise.all([silent, slow].map((socket) => { socket.resume(); return next(socket, 'close', HELLO_TIMEOUT_MS + 3000); }));
  });
});

describe('a certificate that is replaced', () => {
  test('does not tell browsers to come by TLS only, unless the file says for how long', async (t) => {
    const write = (hsts) => writeFileSync(file('hsts.toml'), CONFIG.replace('key = "key.pem"\n', `key = "key.pem"\n${hsts}\n`));
    write('');
    const own = await serve(relative(ROOT, file('hsts.toml')));
    t.after(() => own.stop());
    const told = async () => (await request('/', { base: own.url })).headers['strict-transport-security'];
    assert.equal(await told(), undefined);
    write('hsts = "180d"');
    own.child.kill('SIGHUP');
    await eventually(async () => await told() === 'max-age=15552000', 'the header');
    write('hsts = "0s"');
    own.child.kill('SIGHUP');
    await eventually(async () => await told() === 'max-age=0', 'the word to forget it');
  });

  test('is seen by new clients, on SIGHUP and after a change; the old ones stay', async (t) => {
    const socket = await client(t, 'stays', { transports: ['websocket'] });
    const events = (name) => server.logs.filter((line) => line.includes(name)).length;
    assert.equal((await request('/healthz')).issued, 'one');

    install('two.pem', 'certificate.pem');
    server.child.kill('SIGHUP');
    await eventually(() => events('certificate_refused') > 0, 'a refusal: the key is still the other\'s');
    assert.equal((await request('/healthz')).issued, 'one');

    install('two.key', 'key.pem'); // seen without being asked
    await eventually(() => events('certificate_loaded') > 0, 'the new certificate', 15_000);
    assert.equal((await request('/healthz')).issued, 'two');
    assert.deepEqual(await echo(socket, { still: 'here' }), { still: 'here' });
    assert.equal(server.child.exitCode, null);
  });
});

describe('the commands that are clients', () => {
  test('`oyez listen` hears over wss what `oyez publish` says over https', async (t) => {
    const options = ['--url', server.url, '--ca', file('ca.pem')];
    const listener = start(t, ['listen', ...options, '--token', token({ sub: 'tail' })]);
    const published = async () => {
      const { stdout } = await run(['publish', ...options, 'user:tail', 'news', '{"n":1}'], ENV);
      return stdout.includes('"level"');
    };
    await eventually(() => listener.stdout.includes('"welcome"'), 'the greeting');
    assert.ok(await published());
    await eventually(() => listener.stdout.includes('{"event":"news","args":[{"n":1}]}'), 'what was published');
    const stranger = await run(['publish', '--url', server.url, 'user:tail', 'news'], ENV);
    assert.equal(stranger.code, 1, 'an authority that nobody named is not believed');
  });

  test('over http:// to a port that speaks TLS: told to write https://', async () => {
    const http = server.url.replace('https', 'http');
    const published = await run(['publish', '--url', http, 'user:tail', 'news'], ENV);
    assert.equal(published.code, 1);
    assert.match(published.stderr, /answered 400: This port speaks TLS: use https:\/\//);
    const listened = await run(['listen', '--url', http, '--token', token({ sub: 'tail' })], ENV);
    assert.equal(listened.code, 1);
    assert.match(listened.stderr, /This port speaks TLS: use https:\/\//);
  });

  test('a certificate that is not believed ends them, with the remedy', async () => {
    for (const args of [['publish', 'user:tail', 'news'], ['listen', '--token', token({ sub: 'tail' })]]) {
      const { code, stderr } = await run([...args, '--url', server.url], ENV);
      assert.equal(code, 1, stderr);
      assert.match(stderr, /invalid peer certificate[^]*help: .*--ca FILE/);
    }
  });

  test('an authority that is shown as a server ends them, with the remedy', async (t) => {
    const shown = https.createServer({ key: readFileSync(file('ca.key')), cert: readFileSync(file('ca.pem')) });
    await new Promise((resolve) => shown.listen(0, '127.0.0.1', resolve));
    t.after(() => shown.close());
    const { code, stderr } = await run(['publish', 'user:tail', 'news', '--ca', file('ca.pem'), '--url', `https://127.0.0.1:${shown.address().port}`], ENV);
    assert.equal(code, 1, stderr);
    assert.match(stderr, /help: .*an authority's certificate.*CA:FALSE/);
  });

  test('`oyez bench` tells what TLS fails of', async () => {
    const other = authority();
    const bench = (url, ca) => run(['bench', 'connect', '--connections', '2', '--url', `${url}/socket.io/?EIO=4&transport=websocket`, '--jwt-secret', SECRET, '--ca', ca], ENV);
    const stranger = await bench(server.url.replace('https', 'wss'), other.file('ca.pem'));
    assert.equal(stranger.code, 1);
    assert.match(stranger.stderr, /invalid peer certificate[^]*help: .*--ca FILE/);
    other.end();
    const plain = await bench(server.url.replace('https', 'ws'), file('ca.pem'));
    assert.equal(plain.code, 1);
    assert.match(plain.stderr, /This port speaks TLS: use https:\/\//);
  });

  test('`oyez bench` counts deliveries over wss', async () => {
    const { code, stdout, stderr } = await run(['bench', 'fanout', '--connections', '20', '--rounds', '2', '--publishes', '5',
      '--ca', file('ca.pem'), '--url', `${server.url.replace('https', 'wss')}/socket.io/?EIO=4&transport=websocket`, '--jwt-secret', SECRET,
      '--claims', '{"sub":"crowd"}', '--ready', 'welcome', '--publish-url', `${server.url}/api/v1/publish`,
      '--publish-header', `Authorization: Bearer ${API_KEY}`, '--publish-header', 'Content-Type: application/json',
      '--publish-body', '{"to":"user:crowd","event":"bench","data":"{data}"}', '--json'], ENV);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /"deliveries":100/);
  });
});

test('`oyez dev` with a file that has [server.tls] speaks TLS, and what its banner says works', async (t) => {
  const home = folder(t, { 'oyez.toml': CONFIG.replace('[server.tls]', `[server]\nlisten = "127.0.0.1:0"\n[server.tls]`) });
  for (const name of ['certificate.pem', 'key.pem']) copyFileSync(file(name), join(home, name));
  const child = spawn(binary(), ['dev', '--config', 'oyez.toml'], { cwd: home, env: { ...process.env, LANG: 'C', LC_ALL: 'C' }, stdio: ['ignore', 'pipe', 'pipe'] });
  const dev = await attach(child);
  t.after(() => dev.stop());
  assert.match(dev.url, /^https:/);
  const line = await eventually(() => dev.logs.find((text) => text.includes('curl ')), 'the banner');
  const [, path, authorization, body] = line.match(/curl -k https:\/\/[^/]+(\S+) -H 'Authorization: (.*?)' .* -d '(.*)'/);
  const headers = { authorization, 'content-type': 'application/json' };
  const published = await request(path, { base: dev.url, method: 'POST', headers, body });
  assert.equal(published.status, 200, published.text);
  const page = await request('/api/docs', { base: dev.url });
  assert.equal(page.status, 200);
  assert.match(page.text, /<html/);
});

describe('a certificate that cannot be used', () => {
  for (const [what, files, expect] of [
    ['is missing', {}, /oyez\.toml:3:15: server\.tls\.certificate: .*certificate\.pem: No such file[^]*2 mistakes/],
    ['is empty', { certificate: '', key: 'one.key' }, /oyez\.toml:3:15: certificate\.pem: there is no certificate in it[^]*BEGIN CERTIFICATE/],
    ['has the key of another', { certificate: 'one.pem', key: 'two.key' }, /oyez\.toml:4:7: key\.pem: the private key is not the certificate's/],
    ['has no key', { certificate: 'one.pem', key: 'one.pem' }, /oyez\.toml:4:7: key\.pem: there is no private key in it/],
  ]) {
    test(`${what}: neither \`check\` nor \`serve\` accepts it`, async (t) => {
      const text = (name) => (name ? readFileSync(file(name), 'utf8') : '');
      const named = Object.entries(files).map(([role, name]) => [`${role}.pem`, text(name)]);
      const path = folder(t, { 'oyez.toml': CONFIG, ...Object.fromEntries(named) });
      for (const args of [['check', join(path, 'oyez.toml')], ['serve', '--config', join(path, 'oyez.toml')]]) {
        const { code, stderr } = await run(args, ENV);
        assert.equal(code, 1, stderr);
        assert.match(stderr, expect);
      }
    });
  }

  test('on the command line: named, with a remedy', async () => {
    const serve = (...more) => run(['serve', '--config', file('oyez.toml'), ...more], ENV);
    const missing = await serve('--tls-cert', '/nowhere.pem', '--tls-key', file('one.key'));
    assert.match(missing.stderr, /cannot read \/nowhere\.pem[^]*help:/);
    const other = await serve('--tls-cert', file('one.pem'), '--tls-key', file('two.key'));
    assert.match(other.stderr, /two\.key: the private key is not the certificate's[^]*help:/);
    assert.equal((await serve('--tls-cert', file('one.pem'))).code, 2, 'one without the other');
  });
});
