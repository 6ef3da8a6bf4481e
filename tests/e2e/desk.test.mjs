// Inboxes over HTTP: by users with their own token and by backends, with devices that hear what is done to them.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { fence, token } from './harness.mjs';
import { CONFIG, ENV, OTHER_SECRET, SMALL, device, directory, user } from './keeping.mjs';
import { serving } from './stage.mjs';
import { unique } from './steps.mjs';
import { eventually } from './waiting.mjs';

const INBOX = '/api/v1/inbox';

describe('inboxes over HTTP', () => {
  const stage = { ends: [] };
  before(async () => {
    const suite = { after: (end) => stage.ends.push(end) };
    stage.server = await serving(suite, CONFIG(), { env: ENV, args: ['--data-dir', directory(suite)] });
  });
  after(async () => { for (const end of stage.ends.reverse()) await end(); });

  const api = (path, options) => stage.server.api(path, options);
  const ok = async (path, options) => {
    const answer = await api(path, options);
    assert.equal(answer.status, 200, `${path}: ${answer.text}`);
    return answer.json;
  };
  const notice = (who, data = 1, more = {}) => stage.server.publish(`user:${who}`, 'notice', data, { app: 'desk', ...more });
  const own = (who, teams) => ({ token: user(who, teams) });
  /** Both kinds of askers: [name, query, body, options]. */
  const askers = (who) => [['backend', `user=${who}&app=desk&`, { user: who, app: 'desk' }, {}], ['user', '', {}, own(who)]];
  const ids = ({ messages }) => messages.map(({ id }) => id);
  const refused = async (path, options, status, code, words) => {
    const answer = await api(path, options);
    assert.deepEqual([answer.status, answer.json?.error.code], [status, code], `${path}: ${answer.text}`);
    assert.match(answer.json.error.message, words);
  };

  test('are listed with all that is known of a message', async () => {
    const who = unique('ann');
    const { id, level } = await notice(who, { n: 1 }, { id: unique('m'), priority: 'high', ttl_ms: 3_600_000 });
    assert.equal(level, 'stored');
    for (const [name, query, , options] of askers(who)) {
      const page = await ok(`${INBOX}?${query}`, options);
      assert.equal(page.messages.length, 1, name);
      const { created_at: created, expires_at: expires, ...message } = page.messages[0];
      assert.deepEqual(message, { id, event: 'notice', data: { n: 1 }, state: 'pending', priority: 'high', via: { user: who } });
      assert.ok(Math.abs(Date.now() - created) < 60_000);
      assert.equal(expires - created, 3_600_000);
      assert.equal(page.next, undefined);
    }
  });

  test('are read page by page, in both orders', async () => {
    const who = unique('ann');
    const sent = [];
    for (let n = 0; n < 250; n += 1) sent.push((await notice(who, n)).id);
    for (const [, query, , options] of askers(who)) {
      for (const [order, expect] of [['newest', sent.toReversed()], ['oldest', sent]]) {
        const got = [];
        const sizes = [];
        for (let cursor = ''; cursor !== undefined;) {
          const page = await ok(`${INBOX}?${query}order=${order}&${cursor && `cursor=${cursor}`}`, options);
          got.push(...ids(page));
          sizes.push(page.messages.length);
          cursor = page.next;
        }
        assert.deepEqual(got, expect);
        assert.deepEqual(sizes, [100, 100, 50]);
      }
    }
    const { next } = await ok(`${INBOX}?limit=7`, own(who));
    assert.deepEqual(ids(await ok(`${INBOX}?limit=2&cursor=${next}`, own(who))), sent.toReversed().slice(7, 9));
    await refused(`${INBOX}?order=oldest&cursor=${next}`, own(who), 400, 'bad_request', /`cursor`.*same `order`/);
    // A cursor is a place, and opens nobody else's inbox.
    assert.deepEqual((await ok(`${INBOX}?cursor=${next}`, own(unique('mallory')))).messages, []);
    assert.deepEqual(await ok(`${INBOX}/unread`, own(who)), { count: 250 });
  });

  test('are marked, one or several or up to one or all, and devices hear it', async (t) => {
    for (const [name, query, body, options] of askers(unique('ann'))) {
      const who = query ? body.user : JSON.parse(atob(options.token.split('.')[1])).sub;
      const [phone, desk] = [await device(t, stage.server, who), await device(t, stage.server, who)];
      const sent = [];
      for (let n = 0; n < 5; n += 1) sent.push((await notice(who, n, { id: unique(name) })).id);
      const mark = (more) => ok(`${INBOX}/mark`, { ...options, body: { ...body, ...more } });
      const states = async (state) => ids(await ok(`${INBOX}?${query}order=oldest&state=${state}`, options));
      const counts = (count) => Promise.all([phone, desk].map(({ heard }) => heard.take('unread-count', (at) => at.count === count)));
      await counts(5);
      assert.deepEqual(await mark({ ids: sent[0], state: 'read' }), { changed: 1, unknown: [] });
      for (const { heard } of [phone, desk]) assert.deepEqual(await heard.take('notification:state'), { ids: [sent[0]], state: 'read' });
      await counts(4);
      assert.deepEqual(await mark({ ids: [sent[0], sent[4], 'unheard-of'], state: 'seen' }), { changed: 1, unknown: ['unheard-of'] });
      assert.deepEqual(await mark({ up_to: sent[2], state: 'delivered' }), { changed: 2, unknown: [] });
      assert.deepEqual(await mark({ up_to: 'unheard-of', state: 'read' }), { changed: 0, unknown: ['unheard-of'] });
      assert.deepEqual(await states('pending'), [sent[3]]);
      assert.deepEqual(await states('delivered,seen'), [sent[1], sent[2], sent[4]]);
      assert.deepEqual(await mark({ all: true, state: 'read' }), { changed: 4, unknown: [] });
      await counts(0);
      assert.deepEqual(await ok(`${INBOX}/unread?${query}`, options), { count: 0 });
      assert.deepEqual(await mark({ all: true, state: 'archived' }), { changed: 5, unknown: [] });
      assert.deepEqual(await states('archived'), sent);
      // What is that far already does not go back.
      assert.deepEqual(await mark({ ids: sent, state: 'delivered' }), { changed: 0, unknown: [] });
      await ok(`${INBOX}/delete`, { ...options, body: { ...body, ids: sent } });
    }
  });

  test('lose what is deleted, and devices hear it', async (t) => {
    const who = unique('ann');
    const phone = await device(t, stage.server, who);
    for (const [, query, body, options] of askers(who)) {
      const { id } = await notice(who);
      await phone.heard.take('unread-count', ({ count }) => count === 1);
      const answer = await ok(`${INBOX}/delete`, { ...options, body: { ...body, ids: [id, 'unheard-of'] } });
      assert.deepEqual(answer, { deleted: 1, unknown: ['unheard-of'] });
      assert.deepEqual(await phone.heard.take('notification:state'), { ids: [id], state: 'deleted' });
      await phone.heard.take('unread-count', ({ count }) => count === 0);
      assert.deepEqual((await ok(`${INBOX}?${query}`, options)).messages, []);
    }
  });

  test('get a message again', async (t) => {
    const who = unique('ann');
    const phone = await device(t, stage.server, who, { word: 'read' });
    const { id } = await notice(who, { again: true });
    await phone.heard.take('notice');
    await phone.heard.take('unread-count', ({ count }) => count === 0);
    await eventually(async () => (await ok(`${INBOX}?state=read`, own(who))).messages.length === 1);
    const again = { app: 'desk', user: who, id };
    assert.deepEqual(await ok(`${INBOX}/resend`, { body: again }), { ok: true });
    assert.deepEqual(await phone.heard.take('notice'), { again: true });
    await refused(`${INBOX}/resend`, { body: { ...again, id: 'unheard-of' } }, 404, 'not_found', /no such message/);
    await refused(`${INBOX}/resend`, { body: { ...again, user: 'mallory' } }, 404, 'not_found', /no such message/);
    await refused(`${INBOX}/resend`, { ...own(who), body: again }, 401, 'unauthorized', /API key/);
  });

  test('of others look like none', async () => {
    const [ann, bob] = [unique('ann'), unique('bob')];
    const { id } = await notice(ann);
    const mine = own(bob);
    assert.deepEqual((await ok(INBOX, mine)).messages, []);
    assert.deepEqual(await ok(`${INBOX}/mark`, { ...mine, body: { ids: [id], state: 'read' } }), { changed: 0, unknown: [id] });
    assert.deepEqual(await ok(`${INBOX}/mark`, { ...mine, body: { up_to: id, state: 'read' } }), { changed: 0, unknown: [id] });
    assert.deepEqual(await ok(`${INBOX}/delete`, { ...mine, body: { ids: [id] } }), { deleted: 0, unknown: [id] });
    const not = [403, 'forbidden', /leave `user` out/];
    await refused(`${INBOX}?user=${ann}`, mine, ...not);
    await refused(`${INBOX}/unread?user=${ann}`, mine, ...not);
    await refused(`${INBOX}/mark`, { ...mine, body: { user: ann, all: true, state: 'read' } }, ...not);
    await refused(`${INBOX}/delete`, { ...mine, body: { user: ann, ids: [id] } }, ...not);
    assert.deepEqual((await ok(`${INBOX}?user=${bob}`, mine)).messages, []);
    assert.deepEqual((await ok(INBOX, own(ann))).messages.map(({ state }) => state), ['pending']);
  });

  test('refuse what cannot be, in words', async () => {
    const mine = own(unique('ann'));
    for (const [path, body, words] of [
      ['?state=unread', undefined, /`state`: "unread" is no state; there are pending/], ['?order=up', undefined, /order|variant/], ['?limit=0', undefined, /`limit`/], ['?limit=1001', undefined, /`limit`/],
      ['?cursor=o1', undefined, /`cursor`/], ['?cursor=n', undefined, /`cursor`/], ['?cursor=n+1', undefined, /`cursor`/], ['?cursor=nfffffffffffffffff', undefined, /`cursor`/], ['?what=1', undefined, /what/],
      ['/mark', { state: 'read' }, /exactly one/], ['/mark', { ids: ['a'], all: true, state: 'read' }, /exactly one/], ['/mark', { all: true, state: 'eaten' }, /`state`/], ['/mark', { all: true, state: 'pending' }, /`state`.*resend/], ['/mark', { all: true }, /state/],
      ['/mark', { ids: [], state: 'read' }, /`ids`: 0/], ['/mark', { ids: Array.from({ length: 1001 }, String), state: 'read' }, /`ids`: 1001/], ['/delete', {}, /ids/], ['/delete', { ids: 5 }, /`ids`/],
    ]) await refused(INBOX + path, { ...mine, body }, 400, 'bad_request', words);
    await refused(`${INBOX}?app=desk`, {}, 400, 'bad_request', /`user`/);
    await refused(`${INBOX}?app=desk&user=`, {}, 400, 'bad_request', /`user`/);
    await refused(`${INBOX}?user=1`, {}, 400, 'bad_request', /which app/);
    for (const [bad, code] of [[null, 'unauthorized'], ['rubbish', 'invalid_token']]) {
      for (const [path, body] of [['', undefined], ['/unread', undefined], ['/mark', {}], ['/delete', {}]]) await refused(INBOX + path, { token: bad, body }, 401, code, /./);
    }
  });

  test('are missing where an app keeps none', async () => {
    const bare = token({ sub: '1' }, { secret: OTHER_SECRET });
    for (const [options, query, body] of [[{}, 'app=bare&user=1', { app: 'bare', user: '1' }], [{ token: bare }, '', {}]]) {
      const missing = [409, 'conflict', /\[app\.bare\.inbox\]/];
      await refused(`${INBOX}?${query}`, options, ...missing);
      await refused(`${INBOX}/unread?${query}`, options, ...missing);
      await refused(`${INBOX}/mark`, { ...options, body: { ...body, all: true, state: 'read' } }, ...missing);
      await refused(`${INBOX}/delete`, { ...options, body: { ...body, ids: ['a'] } }, ...missing);
    }
    await refused(`${INBOX}/resend`, { body: { app: 'bare', user: '1', id: 'a' } }, 409, 'conflict', /inbox/);
    await refused('/api/v1/messages/a/trace?app=bare&user=1', {}, 409, 'conflict', /inbox/);
    await refused('/api/v1/channels/team:a/roster?app=bare', {}, 409, 'conflict', /inbox/);
    await refused('/api/v1/publish', { body: { app: 'bare', to: 'user:1', event: 'x', delivery: 'durable' } }, 409, 'conflict', /inbox/);
  });

  test('refuse where they are full, and say who has no room', async (t) => {
    const server = await serving(t, CONFIG({ inbox: 'most = 2\nwhen_full = "refuse"' }), { env: ENV });
    const say = (to, more = {}) => server.api('/api/v1/publish', { body: { app: 'desk', to, event: 'notice', data: {}, ...more } });
    const at = Date.now() + 1500;
    assert.equal((await say('user:ann', { id: 'due', deliver_at: at })).status, 200);
    for (const id of ['a', 'b']) assert.equal((await say('user:ann', { id })).json.full, undefined);
    const alone = await say('user:ann');
    assert.deepEqual([alone.status, alone.json.error.code], [409, 'inbox_full']);
    const both = await say(['user:ann', 'user:bob'], { id: 'both' });
    assert.deepEqual([both.status, both.json.full], [200, [{ user: 'ann' }]]);
    const has = async (who) => ids(await server.api(`/api/v1/inbox?app=desk&user=${who}&order=oldest`).then(({ json }) => json));
    await eventually(() => server.logs.some((line) => line.includes('scheduled_refused')), 'what is due and has no room is logged');
    assert.deepEqual([await has('ann'), await has('bob')], [['a', 'b'], ['both']]);
  });

  test('drop the oldest where they are small', async () => {
    const who = unique('ann');
    const sent = [];
    for (let n = 0; n <= SMALL; n += 1) sent.push((await notice(who, n, { app: 'small', delivery: 'durable' })).id);
    assert.deepEqual(ids(await ok(`${INBOX}?app=small&user=${who}&order=oldest`)), sent.slice(1));
    const trace = await ok(`/api/v1/messages/${sent[0]}/trace?app=small&user=${who}`);
    assert.equal(trace.verdict, 'dropped');
    assert.match(trace.summary, /to make room/);
  });

  test('have what is said to a roster, for those who may hear it', async (t) => {
    const [team, ann, bob] = ['team', 'ann', 'bob'].map(unique);
    const roster = `/api/v1/channels/team:${team}/roster`;
    const change = (method, users) => ok(roster, { method, body: { app: 'desk', users } });
    assert.deepEqual(await change('PUT', [ann, bob]), { changed: 2 });
    assert.deepEqual(await change('PUT', [ann, bob]), { changed: 0 });
    const first = await ok(`${roster}?app=desk&limit=1`);
    const second = await ok(`${roster}?app=desk&limit=1&cursor=${first.next}`);
    assert.deepEqual([[...first.users, ...second.users].toSorted(), second.next], [[ann, bob].toSorted(), undefined]);
    const { id } = await stage.server.publish(`team:${team}`, 'notice', 'all', { app: 'desk' });
    assert.deepEqual((await ok(INBOX, own(ann, [team]))).messages[0].via, { channel: `team:${team}` });
    // Who is on the roster and has lost the right sees nothing of it, neither by HTTP nor on a connect.
    assert.deepEqual((await ok(INBOX, own(ann))).messages, []);
    assert.deepEqual(ids(await ok(`${INBOX}?app=desk&user=${ann}`)), [id]);
    const outsider = await device(t, stage.server, ann);
    await outsider.heard.take('unread-count');
    // Nor live, whether they were there when they were put on it or came later.
    await change('DELETE', [ann]);
    await change('PUT', [ann]);
    const later = await device(t, stage.server, ann);
    const insider = await device(t, stage.server, ann, { teams: [team] });
    await Promise.all([later, insider].map(({ heard }) => heard.take('unread-count')));
    await stage.server.publish(`team:${team}`, 'notice', 'live', { app: 'desk' });
    assert.equal(await insider.heard.take('notice'), 'live');
    for (const socket of [outsider, later]) {
      await fence(stage.server, socket, `user:${ann}`, { app: 'desk' });
      assert.deepEqual(socket.heard.all('notice'), []);
    }
    // Nor who loses it while they are there.
    await insider.emitWithAck('auth:refresh', { token: user(ann) });
    await stage.server.publish(`team:${team}`, 'notice', 'later', { app: 'desk' });
    await fence(stage.server, insider, `user:${ann}`, { app: 'desk' });
    assert.deepEqual(insider.heard.all('notice'), ['live']);
    assert.deepEqual(await change('DELETE', [bob]), { changed: 1 });
    assert.deepEqual((await ok(INBOX, own(bob, [team]))).messages, []);
    assert.deepEqual((await ok(`${roster}?app=desk`)).users, [ann]);
    await refused('/api/v1/channels/receipts/roster?app=desk', {}, 409, 'conflict', /`roster`/);
    await refused(roster, { method: 'PUT', body: { app: 'desk', users: [] } }, 400, 'bad_request', /`users`/);
    await refused(roster, { method: 'PUT', body: { app: 'desk', users: [''] } }, 400, 'bad_request', /`users`/);
    await refused(roster, { method: 'PUT', body: { app: 'desk', users: Array.from({ length: 1001 }, String) } }, 400, 'bad_request', /`users`/);
    await refused(roster, { method: 'PUT', token: user(ann, [team]), body: { users: [ann] } }, 401, 'unauthorized', /API key/);
  });
});
