// `oyez bench` counts: what it says of a real server adds up, and a server that loses or doubles a message is told.
import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { WebSocketServer } from 'ws';
import { API_KEY, SECRET, binary, serve } from './harness.mjs';
import { folder, run, serving } from './stage.mjs';

const EXAMPLE = 'examples/ticketing/oyez.toml';
const ROUNDS = ['--connections', '20', '--rounds', '2', '--publishes', '5', '--json'];

/** The options for the ticketing example at `server`, whose clients are all in one channel. */
const ticketing = (server) => [
  '--url', `${server.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`,
  '--jwt-secret', SECRET, '--claims', '{"userId":"u{i}","username":"u{i}","roles":["support"]}',
  '--hello', '42["subscribe",{"channels":["role:support"]}]', '--ready', 'subscribed',
  '--publish-url', `${server.url}/api/v1/publish`, '--publish-header', `Authorization: Bearer ${API_KEY}`,
  '--publish-body', '{"to":"role:support","event":"tick","data":"{data}"}',
];
/** An app in a namespace of its own that acknowledges. */
const ECHO = `[server]
listen = ["127.0.0.1:0"]

[app.echo]
origins = ["https://echo.example.com"]

[app.echo.socketio]
namespace = "/echo"

[app.echo.auth.jwt]
algorithms = ["HS256"]
secret = { env = "JWT_SECRET" }

[app.echo.identity]
user = "claims.sub"

[[app.echo.on]]
event = "echo"
ack = "{'ok': data.n}"
`;
const lines = (text) => text.trim().split('\n').map((line) => JSON.parse(line));

/** Runs `oyez bench` to its end and returns its lines. */
async function bench(...args) {
  const { code, stdout, stderr } = await run(['bench', ...args]);
  assert.equal(code, 0, stderr + stdout);
  return lines(stdout);
}

/** A WebSocket server that hands each POST's body to `publish(body, clients)`, until `t` is over. */
async function fake(t, publish) {
  const http = createServer(async (request, response) => {
    let body = '';
    for await (const bytes of request) body += bytes;
    publish(body, [...sockets.clients]);
    response.end('{}');
  });
  const sockets = new WebSocketServer({ server: http });
  await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve));
  t.after(() => { sockets.clients.forEach((client) => client.terminate()); http.close(); http.closeAllConnections(); });
  const host = `127.0.0.1:${http.address().port}`;
  return ['--protocol', 'raw', '--url', `ws://${host}/`, '--publish-url', `http://${host}/`, '--timeout', '1'];
}

describe('against a real server', () => {
  for (const scenario of ['fanout', 'saturation', 'latency', 'polling']) {
    test(`${scenario} counts every delivery`, async (t) => {
      const server = await serve(EXAMPLE);
      t.after(() => server.stop());
      const [ready, ...rounds] = await bench(scenario, ...ROUNDS, ...ticketing(server));
      assert.deepEqual([ready.ready, ready.connections], [true, 20]);
      assert.ok(ready.setup.cpu_ns > 0 && ready.setup.wall_ns > 0 && ready.setup.rss_after > 0);
      assert.deepEqual(rounds.map(({ round, deliveries, publishes }) => [round, deliveries, publishes]), [[1, 100, 5], [2, 100, 5]]);
      for (const { cpu_ns, wall_ns, out_of_order, latency_ns } of rounds) {
        assert.ok(cpu_ns > 0 && wall_ns > 0);
        assert.equal(out_of_order, 0);
        assert.equal(latency_ns.length, 5);
        assert.ok(latency_ns.every((each) => each > 0));
      }
    });
  }

  test('unicast, slow, connect, joins and channels do what they say', async (t) => {
    const server = await serve(EXAMPLE);
    t.after(() => server.stop());
    const options = ticketing(server);
    const to = (channel) => [...options.slice(0, -1), `{"to":"${channel}","event":"tick","data":"{data}"}`];
    const [, unicast] = await bench('unicast', ...ROUNDS, ...to('user:u{i}'));
    assert.deepEqual([unicast.deliveries, unicast.publishes], [5, 5]);
    const [, slow] = await bench('slow', ...ROUNDS, '--slow', '5', ...options);
    assert.equal(slow.deliveries, 75);
    const [none, connect] = await bench('connect', ...ROUNDS, ...options);
    assert.deepEqual([none.connections, connect.operations, connect.deliveries], [0, 20, 0]);
    const [, channels] = await bench('channels', ...ROUNDS, ...to('ticket:nobody'));
    assert.deepEqual([channels.deliveries, channels.publishes], [0, 5]);
    const words = ['subscribe', 'unsubscribe'].map((word) => `42["${word}",{"channels":["{channel}"]}]`);
    const [, joins] = await bench('joins', ...ROUNDS, '--channel', 'ticket:{seq}', '--join', words[0], '--leave', words[1], ...options);
    assert.equal(joins.operations, 5);
  });

  test('durable waits for each answer, which must say what is certain', async (t) => {
    const server = await serve(EXAMPLE, { args: ['--data-dir', folder(t, {})] });
    t.after(() => server.stop());
    const body = '{"to":"user:u{i}","event":"tick","data":"{data}","delivery":"durable"}';
    const options = [...ROUNDS, '--in-flight', '3', ...ticketing(server).slice(0, -1), body];
    const [{ connections }, round] = await bench('durable', '--reply', '"level":"stored"', ...options);
    assert.deepEqual([connections, round.publishes, round.deliveries, round.latency_ns.length], [0, 5, 0, 5]);
    assert.match((await server.api('/metrics', { token: '' })).text, /^oyez_inbox_stored_total 10(\.0)?$/m);
    await assert.rejects(bench('durable', ...options), /"level":"stored".*, and not `"level":"synced"`/);
  });

  test('echo counts answers', async (t) => {
    const server = await serving(t, ECHO);
    const url = `${server.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`;
    const ask = ['--ask', '42/echo,{seq}["echo",{"n":{seq}}]', '--reply', '43/echo,{seq}[{"ok":{seq}}]'];
    const [, ...rounds] = await bench('echo', ...ROUNDS, '--url', url, '--jwt-secret', SECRET, '--namespace', '/echo', ...ask);
    assert.deepEqual(rounds.map(({ operations, latency_ns }) => [operations, latency_ns.length]), [[5, 5], [5, 5]]);
  });

  test('with --step a round waits for a line, and the end of stdin is the end', async (t) => {
    const server = await serve(EXAMPLE);
    t.after(() => server.stop());
    const args = ['bench', 'fanout', '--connections', '3', '--publishes', '2', '--json', '--step', ...ticketing(server)];
    const child = spawn(binary(), args, { stdio: ['pipe', 'pipe', 'inherit'] });
    const ended = new Promise((resolve) => child.on('close', resolve));
    const said = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const next = async () => JSON.parse((await said.next()).value);
    assert.equal((await next()).connections, 3);
    for (const round of [1, 2]) {
      child.stdin.write('\n');
      const { round: number, deliveries } = await next();
      assert.deepEqual([number, deliveries], [round, 6]);
    }
    child.stdin.end();
    assert.equal(await ended, 0);
    assert.equal((await said.next()).done, true);
  });

  test('a server that refuses is told, with what it said', async (t) => {
    const server = await serve(EXAMPLE);
    t.after(() => server.stop());
    const url = `${server.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`;
    const { code, stderr } = await run(['bench', 'fanout', '--url', url, '--token', 'wrong', '--publish-url', server.url]);
    assert.equal(code, 1);
    assert.match(stderr, /connection \d+ to 127\.0\.0\.1:\d+: the server says 44\{.*Authentication/);
  });
});

describe('against a server of its own kind', () => {
  test('a plain WebSocket server is measured', async (t) => {
    const options = await fake(t, (body, clients) => clients.forEach((client) => client.send(body)));
    const [, ...rounds] = await bench('fanout', ...ROUNDS, ...options);
    assert.deepEqual(rounds.map((round) => round.deliveries), [100, 100]);
  });

  test('a lost message is an error that names it', async (t) => {
    let sent = 0;
    const lossy = (body, clients) => clients.forEach((client) => { if ((sent += 1) !== 47) client.send(body); });
    const { code, stdout, stderr } = await run(['bench', 'fanout', ...ROUNDS, ...await fake(t, lossy)]);
    assert.equal(code, 1);
    assert.match(stderr, /lost deliveries: 1; the first one is message 2 to connection \d+/);
    assert.match(lines(stdout).at(-1).error, /lost deliveries: 1/);
  });

  test('a message that comes twice is an error that names it', async (t) => {
    let sent = 0;
    const twice = (body, clients) => clients.forEach((client) => { client.send(body); if ((sent += 1) === 47) client.send(body); });
    const { code, stderr } = await run(['bench', 'saturation', ...ROUNDS, ...await fake(t, twice)]);
    assert.equal(code, 1);
    assert.match(stderr, /connection \d+ has heard message 2 twice/);
  });

  test('a server that closes a connection is told', async (t) => {
    const options = await fake(t, (body, clients) => clients[0].close(1013, 'too slow'));
    const { code, stderr } = await run(['bench', 'fanout', ...ROUNDS, ...options]);
    assert.equal(code, 1);
    assert.match(stderr, /connection \d+ to 127\.0\.0\.1:\d+: the server closed it: 1013 too slow/);
  });
});
