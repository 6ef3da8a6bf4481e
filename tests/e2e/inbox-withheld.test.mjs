// What is withheld from a user, because they may not subscribe to the channel now or it is for others in it, waits: it is
// not listed, not counted, not brought forward unseen and not deleted, in either store.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { token } from './harness.mjs';
import { CONFIG, ENV, device, directory } from './keeping.mjs';
import { redis } from './redis.mjs';
import { service, serving } from './stage.mjs';
import { unique } from './steps.mjs';
import { eventually } from './waiting.mjs';

/** Alarms of a site, for those of the crew who are of that site. */
const CREWS = `
[[app.desk.channel]]
name = "crew:{id}"
subscribe = true
roster = "api"
audience = "team:{data.site}"
`;
/** Notices of a club, for those whom the backend lets hear it. */
const clubs = (url) => `
[[app.desk.channel]]
name = "club:{id}"
subscribe = { ask = "${url}/may", private = true, cache = "0s" }
roster = "api"
`;
const [CONFIGURED] = CONFIG().split('[app.small]');

const STORES = {
  embedded: async (suite) => ['--data-dir', directory(suite)],
  redis: async (suite) => {
    const store = await redis(suite);
    await store.start();
    return ['--store', store.url];
  },
};

for (const [kind, args] of Object.entries(STORES)) {
  describe(`withheld messages, ${kind} store`, () => {
    const stage = { ends: [] };
    before(async () => {
      const suite = { after: (end) => stage.ends.push(end) };
      stage.allowed = new Set();
      stage.failing = new Set();
      const backend = await service(suite, ({ body }) => {
        const { user } = JSON.parse(body);
        // Once: the next answer is a good one.
        return stage.failing.delete(user) ? { status: 500 } : { body: { allow: stage.allowed.has(user) } };
      });
      stage.server = await serving(suite, CONFIGURED + CREWS + clubs(backend.url), { env: ENV, args: await args(suite) });
    });
    after(async () => { for (const end of stage.ends.reverse()) await end(); });

    const as = (who, teams) => token({ sub: who, teams });
    const asked = async (path, shown, body) => {
      const answer = await stage.server.api(path, { token: shown, body });
      assert.equal(answer.status, 200, answer.text);
      return answer.json;
    };
    const listed = async (shown, query = '') => (await asked(`/api/v1/inbox?order=oldest&limit=1000${query}`, shown)).messages.map(({ id }) => id);
    const unread = async (shown) => (await asked('/api/v1/inbox/unread', shown)).count;
    const enroll = async (channel, ...users) => {
      assert.equal((await stage.server.api(`/api/v1/channels/${channel}/roster`, { body: { users }, method: 'PUT' })).status, 200);
    };
    /** A user with something of their own and something withheld: who they are, both ids, the tokens without and with the right. */
    const somebody = async (how) => {
      const [who, team, own, withheld] = ['ann', 'red', 'own', 'withheld'].map(unique);
      const channel = { 'by the rule': `team:${team}`, 'for others': `crew:${who}` }[how];
      await enroll(channel, who);
      await stage.server.publish(channel, 'notice', { site: team }, { id: withheld });
      await stage.server.publish(`user:${who}`, 'notice', {}, { id: own });
      return { who, team, own, withheld, channel, without: as(who, []), with: as(who, [team]) };
    };

    for (const how of ['by the rule', 'for others']) {
      test(`${how}: neither listed nor counted, also not on devices`, async (t) => {
        const one = await somebody(how);
        assert.deepEqual(await listed(one.without), [one.own]);
        assert.deepEqual(await listed(one.with), [one.withheld, one.own]);
        assert.deepEqual([await unread(one.without), await unread(one.with)], [1, 2]);
        const deaf = await device(t, stage.server, one.who, { shown: one.without });
        await deaf.heard.take('unread-count', ({ count }) => count === 1);
        // Another device of theirs may: the number is of what one of them can hear.
        const other = await device(t, stage.server, one.who, { shown: one.with });
        await other.heard.take('unread-count', ({ count }) => count === 2);
        assert.ok(deaf.heard.all('notice').length <= 1);
      });

      test(`${how}: a refresh that brings the right brings it, and what is said from then on`, async (t) => {
        const one = await somebody(how);
        const there = await device(t, stage.server, one.who, { shown: one.without });
        await there.heard.take('unread-count', ({ count }) => count === 1);
        await there.timeout(5_000).emitWithAck('auth:refresh', { token: one.with });
        await there.heard.take('notice', ({ site }) => site === one.team);
        await there.heard.take('unread-count', ({ count }) => count === 2);
        await stage.server.publish(one.channel, 'notice', { site: one.team, later: true });
        await there.heard.take('notice', ({ later }) => later);
        await there.heard.take('unread-count', ({ count }) => count === 3);
        assert.equal(there.heard.all('notice').length, 3, 'each once');
      });

      test(`${how}: a backend that gives it again has decided that all of their devices hear it`, async (t) => {
        const one = await somebody(how);
        const deaf = await device(t, stage.server, one.who, { shown: one.without });
        await deaf.heard.take('unread-count', ({ count }) => count === 1);
        await asked('/api/v1/inbox/resend', undefined, { app: 'desk', user: one.who, id: one.withheld });
        assert.deepEqual(await deaf.heard.take('notice', ({ site }) => site === one.team), { site: one.team });
        await deaf.heard.take('unread-count', ({ count }) => count === 2);
        assert.deepEqual(await listed(one.without), [one.own, one.withheld]);
      });

      for (const [way, words] of [['all', () => ({ all: true })], ['up to one', ({ own }) => ({ up_to: own })]]) {
        test(`${how}: marking ${way} leaves it`, async (t) => {
          const one = await somebody(how);
          const said = await asked('/api/v1/inbox/mark', one.without, { ...words(one), state: 'read' });
          assert.deepEqual(said, { changed: 1, unknown: [] });
          assert.deepEqual(await listed(one.with, '&state=pending'), [one.withheld]);
          const later = await device(t, stage.server, one.who, { shown: one.with });
          await later.heard.take('notice', ({ site }) => site === one.team);
        });
      }

      test(`${how}: it cannot be marked, passed or deleted by its id`, async () => {
        const one = await somebody(how);
        const mark = { state: 'read', ids: [one.withheld, one.own] };
        assert.deepEqual(await asked('/api/v1/inbox/mark', one.without, mark), { changed: 1, unknown: [one.withheld] });
        const upTo = { state: 'read', up_to: one.withheld };
        assert.deepEqual(await asked('/api/v1/inbox/mark', one.without, upTo), { changed: 0, unknown: [one.withheld] });
        const gone = await asked('/api/v1/inbox/delete', one.without, { ids: [one.withheld, one.own] });
        assert.deepEqual(gone, { deleted: 1, unknown: [one.withheld] });
        assert.deepEqual(await listed(one.with), [one.withheld]);
        assert.deepEqual(await asked('/api/v1/inbox/delete', one.with, { ids: [one.withheld] }), { deleted: 1, unknown: [] });
      });

      test(`${how}: notification:ack leaves it, of many pages`, async (t) => {
        const one = await somebody(how);
        const channel = how === 'by the rule' ? `team:${one.team}` : `crew:${one.who}`;
        const MANY = 1_050;
        await Promise.all(Array.from({ length: MANY }, () => stage.server.publish(channel, 'notice', { site: one.team })));
        await stage.server.publish(`user:${one.who}`, 'notice', {}, { id: `${one.own}-2` });
        const deaf = await device(t, stage.server, one.who, { shown: one.without });
        const said = await deaf.timeout(10_000).emitWithAck('notification:ack', { all: true, state: 'read' });
        assert.deepEqual(said, { ok: true, changed: [one.own, `${one.own}-2`], unknown: [] });
        assert.deepEqual([await unread(one.without), await unread(one.with)], [0, MANY + 1]);
      });
    }

    test('in two channels, one of which withholds it: it is sent by the other on each connect', async (t) => {
      const [who, team, other, id] = ['ann', 'red', 'blue', 'both'].map(unique);
      await enroll(`crew:${who}`, who);
      await enroll(`team:${team}`, who);
      await stage.server.publish([`crew:${who}`, `team:${team}`], 'notice', { site: other, id }, { id });
      for (const _ of [1, 2]) {
        const there = await device(t, stage.server, who, { teams: [team] });
        await there.heard.take('notice', (data) => data.id === id);
        await there.heard.take('unread-count', ({ count }) => count === 1);
        assert.equal(there.heard.all('notice').length, 1, 'once');
        there.disconnect();
      }
    });

    test('a refresh that takes or gives the right to hear some of a channel is told as a number', async (t) => {
      const one = await somebody('for others');
      const there = await device(t, stage.server, one.who, { shown: one.with });
      await there.heard.take('unread-count', ({ count }) => count === 2);
      for (const [shown, expect] of [[one.without, 1], [one.with, 2]]) {
        await there.timeout(5_000).emitWithAck('auth:refresh', { token: shown });
        await there.heard.take('unread-count', ({ count }) => count === expect);
      }
    });

    test('who is put on a roster while connected hears nothing of it before the backend allows it, and then all', async (t) => {
      for (const may of [false, true]) {
        const [who, club] = ['ann', 'club'].map(unique);
        if (may) stage.allowed.add(who);
        const there = await device(t, stage.server, who);
        await there.heard.take('unread-count', ({ count }) => count === 0);
        await enroll(`club:${club}`, who);
        await stage.server.publish(`club:${club}`, 'notice', { n: 1 });
        await stage.server.publish(`user:${who}`, 'notice', { n: 'own' });
        await there.heard.take('notice', ({ n }) => n === (may ? 1 : 'own'));
        if (may) continue;
        const shown = as(who, []);
        assert.deepEqual([(await listed(shown)).length, await unread(shown)], [1, 1]);
        assert.deepEqual(there.heard.all('notice').map(({ n }) => n), ['own']);
      }
    });

    test('a backend that fails once while a device connects does not make it deaf', async (t) => {
      const [who, club] = ['ann', 'club'].map(unique);
      await enroll(`club:${club}`, who);
      await stage.server.publish(`club:${club}`, 'notice', { n: 1 });
      stage.allowed.add(who);
      stage.failing.add(who);
      const there = await device(t, stage.server, who);
      await there.heard.take('notice', ({ n }) => n === 1);
      await there.heard.take('unread-count', ({ count }) => count === 1);
      await stage.server.publish(`club:${club}`, 'notice', { n: 2 });
      await there.heard.take('notice', ({ n }) => n === 2);
      await there.heard.take('unread-count', ({ count }) => count === 2);
    });

    test('a callback says that a message has been read which its id has acknowledged before', async (t) => {
      const [who, id] = ['ann', 'message'].map(unique);
      const there = await device(t, stage.server, who);
      const delivered = new Promise((resolve) => { there.on('notice', (_, ack) => resolve(ack)); });
      await stage.server.publish(`user:${who}`, 'notice', {}, { id });
      const ack = await delivered;
      assert.equal((await there.timeout(5_000).emitWithAck('notification:ack', { id })).ok, true);
      ack('read');
      await eventually(async () => (await listed(as(who, []), '&state=read')).includes(id), 'it is read');
    });
  });
}
