// Every attack of the table at every door, and a flood of unknown key ids that lasts longer than the pause between two
// requests for keys. SECONDS sets how long the flood lasts.
import { setTimeout as delay } from 'node:timers/promises';
import { connect, connected } from '../e2e/harness.mjs';
import { jwt, newKey } from '../e2e/stage.mjs';
import { attacks, connectWith, honest, queryWith, refreshWith, world } from '../e2e/token-attacks.mjs';

/** The least time between two requests for keys, in milliseconds. */
const PAUSE_MS = 30_000;
const SECONDS = Number(process.env.SECONDS ?? 65);
const broken = [];
const undo = [];
const promise = (kept, what) => { if (!kept) broken.push(what); };

/** Tries the whole table at every door, and says how often, and what came in. */
async function tryAll(w) {
  const table = await attacks(w);
  const tokens = await honest(w, 'u1');
  const open = {};
  for (const [name, token] of Object.entries(tokens)) {
    open[name] = await connected(connect(`${w.server.url}/${name}`, { auth: { token } }));
    undo.push(() => open[name].disconnect());
  }
  const doors = [
    (target, token) => connectWith(w.server, target, token),
    (target, token) => queryWith(w.server, target, token),
    (target, token) => refreshWith(open[target], token),
  ];
  let tried = 0;
  const accepted = [];
  for (const [name, target, token] of table) {
    for (const door of doors) {
      const outcome = await door(target, token);
      if (outcome === undefined) continue;
      tried += 1;
      if (outcome === 'accepted') accepted.push(`${name}, at ${target}`);
    }
  }
  for (const [name, socket] of Object.entries(open)) promise(socket.connected, `the honest session of ${name} was closed`);
  return { rows: table.length, tried, accepted };
}

/** Shows forged tokens, each with a key id of its own: how many, how often keys were asked for meanwhile, and the shortest pause from the first request on. */
async function flood(w) {
  await connectWith(w.server, 'remote', (await honest(w, 'u1')).remote);
  const before = w.publisher.calls.length;
  const forged = newKey('ES256');
  const end = Date.now() + SECONDS * 1000;
  let shown = 0;
  while (Date.now() < end) {
    const outcome = await connectWith(w.server, 'remote', jwt({ ...forged, kid: `flood-${shown}` }, { sub: 'root' }));
    promise(outcome === 'refused', `a forged token was ${outcome}`);
    shown += 1;
    await delay(10);
  }
  const asked = w.publisher.calls.map(({ at }) => at);
  const pauses = asked.slice(1).map((at, index) => at - asked[index]);
  return { shown, requests: asked.length - before, shortest: Math.min(...pauses, Infinity) };
}

try {
  const w = await world({ after: (one) => undo.unshift(one) });
  const { rows, tried, accepted } = await tryAll(w);
  console.log(`token attacks in the table: ${rows}`);
  console.log(`token attacks tried: ${tried}`);
  console.log(`accepted: ${accepted.length}`);
  promise(accepted.length === 0, `accepted: ${accepted.join('; ')}`);
  promise(w.evil.calls.length === 0, 'the server asked whom a token named');
  const { shown, requests, shortest } = await flood(w);
  console.log(`unknown key ids shown in ${SECONDS} s: ${shown}`);
  console.log(`requests for keys that they caused: ${requests}`);
  console.log(`shortest pause between two of them: ${Number.isFinite(shortest) ? `${(shortest / 1000).toFixed(1)} s` : 'there was one'}`);
  promise(shortest >= PAUSE_MS, `keys were asked for after ${shortest} ms`);
  promise(!w.server.logs.some((line) => line.includes('panicked')), 'the server panicked');
} finally {
  for (const one of undo) await one();
}
for (const what of broken) console.error(`broken: ${what}`);
process.exit(broken.length ? 1 : 0);
