// Rights that are lost while a session catches up: nothing more comes than lies in its outbox already, nothing of the rest
// counts as delivered, and others hear all of it. The client polls, so that it alone decides how far it has read.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { token } from './harness.mjs';
import { CONFIG, ENV, device, directory, user } from './keeping.mjs';
import { range } from './remembering.mjs';
import { serving } from './stage.mjs';
import { unique } from './steps.mjs';
import { eventually } from './waiting.mjs';

const COUNT = 250;
/** Half an outbox (1 MiB) takes 17 of these: a page waits for its client many times. */
const FILLER = 'x'.repeat(30_000);
const UNDER_WAY = 17;

/** The bare protocol over polling. `numbers` are what it has heard, each acknowledged if `acks`. */
class Poller {
  numbers = [];
  words = [];
  over = false;

  static async open(server, auth, acks) {
    const self = new Poller();
    const base = `${server.url}/socket.io/?EIO=4&transport=polling`;
    const [open] = (await (await fetch(base)).text()).split('\x1e');
    self.url = `${base}&sid=${JSON.parse(open.slice(1)).sid}`;
    self.acks = acks;
    await self.say(`40${JSON.stringify({ token: auth })}`);
    return self;
  }

  async say(...packets) {
    const answer = await fetch(this.url, { method: 'POST', body: packets.join('\x1e') });
    assert.equal(await answer.text(), 'ok');
  }

  /** One answer to a poll; false: the session is over. */
  async poll() {
    const answer = await fetch(this.url);
    const text = await answer.text();
    if (answer.status !== 200) return this.end();
    const acks = [];
    for (const packet of text.split('\x1e')) {
      const [, ack, said] = packet.match(/^42(\d*)(\[.*)$/s) ?? [];
      const [event, data] = said ? JSON.parse(said) : [];
      if (event === 'notice') {
        this.numbers.push(data.n);
        if (this.acks) acks.push(`43${ack}[]`);
      } else if (event) this.words.push([event, data]);
      else if (packet === '2') acks.push('3');
      else this.words.push([packet]);
      if (packet === '1' || packet.startsWith('41')) this.end();
    }
    if (acks.length > 0 && !this.over) await this.say(...acks);
    return !this.over;
  }

  end() {
    this.over = true;
    return false;
  }

  async until(holds) {
    while (!holds() && await this.poll());
  }

  heard(start) {
    return this.words.some(([word]) => word.startsWith(start));
  }
}

for (const [mode, acknowledge] of [['acknowledges', 'explicit'], ['only answers heartbeats', 'heartbeat']]) {
  describe(`a client that ${mode} and is catching up`, () => {
    const stage = { ends: [] };
    before(async () => {
      const suite = { after: (end) => stage.ends.push(end) };
      const [desk] = CONFIG({ inbox: `acknowledge = "${acknowledge}"` }).split('[app.small]');
      stage.server = await serving(suite, desk, { env: ENV, args: ['--data-dir', directory(suite)] });
    });
    after(async () => { for (const end of stage.ends.reverse()) await end(); });

    const ok = async (path, body, method) => {
      const answer = await stage.server.api(path, { body, method });
      assert.equal(answer.status, 200, answer.text);
      return answer.json;
    };
    const roster = (team, method, ...users) => ok(`/api/v1/channels/team:${team}/roster`, { app: 'desk', users }, method);
    const fill = async (to) => {
      for (const n of range(0, COUNT)) await stage.server.publish(to, 'notice', { n, filler: FILLER }, { app: 'desk' });
    };
    const verdict = async (id, who) => (await ok(`/api/v1/messages/${id}/trace?app=desk&user=${who}`)).verdict;
    const pending = async (who) => (await ok(`/api/v1/inbox?app=desk&user=${who}&order=oldest&limit=1000&state=pending`)).messages;
    /** A client that has read into the second page. */
    const catching = async (auth) => {
      const client = await Poller.open(stage.server, auth, acknowledge === 'explicit');
      await client.until(() => client.numbers.length > 110);
      return client;
    };
    /** What it has heard since is not more than was under way, and what it has not heard does not count as delivered. */
    const stopped = (client, before) => {
      assert.deepEqual(client.numbers, range(0, client.numbers.length));
      assert.ok(client.numbers.length <= before + UNDER_WAY, `${client.numbers.length - before} more were heard`);
    };
    const restIsPending = async (who, client) => {
      const rest = range(client.numbers.length, COUNT - client.numbers.length);
      const waiting = (await pending(who)).map(({ data }) => data.n);
      assert.deepEqual(waiting.filter((n) => n >= client.numbers.length), rest);
    };

    test('hears no more of a channel to which a refresh has taken the right, and the rest of its own', async (t) => {
      const [who, team] = ['ann', 'red'].map(unique);
      await roster(team, 'PUT', who);
      await fill(`team:${team}`);
      await stage.server.publish(`user:${who}`, 'notice', { n: 'own' }, { app: 'desk' });
      const client = await catching(user(who, [team]));
      const before = client.numbers.length;
      await client.say(`427["auth:refresh",${JSON.stringify({ token: user(who) })}]`);
      await client.until(() => client.heard('437'));
      await client.until(() => client.numbers.includes('own'));
      client.numbers.pop();
      stopped(client, before);
      await restIsPending(who, client);
      const last = (await pending(who)).findLast(({ data }) => data.n === COUNT - 1);
      await eventually(async () => await verdict(last.id, who) === 'withheld', 'the reason in the trace');
      // Who has the right again hears the rest.
      const back = await device(t, stage.server, who, { teams: [team] });
      await back.heard.take('notice', ({ n }) => n === COUNT - 1, 20_000);
      const again = back.heard.all('notice').map(({ n }) => n).filter((n) => n >= client.numbers.length);
      assert.deepEqual(again, range(client.numbers.length, COUNT - client.numbers.length));
    });

    test('hears no more of a channel from whose roster a backend has taken it, and others hear all', async (t) => {
      const [who, other, team] = ['ann', 'bob', 'red'].map(unique);
      await roster(team, 'PUT', who, other);
      await fill(`team:${team}`);
      await stage.server.publish(`user:${who}`, 'notice', { n: 'own' }, { app: 'desk' });
      const client = await catching(user(who, [team]));
      const before = client.numbers.length;
      await roster(team, 'DELETE', who);
      await client.until(() => client.numbers.includes('own'));
      client.numbers.pop();
      stopped(client, before);
      assert.equal((await pending(other)).length, COUNT);
      const there = await device(t, stage.server, other, { teams: [team] });
      await there.heard.take('notice', ({ n }) => n === COUNT - 1, 20_000);
      assert.deepEqual(there.heard.all('notice').map(({ n }) => n), range(0, COUNT));
    });

    for (const [what, path, by] of [
      ['is told to go', 'disconnect', (who) => ({ app: 'desk', user: who })],
      ['is banned', 'revoke', (who) => ({ app: 'desk', user: who })],
      ['loses its token', 'revoke', (_, jti) => ({ token_id: jti })],
    ]) {
      test(`hears no more when it ${what}`, async () => {
        const [who, jti] = ['ann', 'token'].map(unique);
        await fill(`user:${who}`);
        const client = await catching(token({ sub: who, teams: [], jti }));
        const before = client.numbers.length;
        await ok(`/api/v1/${path}`, by(who, jti));
        await client.until(() => false);
        stopped(client, before);
        await restIsPending(who, client);
      });
    }
  });
}
