// When most have left and nobody comes back, a thread's tables become small again. Those who stay, and those who come
// later, notice nothing: nobody's place is taken away or given twice.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { connect, connected, fence, next, record, token } from './harness.mjs';
import { eventually } from './waiting.mjs';
import { serving } from './stage.mjs';
import { Client, gather } from '../siege/lib/crowd.mjs';

const CROWD = 300;

const CONFIG = `
[server]
shards = 1
[key.backend]
secret = { env = "OYEZ_API_KEY" }
[app.desk]
origins = "*"
[app.desk.auth.jwt]
algorithms = ["HS256"]
secret = { env = "JWT_SECRET" }
[app.desk.identity]
user = "claims.sub"
[[app.desk.channel]]
name = "news"
subscribe = true
[[app.desk.channel]]
name = "user:{id}"
subscribe = "id == user.id"
[app.desk.limits]
connects_per_second = 10000
connections_per_address = 10000
connections_per_user = 10000
[app.desk.connect]
join = ["news", "user:{user.id}"]
`;

async function join(t, server, user, transport) {
  const socket = connect(server.url, { transports: [transport], auth: { token: token({ sub: user }) } });
  t.after(() => socket.disconnect());
  await connected(socket);
  return socket;
}

/** What `user` is told, each by name, arrives at the socket of that user and at no other. */
async function hearOnlyTheirOwn(server, sockets) {
  const records = sockets.map(([, socket]) => record(socket));
  for (const [user, socket] of sockets) {
    const heard = next(socket, 'hello');
    await server.publish(`user:${user}`, 'hello', user);
    assert.deepEqual(await heard, [user]);
  }
  for (const [, socket] of sockets) await fence(server, socket, 'news');
  records.forEach((heard, at) => assert.deepEqual(heard.filter(([name]) => name === 'hello'), [['hello', sockets[at][0]]]));
}

/** `late`: somebody stays who came after the crowd, so that the places before must stay, too. */
async function emptied(t, late) {
  const server = await serving(t, CONFIG);
  const early = [['early', await join(t, server, 'early', 'websocket')], ['slow', await join(t, server, 'slow', 'polling')]];
  let there = 0;
  const seen = { back: () => { there += 1; }, cut: () => { there -= 1; } };
  const crowd = await gather(CROWD, (index) => new Client({ port: server.port, token: token({ sub: `u${index}` }), polling: index % 10 === 0, seen }));
  await eventually(() => there === CROWD, 'the crowd', 20_000);
  const stay = late ? [...early, ['late', await join(t, server, 'late', 'websocket')]] : early;
  // Once a second the thread sees who is there.
  const counted = async () => (await server.api('/metrics', { token: '' })).text.match(/^oyez_sessions\{.*"websocket".*\} (\d+)/m)?.[1];
  await eventually(async () => Number(await counted()) >= CROWD * 0.9, 'the thread has seen the crowd');
  crowd.forEach((client) => client.leave());
  await eventually(() => server.logs.some((line) => line.includes('"memory_released"')), 'memory is given back', 40_000);
  await hearOnlyTheirOwn(server, stay);
  const newcomers = [];
  for (let index = 0; index < 10; index += 1) newcomers.push([`new-${index}`, await join(t, server, `new-${index}`, index % 2 ? 'polling' : 'websocket')]);
  await hearOnlyTheirOwn(server, [...stay, ...newcomers]);
}

test('when most have left', { timeout: 90_000, concurrency: true }, async (t) => {
  await Promise.all([
    t.test('all who came later are gone', (own) => emptied(own, false)),
    t.test('one of those who came later stays', (own) => emptied(own, true)),
  ]);
});
