// A client that is cut off and comes back gets exactly what it missed, in order, or hears of a gap: with the stock client,
// whose connection is cut under it, and with the bare protocol where the stock client cannot be brought to it.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { WebSocket } from 'ws';
import { connect, connected, next, token } from './harness.mjs';
import { serving } from './stage.mjs';
import { Inbox } from './waiting.mjs';

const CONFIG = (recovery) => `
[key.backend]
secret = { env = "OYEZ_API_KEY" }
rights = ["publish", "read", "disconnect"]
[app.feed]
origins = ["*"]
[app.feed.auth.jwt]
algorithms = ["HS256"]
secret = { env = "JWT_SECRET" }
[app.feed.identity]
user = "claims.sub"
attributes = { rooms = "claims.rooms" }
[[app.feed.channel]]
name = "news"
subscribe = true
${recovery && 'history = 100'}
[[app.feed.channel]]
name = "few"
subscribe = true
${recovery && 'history = 2'}
[[app.feed.channel]]
name = "ticks"
subscribe = true
[[app.feed.channel]]
name = "room:{id}"
subscribe = "id in user.rooms"
${recovery && 'history = 100'}
[app.feed.connect]
join = ["news", "few", "ticks", "user:{user.id}"]
reply = { event = "welcome", data = "{'user': user.id}" }
[[app.feed.channel]]
name = "user:{id}"
subscribe = "id == user.id"
${recovery && 'history = 100'}
[[app.feed.on]]
event = "join"
join = "{data}"
ack = "{'joined': joined}"
[[app.feed.on]]
event = "say"
publish = { to = "news", event = "said", data = "data", skip_self = true }
ack = "'ok'"
${recovery}
`;

const RECOVERY = '[app.feed.recovery]\nwindow = "30s"\n';
const user = (sub, rooms = []) => token({ sub, rooms });

/** A stock client that comes back by itself, with what it hears. */
async function client(stage, sub, options = {}) {
  const socket = connect(stage.server.url, { reconnection: true, reconnectionDelay: 10, reconnectionDelayMax: 20, auth: { token: user(sub, options.rooms) }, transports: options.transports ?? ['websocket'] });
  const heard = Inbox.of(socket);
  stage.sockets.push(socket);
  await connected(socket);
  await heard.take('welcome');
  return { socket, heard };
}

/** Cuts the connection under a stock client, and holds it back until `meanwhile` is done. */
async function away({ socket }, meanwhile) {
  const { io } = socket;
  io.reconnection(false);
  const gone = next(socket, 'disconnect');
  io.engine.close();
  await gone;
  await meanwhile();
  io.reconnection(true);
  const back = next(socket, 'connect');
  socket.connect();
  await back;
}

/** The bare protocol on a WebSocket. */
async function bare(stage, auth) {
  const ws = new WebSocket(`${stage.server.ws}/socket.io/?EIO=4&transport=websocket`);
  stage.bare.push(ws);
  const heard = new Inbox();
  ws.on('message', (data) => { const text = String(data); if (text === '2') ws.send('3'); heard.put('packet', text); });
  ws.on('close', (code) => heard.put('close', code));
  await heard.take('packet', (text) => text.startsWith('0'));
  ws.send(`40${JSON.stringify(auth)}`);
  const hears = async (prefix) => (await heard.take('packet', (text) => text.startsWith(prefix))).slice(prefix.length);
  return { ws, heard, hears };
}

const numbers = ({ heard }, event = 'item') => heard.all(event).map(({ n }) => n);
const say = async (stage, to, from, count) => {
  for (let n = from; n < from + count; n += 1) await stage.server.publish(to, 'item', { n });
};
const range = (from, count) => Array.from({ length: count }, (_, index) => from + index);

describe('recovery', () => {
  const stage = { sockets: [], bare: [], ends: [] };
  before(async () => { stage.server = await serving({ after: (end) => stage.ends.push(end) }, CONFIG(RECOVERY)); });
  after(async () => {
    stage.sockets.forEach((socket) => socket.disconnect());
    stage.bare.forEach((ws) => ws.terminate());
    for (const end of stage.ends.reverse()) await end();
  });

  for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
    test(`gives a stock client what it missed, in order, as often as it is cut off: ${transports}`, async () => {
      const ann = await client(stage, `ann-${transports}`, { transports });
      const { id } = ann.socket;
      let at = 0;
      for (let round = 0; round < 3; round += 1) {
        await say(stage, 'news', at, 2);
        await away(ann, () => say(stage, 'news', at + 2, 5));
        assert.equal(ann.socket.recovered, true);
        assert.equal(ann.socket.id, id);
        await say(stage, 'news', at + 7, 2);
        at += 9;
      }
      await ann.heard.take('item', ({ n }) => n === at - 1);
      assert.deepEqual(numbers(ann), range(0, at));
      assert.equal(ann.heard.all('welcome').length, 1);
    });
  }
});
