// The inbox where bytes are encrypted, and compressed: catching up over wss and https, acknowledging, what comes again
// after a cut, and binaries.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import https from 'node:https';
import { readFileSync } from 'node:fs';
import { authority } from './authority.mjs';
import { API_KEY, connect, connected, next, token } from './harness.mjs';
import { CONFIG, ENV, directory, user } from './keeping.mjs';
import { range } from './remembering.mjs';
import { raw, serving } from './stage.mjs';
import { unique } from './steps.mjs';
import { Inbox, eventually } from './waiting.mjs';

const TLS = '[server.tls]\ncertificate = "one.pem"\nkey = "one.key"\n';
const WEBSOCKET = (compression) => `
[app.desk.websocket]
frame = "{'type': event, 'id': id, 'data': data}"
compression = ${compression}
[[app.desk.on]]
event = "send"
publish = { to = "user:{data.to}", event = "notice", data = "data" }
ack = "'sent'"
`;
/** Four full pages and a part of a fifth. */
const MANY = 450;
const WAYS = { wss: { transports: ['websocket'] }, 'https polling': { transports: ['polling'] }, 'polling that upgrades': {} };

for (const compression of [false, true]) {
  describe(`an inbox over TLS${compression ? ', compressed' : ''}`, () => {
    const ends = [];
    const { ca, end, file, issue } = authority();
    let server;
    before(async () => {
      issue('one');
      const suite = { after: (last) => ends.push(last) };
      const [desk] = CONFIG().split('[app.small]');
      const toml = `${TLS}${desk}${WEBSOCKET(compression)}`
        .replace('inbox = "{id}"', 'inbox = "{id}"\npublish = true')
        .replace('[app.desk.socketio]', `[app.desk.socketio]\ncompression = ${compression}`)
        .replace('from = ["auth.token"]', 'from = ["auth.token", "query.token"]');
      const files = Object.fromEntries(['one.pem', 'one.key'].map((name) => [name, readFileSync(file(name))]));
      server = await serving(suite, toml, { env: ENV, files, args: ['--data-dir', directory(suite)] });
    });
    after(async () => {
      for (const last of ends.reverse()) await last();
      end();
    });

    const agent = new https.Agent({ keepAlive: true, maxSockets: 8, ca });
    ends.push(() => agent.destroy());
    /** The parsed answer to one request, which must be a good one. */
    const api = (path, body) => new Promise((resolve, reject) => {
      const headers = { authorization: `Bearer ${API_KEY}`, 'content-type': 'application/json' };
      const asked = https.request(server.url + path, { method: body ? 'POST' : 'GET', agent, headers }, (response) => {
        let text = '';
        response.on('data', (bytes) => { text += bytes; });
        response.on('end', () => (response.statusCode === 200 ? resolve(JSON.parse(text)) : reject(new Error(text))));
      });
      asked.on('error', reject);
      asked.end(body && JSON.stringify(body));
    });
    const publish = (who, data, more = {}) => ({ publish: { app: 'desk', to: `user:${who}`, event: 'notice', data, ...more } });
    /** Publishes numbered messages of 2 KB that compress well. */
    const fill = async (who, count) => {
      const commands = range(0, count).map((n) => publish(who, { n, filler: `${n} ist nicht ${n + 1}. `.repeat(100) }));
      const { results } = await api('/api/v1/batch', { commands });
      assert.ok(results.every(({ level }) => level === 'stored'), JSON.stringify(results[0]));
    };
    const states = async (who, state) => (await api(`/api/v1/inbox?app=desk&user=${who}&state=${state}&order=oldest&limit=1000`)).messages.map(({ data }) => data.n);

    /** A device; `numbers` are what it has heard, each acknowledged if `acks(n)`. It has caught up when `counted` is kept. */
    const device = (t, who, options, acks = () => false) => {
      const socket = connect(server.url, { ca, auth: { token: user(who) }, ...options });
      t.after(() => socket.disconnect());
      const numbers = [];
      socket.on('notice', ({ n }, ack) => {
        numbers.push(n);
        if (acks(n)) ack('seen');
      });
      const counted = next(socket, 'unread-count', 20_000);
      counted.catch(() => {}); // it may be cut before
      return { socket, numbers, counted };
    };

    for (const [way, options] of Object.entries(WAYS)) {
      test(`catches up over ${way}, and takes acknowledgements`, async (t) => {
        const who = unique('ann');
        await fill(who, MANY);
        const first = device(t, who, options, (n) => n % 3 === 0);
        await connected(first.socket);
        assert.deepEqual(await first.counted, [{ count: MANY }]);
        assert.deepEqual(first.numbers, range(0, MANY));
        const thirds = range(0, MANY).filter((n) => n % 3 === 0);
        await eventually(async () => (await states(who, 'seen')).length === thirds.length, 'the acknowledgements');
        assert.deepEqual(await states(who, 'seen'), thirds);
        first.socket.disconnect();
        const second = device(t, who, options);
        await second.counted;
        assert.deepEqual(second.numbers, range(0, MANY).filter((n) => n % 3 !== 0));
      });

      test(`sends again over ${way} what was not acknowledged before a cut`, async (t) => {
        const who = unique('ann');
        await fill(who, MANY);
        const first = device(t, who, options, (n) => {
          if (n === 260) first.socket.io.engine.close();
          return n < 120;
        });
        await next(first.socket, 'disconnect', 20_000);
        const came = first.numbers.length;
        assert.deepEqual(first.numbers, range(0, came));
        assert.ok(came > 260);
        const second = device(t, who, options);
        await eventually(() => second.numbers.includes(MANY - 1), 'the last one', 20_000);
        // Acknowledgements may have been lost, or on their way still while this one caught up.
        const known = await states(who, 'seen');
        assert.deepEqual(known, range(0, known.length));
        assert.deepEqual(second.numbers, second.numbers.toSorted((a, b) => a - b), 'in order');
        assert.deepEqual(second.numbers.filter((n) => n >= known.length), range(known.length, MANY - known.length));
        assert.equal(new Set(second.numbers).size, second.numbers.length);
        await api('/api/v1/publish', publish(who, { n: MANY }).publish);
        await eventually(() => second.numbers.at(-1) === MANY, 'one that is live');
      });
    }

    test('serves a plain WebSocket, which acknowledges up to one', async (t) => {
      const who = unique('ann');
      await fill(who, MANY);
      const open = () => raw(t, `${server.url.replace('https', 'wss')}/ws?token=${user(who)}`, { ca, perMessageDeflate: compression });
      const first = await open().opened;
      assert.equal(first.extensions.includes('permessage-deflate'), compression);
      const { id } = await first.heard.take('notice', ({ data }) => data.n === 309);
      first.say({ type: 'notification:ack', upTo: id, state: 'read' });
      await eventually(async () => (await states(who, 'read')).length === 310, 'the acknowledgement');
      first.terminate();
      const second = await open().opened;
      // The first one's mark changes what is unread: a count may come before the last of them.
      await second.heard.take('notice', ({ data }) => data.n === MANY - 1);
      assert.deepEqual(second.heard.all('notice').map(({ data }) => data.n), range(310, MANY - 310));
    });

    test('gives binaries to those who take JSON alone as base64 text', async (t) => {
      const [ann, bob] = ['ann', 'bob'].map(unique);
      const from = device(t, bob, WAYS.wss);
      await connected(from.socket);
      const send = (data) => from.socket.timeout(5000).emitWithAck('send', { to: ann, ...data });
      assert.equal(await send({ parts: [Buffer.from('hello')] }), 'sent');
      const text = Buffer.from('hello').toString('base64');
      const [kept] = (await api(`/api/v1/inbox?app=desk&user=${ann}`)).messages;
      assert.deepEqual(kept.data, { to: ann, parts: [text] });
      const plain = await raw(t, `${server.url.replace('https', 'wss')}/ws?token=${user(ann)}`, { ca }).opened;
      assert.deepEqual((await plain.heard.take('notice')).data, { to: ann, parts: [text] });
      assert.equal(await send({ live: Buffer.from('hello') }), 'sent');
      assert.deepEqual((await plain.heard.take('notice')).data, { to: ann, live: text });
    });

    for (const [way, options] of Object.entries({ ...WAYS, 'polling in base64': { transports: ['polling'], forceBase64: true } })) {
      test(`keeps binaries for who is away, and brings them over ${way}`, async (t) => {
        const [ann, bob] = ['ann', 'bob'].map(unique);
        const bytes = Buffer.from(range(0, 70_000).map((n) => (n * n) % 251));
        const from = device(t, bob, options);
        await connected(from.socket);
        const say = (data) => from.socket.timeout(5000).emitWithAck('send', { to: ann, ...data });
        const two = { n: 1, whole: bytes, also: { part: bytes.subarray(5, 9) } };
        for (const data of [{ n: 0 }, two, { n: 2, empty: Buffer.alloc(0) }]) {
          assert.equal(await say(data), 'sent');
        }
        const socket = connect(server.url, { ca, auth: { token: user(ann) }, ...options });
        t.after(() => socket.disconnect());
        const heard = Inbox.of(socket);
        await heard.take('unread-count', ({ count }) => count === 3);
        const [plain, binary, empty] = heard.all('notice');
        assert.deepEqual(plain, { to: ann, n: 0 });
        assert.deepEqual([binary.n, Buffer.from(binary.whole), Buffer.from(binary.also.part)], [1, bytes, bytes.subarray(5, 9)]);
        assert.equal(empty.empty.length, 0);
        assert.equal(await say({ n: 3, whole: bytes }), 'sent');
        const live = await heard.take('notice', ({ n }) => n === 3);
        assert.deepEqual(Buffer.from(live.whole), bytes);
      });
    }
  });
}
