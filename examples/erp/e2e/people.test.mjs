// seeds/000: what a client may say: chat:message, presence:online, presence:offline, notification:read.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { next, serve } from '../../../tests/e2e/harness.mjs';
import { ISO, ask, barrier, drop, heard, heardExactly, unique, until } from '../../../tests/e2e/steps.mjs';
import { login } from './erp.mjs';

let server;
before(async () => { server = await serve('examples/erp/oyez.toml'); });
after(() => server.stop());

const presence = async (user) => {
  const { status, json, text } = await server.api(`/api/v1/users/${user}/presence`);
  assert.equal(status, 200, text);
  return json;
};

test('chat:message reaches every device of the addressee, in whichever tenant', async (t) => {
  const [anna, desk] = await Promise.all([login(t, server), login(t, server)]);
  const phone = await login(t, server, { id: desk.user, tenantId: desk.tenant });
  const received = Promise.all([next(desk, 'chat:message'), next(phone, 'chat:message')]);
  anna.emit('chat:message', { to: desk.user, content: '你好' });
  for (const args of await received) {
    assert.equal(args.length, 1);
    const [{ timestamp, ...rest }] = args;
    assert.deepEqual(rest, { from: anna.user, to: desk.user, content: '你好' });
    assert.match(timestamp, ISO);
  }
  await heardExactly(server, desk, `user:${desk.user}`, 'chat:message', 1);
});

test('chat:message: nobody else hears it', async (t) => {
  const [anna, bert, carl] = await Promise.all([login(t, server), login(t, server), login(t, server)]);
  const received = next(bert, 'chat:message');
  anna.emit('chat:message', { to: bert.user, content: 'psst' });
  await received;
  await heardExactly(server, carl, `user:${carl.user}`, 'chat:message', 0);
});

test('chat:message: a spoofed from and timestamp are replaced by what the server knows', async (t) => {
  const [rogue, victim] = await Promise.all([login(t, server), login(t, server)]);
  const received = next(victim, 'chat:message');
  rogue.emit('chat:message', { to: victim.user, content: 'pay me', from: 'boss', timestamp: '1999-01-01T00:00:00.000Z' });
  const [data] = await received;
  assert.equal(data.from, rogue.user);
  assert.ok(data.timestamp > '2020', data.timestamp);
});

test('chat:message: both directions, in the order they were sent', async (t) => {
  const [anna, bert] = await Promise.all([login(t, server), login(t, server)]);
  for (let n = 0; n < 20; n += 1) anna.emit('chat:message', { to: bert.user, content: `${n}` });
  await barrier(anna);
  await heardExactly(server, bert, `user:${bert.user}`, 'chat:message', 20);
  assert.deepEqual(heard(bert, 'chat:message').map(({ content }) => content), Array.from({ length: 20 }, (_, n) => `${n}`));
  const answer = next(anna, 'chat:message');
  bert.emit('chat:message', { to: anna.user, content: 'enough' });
  assert.equal((await answer)[0].content, 'enough');
});

test('chat:message is acknowledged with the id of the message to a client that asks', async (t) => {
  const [anna, bert] = await Promise.all([login(t, server), login(t, server)]);
  const { ok, id } = await anna.timeout(5000).emitWithAck('chat:message', { to: bert.user, content: 'got it?' });
  assert.equal(ok, true);
  assert.ok(typeof id === 'string' && id.length > 0);
  await heardExactly(server, bert, `user:${bert.user}`, 'chat:message', 1);
});

for (const [what, data] of [
  ['no addressee', { content: 'to whom?' }],
  ['a wildcard', { to: '*', content: 'all of you' }],
  ['a pattern', { to: 'u-*', content: 'all of you' }],
  ['an object for a user', { to: { id: 'u-1' }, content: 'x' }],
  ['a control character', { to: 'u\n1', content: 'x' }],
  ['a name of 10,000 characters', { to: 'u'.repeat(10_000), content: 'x' }],
  ['no argument', undefined],
]) {
  test(`chat:message with ${what} is answered by an exception, and the connection stays`, async (t) => {
    const [sender, bystander] = await Promise.all([login(t, server), login(t, server)]);
    const error = await ask(sender, 'exception', ...(data === undefined ? ['chat:message'] : ['chat:message', data]));
    assert.equal(error.status, 'error');
    assert.equal(typeof error.message, 'string');
    await heardExactly(server, bystander, `user:${bystander.user}`, 'chat:message', 0);
    const received = next(bystander, 'chat:message');
    sender.emit('chat:message', { to: bystander.user, content: 'still here' });
    await received;
  });
}

test('presence:online and presence:offline set the status that the presence API shows', async (t) => {
  const anna = await login(t, server);
  anna.emit('presence:online');
  await barrier(anna);
  await until(async () => assert.equal((await presence(anna.user)).status, 'online'));
  anna.emit('presence:offline');
  await barrier(anna);
  await until(async () => assert.equal((await presence(anna.user)).status, 'offline'));
  assert.ok(anna.connected, 'the status is what the person says; the connection stays');
  anna.emit('presence:online');
  await barrier(anna);
  await until(async () => assert.equal((await presence(anna.user)).status, 'online'));
});

test('presence counts the devices of a user, and ends with the last one', async (t) => {
  const desk = await login(t, server);
  const phone = await login(t, server, { id: desk.user, tenantId: desk.tenant });
  await until(async () => {
    const { online, connections } = await presence(desk.user);
    assert.deepEqual({ online, connections }, { online: true, connections: 2 });
  });
  phone.disconnect();
  await until(async () => assert.equal((await presence(desk.user)).connections, 1));
  desk.disconnect();
  await until(async () => {
    const { online, connections } = await presence(desk.user);
    assert.deepEqual({ online, connections }, { online: false, connections: 0 });
  });
});

test('notification:read is accepted, and acknowledged to a client that asks', async (t) => {
  const anna = await login(t, server);
  anna.emit('notification:read', { notificationId: unique('n') });
  const answer = await anna.timeout(5000).emitWithAck('notification:read', { notificationId: unique('n') });
  assert.deepEqual(answer, { ok: true });
  await heardExactly(server, anna, `user:${anna.user}`, 'exception', 0);
});

test('a person who is disconnected by an administrator learns it as the client knows it', async (t) => {
  const anna = await login(t, server);
  const ended = drop(anna);
  const { status, text } = await server.api('/api/v1/disconnect', { body: { user: anna.user } });
  assert.equal(status, 200, text);
  assert.equal(await ended, 'io server disconnect');
});
