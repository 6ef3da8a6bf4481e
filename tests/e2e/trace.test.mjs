// Why did they not get it? Every answer of `oyez trace` and of the API beneath it; and what a restart leaves as it was.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { join, relative } from 'node:path';
import { API_KEY, ROOT } from './harness.mjs';
import { cluster } from './company.mjs';
import { CONFIG, ENV, device, directory, user } from './keeping.mjs';
import { redis } from './redis.mjs';
import { folder, run, serving } from './stage.mjs';
import { drop, unique } from './steps.mjs';
import { eventually, standstill } from './waiting.mjs';

const within = (ms) => new Date(Date.now() + ms).toISOString();
const traced = async (server, id, who) => (await server.api(`/api/v1/messages/${encodeURIComponent(id)}/trace?app=desk&user=${who}`)).json;
const cli = (server, ...args) => run(args.concat('--app', 'desk', '--url', server.url), { OYEZ_API_KEY: API_KEY });

describe('a trace', () => {
  const stage = { ends: [] };
  before(async () => {
    const suite = { after: (end) => stage.ends.push(end) };
    stage.server = await serving(suite, CONFIG(), { env: ENV, args: ['--data-dir', directory(suite)] });
  });
  after(async () => { for (const end of stage.ends.reverse()) await end(); });

  const notice = (who, more = {}) => stage.server.publish(`user:${who}`, 'notice', 1, { app: 'desk', ...more }).then(({ id }) => id);
  const trace = (id, who) => traced(stage.server, id, who);
  /** What the command prints and what the API says agree with `verdict` and `words`. */
  const told = async (id, who, verdict, words) => {
    const answer = await trace(id, who);
    assert.equal(answer.verdict, verdict, JSON.stringify(answer));
    assert.match(answer.summary, words);
    const { code, stdout, stderr } = await cli(stage.server, 'trace', id, '--user', who);
    assert.equal(code, 0, stderr);
    assert.ok(stdout.startsWith(answer.summary), stdout);
    assert.match(stdout, new RegExp(`verdict +${verdict}\n`));
    return answer;
  };

  test('knows no message that was never kept', async () => {
    for (const id of ['unheard-of', 'a/b c?', '通知']) {
      const { code, stdout, stderr } = await cli(stage.server, 'trace', id, '--user', 'ann');
      assert.deepEqual([code, stdout], [1, '']);
      assert.match(stderr, /no message .* is known to app `desk`: compare it with `id`/);
      assert.ok(stderr.includes(id), stderr);
    }
    const live = await stage.server.publish('user:ann', 'ping', 1, { app: 'desk', id: unique('live') });
    assert.equal((await stage.server.api(`/api/v1/messages/${live.id}/trace?app=desk&user=ann`)).status, 404);
    for (const query of ['?app=desk', '?user=ann&what=1&app=desk']) {
      assert.equal((await stage.server.api(`/api/v1/messages/x/trace${query}`)).status, 400);
    }
    assert.equal((await stage.server.api('/api/v1/messages/x/trace?user=ann', { token: user('ann') })).status, 401);
    const wrong = await run(['trace', 'x', '--user', 'ann', '--url', stage.server.url], { OYEZ_API_KEY: 'wrong' });
    assert.deepEqual([wrong.code, /401.*key/.test(wrong.stderr)], [1, true], wrong.stderr);
  });

  test('says that it was for others', async () => {
    const id = await notice(unique('ann'));
    await told(id, 'mallory', 'not_addressed', /not for mallory/);
  });

  test('says that it is not due', async () => {
    const who = unique('ann');
    const at = within(3_600_000);
    const id = await notice(who, { deliver_at: at });
    const answer = await told(id, who, 'scheduled', new RegExp(`scheduled for ${at}`));
    assert.equal(answer.scheduled_for, Date.parse(at));
    assert.deepEqual((await stage.server.api('/api/v1/inbox', { token: user(who) })).json.messages, []);
  });

  test('says that nobody was there, how often it was sent, and that it is there now', async (t) => {
    const who = unique('ann');
    const id = await notice(who);
    const absent = await told(id, who, 'not_connected', /is not connected, and it has not been acknowledged/);
    assert.deepEqual([absent.connections, absent.state, absent.via], [0, 'pending', { user: who }]);
    for (const times of [1, 2]) {
      const phone = await device(t, stage.server, who);
      await phone.heard.take('notice');
      await told(id, who, 'unacknowledged', /handed to 1 of 1 connected/);
      phone.disconnect();
      await eventually(async () => (await trace(id, who)).sent?.times === times);
    }
    await eventually(async () => (await trace(id, who)).connections === 0);
    const { sent, stored_at: stored } = await told(id, who, 'not_connected', /it was sent 2 time\(s\), first at .*, and not acknowledged/);
    assert.ok(sent.first_at >= stored);
  });

  test('says when it was delivered, seen, read, archived', async (t) => {
    const who = unique('ann');
    const id = await notice(who);
    const phone = await device(t, stage.server, who, { word: 'delivered' });
    await phone.heard.take('notice');
    await eventually(async () => (await trace(id, who)).verdict === 'acknowledged');
    for (const state of ['seen', 'read', 'archived']) {
      await phone.emitWithAck('notification:ack', { id, state });
      const answer = await told(id, who, 'acknowledged', new RegExp(`has it: it was delivered at .*${state} at`));
      assert.equal(answer.state, state);
    }
    const { reached } = await trace(id, who);
    assert.deepEqual(Object.keys(reached), ['delivered', 'seen', 'read', 'archived']);
    assert.deepEqual(Object.values(reached).toSorted((a, b) => a - b), Object.values(reached));
  });

  test('says that the right was missing', async (t) => {
    const [team, who] = [unique('team'), unique('ann')];
    const roster = await stage.server.api(`/api/v1/channels/team:${team}/roster`, { method: 'PUT', body: { app: 'desk', users: [who] } });
    assert.equal(roster.status, 200, roster.text);
    const { id } = await stage.server.publish(`team:${team}`, 'notice', 1, { app: 'desk' });
    const phone = await device(t, stage.server, who);
    await eventually(async () => (await trace(id, who)).withheld);
    const answer = await told(id, who, 'withheld', /is not authorised: it was withheld at/);
    assert.deepEqual(answer.via, { channel: `team:${team}` });
    phone.disconnect();
    const again = await device(t, stage.server, who, { teams: [team], word: 'read' });
    await again.heard.take('notice');
    await eventually(async () => (await trace(id, who)).verdict === 'acknowledged');
  });

  test('says that it was deleted, or that its time was over', async () => {
    const who = unique('ann');
    const [deleted, expired] = [await notice(who), await notice(who, { ttl_ms: 1 })];
    await stage.server.api('/api/v1/inbox/delete', { token: user(who), body: { ids: [deleted] } });
    const { gone } = await told(deleted, who, 'deleted', /deleted from their inbox/);
    assert.equal(gone.why, 'deleted');
    await eventually(async () => (await trace(expired, who)).verdict === 'expired', 'upkeep', 12_000);
    await told(expired, who, 'expired', /expired at .*`ttl`/);
  });

  test('is printed as JSON where that is asked', async () => {
    const who = unique('ann b');
    const id = await notice(who, { id: `${who}/1?` });
    const { code, stdout } = await cli(stage.server, 'trace', id, '--user', who, '--json');
    assert.equal(code, 0);
    assert.deepEqual(JSON.parse(stdout).id, id);
    assert.equal((await cli(stage.server, 'trace', id)).code, 2);
  });

  test('follows what `oyez publish` promises', async (t) => {
    const who = unique('ann');
    const phone = await device(t, stage.server, who);
    const say = (...args) => cli(stage.server, 'publish', `user:${who}`, ...args);
    const published = await say('thing', '{"n":1}', '--delivery', 'durable', '--level', 'synced', '--ttl', '1h', '--priority', 'urgent', '--receipts', 'channel:receipts');
    assert.equal(published.code, 0, published.stderr);
    const { id, level } = JSON.parse(published.stdout);
    assert.equal(level, 'synced');
    assert.deepEqual(await phone.heard.take('thing'), { n: 1 });
    const { messages: [message] } = (await stage.server.api('/api/v1/inbox', { token: user(who) })).json;
    assert.deepEqual([message.id, message.priority, message.expires_at - message.created_at], [id, 'urgent', 3_600_000]);
    const later = await say('thing', '2', '--delivery', 'durable', '--deliver-at', within(3_600_000));
    assert.equal((await trace(JSON.parse(later.stdout).id, who)).verdict, 'scheduled');
    for (const [args, code, words] of [
      [['--delivery', 'sometime'], 2, /live, recoverable, durable/], [['--ttl', '1w'], 2, /such as 1h/], [['--receipts', 'mail'], 2, /channel:NAME/], [['--priority', 'top'], 2, /urgent/],
      [['--delivery', 'durable', '--deliver-at', 'soon'], 1, /`deliver_at`/], [['--delivery', 'durable', '--receipts', 'webhook'], 1, /webhook/], [['--delivery', 'recoverable'], 1, /history/], [['--delivery', 'live', '--ttl', '1h'], 1, /durable/],
    ]) {
      const wrong = await say('thing', '1', ...args);
      assert.equal(wrong.code, code, `${args}: ${wrong.stdout}${wrong.stderr}`);
      assert.match(wrong.stderr, words);
    }
  });
});

test('a restart leaves everything as it was', async (t) => {
  const dir = directory(t);
  const start = () => serving(t, CONFIG(), { env: ENV, args: ['--data-dir', dir] });
  const [who, team] = ['ann', 'team:red'];
  let server = await start();
  const notice = (id, more) => server.publish(`user:${who}`, 'notice', id, { app: 'desk', id, ...more });
  const list = async () => (await server.api('/api/v1/inbox?order=oldest', { token: user(who, ['red']) })).json.messages.map(({ id, state }) => [id, state]);
  const phone = await device(t, server, who, { word: 'seen' });
  await notice('seen');
  await phone.heard.take('notice');
  await eventually(async () => (await list())[0]?.[1] === 'seen');
  const gone = drop(phone);
  phone.disconnect();
  await gone;
  await notice('waits');
  await notice('over', { ttl_ms: 1 });
  await notice('soon', { deliver_at: within(4_000) });
  await notice('late', { deliver_at: within(3_600_000) });
  await server.api(`/api/v1/channels/${team}/roster`, { method: 'PUT', body: { app: 'desk', users: [who] } });
  assert.equal(await server.stop(), 0);

  server = await start();
  assert.deepEqual(await list(), [['seen', 'seen'], ['waits', 'pending']]);
  for (const id of ['seen', 'waits', 'over', 'soon', 'late']) {
    const again = await notice(id);
    assert.equal(again.duplicate, true, id);
  }
  assert.equal((await traced(server, 'seen', who)).state, 'seen');
  assert.equal((await traced(server, 'late', who)).verdict, 'scheduled');
  const other = await device(t, server, who, { teams: ['red'], word: 'delivered' });
  assert.equal(await other.heard.take('notice'), 'waits');
  assert.equal(await other.heard.take('notice', () => true, 10_000), 'soon');
  await server.publish(team, 'notice', 'all', { app: 'desk', id: 'all' });
  assert.equal(await other.heard.take('notice'), 'all');
  await eventually(async () => (await list()).every(([, state]) => state !== 'pending'));
  assert.deepEqual((await list()).map(([id]) => id), ['seen', 'waits', 'soon', 'all']);
  assert.deepEqual(other.heard.all('notice'), ['waits', 'soon', 'all']);
});

test('a trace counts the devices on every node, says which were handed it, and who did not answer', async (t) => {
  const store = await redis(t);
  await store.start();
  const config = relative(ROOT, join(folder(t, { 'oyez.toml': CONFIG() }), 'oyez.toml'));
  const { engine, nodes: [a, b] } = await cluster(t, 2, { config, env: ENV, args: () => ['--store', store.url] });
  const notice = (who) => a.publish(`user:${who}`, 'notice', 1, { app: 'desk' }).then(({ id }) => id);
  const counted = ({ verdict, connections, handed, silent }) => [verdict, connections, handed, silent?.length];

  const phone = await device(t, b, 'ann');
  const id = await notice('ann');
  await phone.heard.take('notice');
  for (const node of [a, b]) assert.deepEqual(counted(await traced(node, id, 'ann')), ['unacknowledged', 1, 1, undefined]);
  const desktop = await device(t, a, 'ann');
  await desktop.heard.take('notice');
  for (const node of [a, b]) assert.deepEqual(counted(await traced(node, id, 'ann')), ['unacknowledged', 2, 2, undefined]);
  assert.match((await cli(a, 'trace', id, '--user', 'ann')).stdout, /handed to 2 of 2 connected[^]*\n {2}connected {2}2, handed to 2\n/);

  await standstill(b.child);
  const without = await traced(a, id, 'ann');
  b.child.kill('SIGCONT');
  assert.deepEqual(counted(without), ['unacknowledged', 1, 1, 1]);
  assert.match(without.summary, new RegExp(`Node\\(s\\) ${without.silent[0]} did not answer in time`));
  await eventually(async () => (await traced(a, id, 'ann')).connections === 2, 'it answers again', 15_000);

  const cut = await device(t, b, 'bob');
  // It looks into the store no more.
  await cut.heard.take('unread-count');
  await engine.stop();
  const unheard = await notice('bob');
  const there = await traced(b, unheard, 'bob');
  assert.deepEqual(counted(there), ['not_handed', 1, 0, 1]);
  assert.match(there.summary, /bob is connected, but none of 1 session\(s\) was handed it/);
  await engine.start();
  await cut.heard.take('notice', () => true, 15_000);
  await eventually(async () => (await traced(a, unheard, 'bob')).handed === 1, 'they reach each other', 15_000);
});
