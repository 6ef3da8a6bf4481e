// Thousands of clients are cut off at once, and a hundred messages are said before they come back: does each get exactly
// those, in order? And what does a message cost the server that is missed and made up for, beside one that is heard live?
import { readFileSync, readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { Client, gather } from './lib/crowd.mjs';
import { REMEMBERING, desk, user } from './lib/desk.mjs';
import { report } from './lib/watch.mjs';
import { eventually } from '../e2e/waiting.mjs';

const CLIENTS = Number(process.env.RECOVERY_CLIENTS ?? 5000);
const MISSED = 100;
const DEARER = 3;
const ROOM = 'room:all';

const { say, promise, end } = report();
const server = await desk(REMEMBERING);

/** Nanoseconds that all threads of the server have run. */
function cpu() {
  const home = `/proc/${server.child.pid}/task`;
  return readdirSync(home).reduce((sum, task) => sum + Number(readFileSync(`${home}/${task}/schedstat`, 'latin1').split(' ')[0]), 0);
}

let joined = 0;
let recovered = 0;
let wrong = 0;
let heard = 0;
const seen = {
  back: (client, again) => { joined += 1; recovered += Number(again); if (!again) client.emit('join', 'all'); },
  cut: () => { joined -= 1; },
  refused: (_, packet) => { throw new Error(packet); },
  event: (client, name, data) => {
    if (name !== 'item') return;
    // Each is the next one after the last: none lost, none twice, none before another.
    if (data.n !== (client.last ?? -1) + 1) wrong += 1;
    client.last = data.n;
    heard += 1;
  },
};
let said = 0;
async function speak(count) {
  for (const last = said + count; said < last; said += 1) await server.publish(ROOM, 'item', { n: said, text: 'x'.repeat(180) });
}

const clients = await gather(CLIENTS, (index) => new Client({ port: server.port, token: user(index), seen }));
await eventually(async () => (await server.api(`/api/v1/channels/${ROOM}`)).json.count === CLIENTS, 'all in the room', 120_000);
await delay(1500);

const calm = cpu();
await speak(MISSED);
await eventually(() => heard === CLIENTS * MISSED, 'what was said', 120_000);
const live = (cpu() - calm) / (CLIENTS * MISSED);

Client.away = true;
clients.forEach((client) => client.cut());
await eventually(() => joined === 0, 'the cut');
await eventually(async () => (await server.api('/api/v1/online')).json.connections === 0, 'the server to notice');
await speak(MISSED);
const before = cpu();
Client.away = false;
const begun = performance.now();
await eventually(() => joined === CLIENTS && heard === 2 * CLIENTS * MISSED, 'all again, with all that they missed', 120_000);
const seconds = (performance.now() - begun) / 1000;
const missed = (cpu() - before) / (CLIENTS * MISSED);
await speak(1);
await eventually(() => heard === CLIENTS * (2 * MISSED + 1), 'what goes on', 60_000);

say('clients', CLIENTS);
say('recovered', recovered);
say('messages missed by each', MISSED);
say('all made up for after', seconds, 's');
say('lost, doubled or out of order', wrong);
say('CPU per live delivery', live / 1000, 'µs');
say('CPU per message made up for, reconnecting included', missed / 1000, 'µs');
say('ratio', missed / live);
promise(recovered === CLIENTS, 'all are recovered');
promise(wrong === 0, 'nothing lost, doubled or out of order');
promise(missed <= DEARER * live, `a message made up for costs at most ${DEARER} × a live one`);
clients.forEach((client) => client.leave());
await server.stop();
end();
