// SIGHUP and `oyez reload`: another configuration while everybody stays.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import tls from 'node:tls';
import { copyFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { authority } from './authority.mjs';
import { API_KEY, ROOT, connect, connected, fence, next, record, serve, token } from './harness.mjs';
import { Inbox, eventually } from './waiting.mjs';
import { folder, run } from './stage.mjs';

const OLD = 'old-secret-0123456789-abcdefghijklmnopqrstuvwxyz';
const NEW = 'new-secret-0123456789-abcdefghijklmnopqrstuvwxyz';
const ANOTHER_KEY = 'another-api-key-0123456789-abcdefghijklmnopqrstuvwxyz';

const config = ({ listen = '127.0.0.1:1', key = API_KEY, rights = '["*"]', secret = OLD, staff = 'true', events = 100, origins = '"https://a.example"', more = '' } = {}) => `
[server]
listen = "${listen}"
[key.backend]
secret = "${key}"
rights = ${rights}
[app.desk]
origins = ${origins}
[app.desk.socketio]
[app.desk.auth.jwt]
algorithms = ["HS256"]
secret = "${secret}"
[app.desk.identity]
user = "claims.sub"
roles = "claims.roles"
[app.desk.limits]
events_per_second = ${events}
events_burst = ${events}
[[app.desk.channel]]
name = "all"
subscribe = true
[[app.desk.channel]]
name = "staff"
subscribe = ${staff}
[[app.desk.channel]]
name = "backend"
[app.desk.connect]
join = ["all", "staff"]
reply = { event = "hello" }
[[app.desk.on]]
event = "echo"
ack = "data"
${more}`;

const bearer = (claims, secret = OLD) => token({ roles: [], ...claims }, { secret });

/** A server that begins with `parts` and whose configuration can be changed: `change(parts)` writes it, `hangup()` also has it read. */
async function changeable(t, parts) {
  const path = join(folder(t, { 'oyez.toml': config(parts) }), 'oyez.toml');
  const server = await serve(relative(ROOT, path));
  t.after(() => server.stop());
  const read = () => server.logs.filter((line) => /config_(loaded|refused)/.test(line));
  const change = (parts) => writeFileSync(path, typeof parts === 'string' ? parts : config(parts));
  const hangup = async (parts) => {
    change(parts);
    const before = read().length;
    server.child.kill('SIGHUP');
    await eventually(() => read().length > before, 'a line about the configuration');
    return read().at(-1);
  };
  return { ...server, path, change, hangup };
}

/** A stock client with a token of `secret` that wants to connect. */
function knock(t, server, claims, secret) {
  const socket = connect(server.url, { transports: ['websocket'], auth: { token: bearer(claims, secret) } });
  t.after(() => socket.disconnect());
  return socket;
}

/** The same, once it is in its channels. */
async function enter(t, server, claims, secret) {
  const socket = knock(t, server, claims, secret);
  const inbox = Inbox.of(socket);
  await inbox.take('hello');
  return socket;
}

test('SIGHUP changes secrets for those who come, and drops nobody', async (t) => {
  const server = await changeable(t);
  const socket = await enter(t, server, { sub: 'u1' });
  let left;
  socket.on('disconnect', (reason) => { left = reason; });
  assert.match(await server.hangup({ secret: NEW }), /config_loaded/);
  await enter(t, server, { sub: 'u2' }, NEW);
  await assert.rejects(connected(knock(t, server, { sub: 'u3' }, OLD)), /invalid token/);
  await fence(server, socket, 'all');
  assert.equal(left, undefined);
});

test('who may not hear a channel any more leaves it within a second, and nobody else', async (t) => {
  const server = await changeable(t);
  const boss = await enter(t, server, { sub: 'boss', roles: ['boss'] });
  const clerk = await enter(t, server, { sub: 'clerk' });
  // A backend has decided this one, whatever the rules say.
  assert.equal((await server.api('/api/v1/subscribe', { body: { user: 'clerk', channels: ['backend'] } })).status, 200);
  const heard = record(clerk);
  await fence(server, clerk, 'staff');
  await server.hangup({ staff: `"'boss' in user.roles"` });
  await eventually(async () => (await server.api('/api/v1/channels/staff')).json.count === 1, 'one member', 1000);
  await server.publish('staff', 'secret', {});
  await fence(server, boss, 'staff');
  await fence(server, clerk, 'all');
  await fence(server, clerk, 'backend');
  assert.deepEqual(heard.filter(([name]) => name === 'secret'), []);
});

test('a mistake is refused with its place, and the old configuration stays', async (t) => {
  const server = await changeable(t);
  const line = await server.hangup(config().replace('subscribe = true', 'subscribe = "user.idd == 1"'));
  assert.match(line, /config_refused/);
  assert.match(line, /oyez\.toml:\d+:\d+/);
  await enter(t, server, { sub: 'u1' }, OLD);
  const answer = await server.api('/api/v1/reload', { method: 'POST' });
  assert.equal(answer.status, 409);
  assert.match(answer.json.error.message, /oyez\.toml:\d+/);
  const said = await run(['reload', '--url', server.url, '--key', API_KEY]);
  assert.equal(said.code, 1);
  assert.match(said.stderr, /oyez\.toml:\d+/);
});

test('oyez reload says what needs a restart', async (t) => {
  const server = await changeable(t);
  server.change({ listen: '127.0.0.1:2', more: '[app.late]\norigins = "*"\nsocketio.path = "/late/"\nauth.jwt = { algorithms = ["HS256"], secret = "0123456789abcdef0123456789abcdef" }\nidentity.user = "claims.sub"\n' });
  const said = await run(['reload', '--url', server.url, '--key', API_KEY]);
  assert.equal(said.code, 0, said.stderr);
  assert.match(said.stdout, /restart is needed for server\.listen, app\.late/);
  assert.ok(server.logs.some((line) => line.includes('server.listen, app.late')));
});

test('API keys, limits and origins change for what comes', async (t) => {
  const server = await changeable(t);
  const socket = await enter(t, server, { sub: 'u1' });
  const ask = (origin) => fetch(`${server.url}/socket.io/?EIO=4&transport=polling`, { headers: { origin } }).then(({ status }) => status);
  assert.deepEqual([await ask('https://a.example'), await ask('https://b.example')], [200, 403]);
  await server.hangup({ key: ANOTHER_KEY, events: 1, origins: '"https://b.example"' });
  assert.deepEqual([await ask('https://a.example'), await ask('https://b.example')], [403, 200]);
  assert.equal((await server.api('/api/v1/online')).status, 401);
  assert.equal((await server.api('/api/v1/online', { token: ANOTHER_KEY })).status, 200);
  const denied = next(socket, 'error');
  for (let index = 0; index < 3; index += 1) socket.emit('echo', index, () => {});
  assert.equal((await denied)[0].code, 429);
});

test('whom to believe about addresses changes for what comes', async (t) => {
  const where = '[[app.desk.on]]\nevent = "where"\nack = "session.address"\n';
  const server = await changeable(t, { more: where });
  const address = async () => {
    const extraHeaders = { 'x-forwarded-for': '203.0.113.9' };
    const socket = connect(server.url, { transports: ['websocket'], auth: { token: bearer({ sub: 'u1' }) }, extraHeaders });
    t.after(() => socket.disconnect());
    return socket.emitWithAck('where');
  };
  assert.equal(await address(), '127.0.0.1');
  assert.match(await server.hangup({ more: `${where}[server.proxy]\ntrusted = ["127.0.0.1"]\n` }), /config_loaded(?!.*restart)/);
  assert.equal(await address(), '203.0.113.9');
});

test('oyez reload reads the certificate again', async (t) => {
  const { ca, end, file, issue } = authority();
  t.after(end);
  const put = (name) => ['pem', 'key'].forEach((kind) => copyFileSync(file(`${name}.${kind}`), file(`server.${kind}`)));
  ['one', 'two'].forEach(issue);
  put('one');
  const more = `[server.tls]\ncertificate = "${file('server.pem')}"\nkey = "${file('server.key')}"\n`;
  const server = await changeable(t, { more });
  const shown = () => new Promise((resolve, reject) => {
    const socket = tls.connect({ port: server.port, host: '127.0.0.1', ca }, () => {
      resolve(socket.getPeerCertificate().subject.CN);
      socket.destroy();
    });
    socket.once('error', reject);
  });
  assert.equal(await shown(), 'one');
  put('two');
  const said = await run(['reload', '--url', server.url, '--ca', file('ca.pem'), '--key', API_KEY]);
  assert.equal(said.code, 0, said.stderr);
  assert.equal(await shown(), 'two');
});

test('to reload takes the right to', async (t) => {
  const server = await changeable(t);
  assert.equal((await server.api('/api/v1/reload', { method: 'POST', token: 'nobody' })).status, 401);
  await server.hangup({ rights: '["publish", "read"]' });
  const answer = await server.api('/api/v1/reload', { method: 'POST' });
  assert.equal(answer.status, 403);
  assert.match(answer.json.error.message, /may not reload/);
});
