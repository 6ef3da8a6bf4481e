// What a channel remembers, read over HTTP: with the rights of a subscription, page by page, and by pages that poll.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { token } from './harness.mjs';
import { CONFIG, RECOVERY, say, user } from './remembering.mjs';
import { serving } from './stage.mjs';

describe('history', () => {
  const stage = { ends: [] };
  const read = (channel, query = '', options = {}) => stage.server.api(`/api/v1/channels/${channel}/history${query}`, options);
  const items = ({ json }) => json.publications.map(({ data }) => data.n);
  before(async () => { stage.server = await serving({ after: (end) => stage.ends.push(end) }, CONFIG(RECOVERY)); });
  after(async () => { for (const end of stage.ends.reverse()) await end(); });

  test('is read from a place on, page by page', async () => {
    await say(stage, 'news', 0, 5);
    const newest = await read('news', '?limit=2');
    assert.deepEqual(items(newest), [3, 4]);
    assert.equal(newest.json.more, false);
    const all = await read('news');
    assert.deepEqual(items(all), [0, 1, 2, 3, 4]);
    assert.deepEqual(Object.keys(all.json.publications[0]), ['id', 'event', 'data', 'offset']);
    const since = all.json.publications[1].offset;
    const page = await read('news', `?since=${since}&limit=2`);
    assert.deepEqual([items(page), page.json.more, page.json.gap], [[2, 3], true, false]);
    const rest = await read('news', `?since=${page.json.offset}&limit=2`);
    assert.deepEqual([items(rest), rest.json.more, rest.json.offset], [[4], false, all.json.offset]);
    assert.deepEqual(items(await read('news', `?since=${rest.json.offset}`)), []);
  });

  test('says what is lost', async () => {
    const before = (await read('news')).json.offset;
    await say(stage, 'few', 0, 4);
    const late = await read('few', `?since=${before}`);
    assert.deepEqual([items(late), late.json.gap], [[2, 3], true]);
    assert.equal((await read('news', '?since=1.1')).json.gap, true);
  });

  test('has the rights of a subscription', async () => {
    await stage.server.publish('room:a', 'item', { n: 1 });
    const as = (claims) => ({ token: token(claims) });
    assert.deepEqual(items(await read('room:a', '', as({ sub: 'in', rooms: ['a'] }))), [1]);
    assert.equal((await read('room:a', '', as({ sub: 'out', rooms: ['b'] }))).status, 403);
    assert.equal((await read('room:a', '', { token: 'rubbish' })).status, 401);
    assert.equal((await read('room:a', '', { token: null })).status, 401);
    assert.deepEqual(items(await read('room:a', `?token=${user('in', ['a'])}`, { token: null })), [1]);
  });

  test('is polled with an ETag, and waits', async () => {
    await stage.server.publish('user:poll', 'item', { n: 1 });
    const own = { token: user('poll') };
    const first = await read('user:poll', '', own);
    const etag = first.headers.get('etag');
    const known = { ...own, headers: { 'if-none-match': etag } };
    await stage.server.publish('news', 'item', { n: 99 });
    assert.equal((await read('user:poll', '', known)).status, 304);
    const waiting = read('user:poll', `?since=${first.json.offset}&wait=30`, own);
    const tagged = read('user:poll', '?wait=30', known);
    await read('user:poll', '?wait=1', known).then(({ status }) => assert.equal(status, 304));
    await stage.server.publish('user:poll', 'item', { n: 2 });
    assert.deepEqual(items(await waiting), [2]);
    assert.deepEqual(items(await tagged), [1, 2]);
  });

  test('says nothing to who has lost the right while it waited', async () => {
    const since = (await read('news')).json.offset;
    const mallory = { token: user('mallory') };
    const tagged = { ...mallory, headers: { 'if-none-match': (await read('news', '', mallory)).headers.get('etag') } };
    const waiting = [read('news', `?since=${since}&wait=30`, mallory), read('news', '?wait=30', tagged)];
    await read('news', `?since=${since}&wait=1`, mallory).then(({ status }) => assert.equal(status, 200));
    await stage.server.api('/api/v1/revoke', { body: { user: 'mallory' } }).then(({ status, text }) => assert.equal(status, 200, text));
    await stage.server.publish('news', 'item', { n: 1 });
    for (const { status } of await Promise.all(waiting)) assert.equal(status, 401);
  });

  test('refuses what it cannot answer, in words', async () => {
    for (const [channel, query, status, words] of [
      ['ticks', '', 404, /history/], ['news', '?limit=0', 400, /limit/], ['news', '?since=yesterday', 400, /since/], ['news', '?wait=51', 400, /wait/], ['news', '?what=1', 400, /what/], ['%0a', '', 400, /channel name/],
    ]) {
      const answer = await read(channel, query);
      assert.equal(answer.status, status, answer.text);
      assert.match(answer.json.error.message, words);
    }
  });
});
