// `kill -9` while durable messages are published, again and again on one data directory: after each start everything that
// was acknowledged is in its inbox, once. Then the machine itself stops in the middle of a write (a torn end of the log),
// and the disk changes a byte of it: nothing damaged is served, what can be saved is.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inboxes, place, publish } from './lib/keeping.mjs';
import { report } from './lib/watch.mjs';
import { run } from '../e2e/stage.mjs';

const ROUNDS = Number(process.env.KILL_ROUNDS ?? 20);
const PUBLISHES = 20_000;
const FEW = 3000;
const PUBLISHERS = 64;
const USERS = 250;
/** A group of writes is shorter than this. */
const GROUP = 1 << 20;

const { say, promise, end } = report();
const { dir, start } = place();
/** Of each round the ids that were acknowledged, and how many were said. */
const rounds = [];
let server = await start();

const user = (round, number) => `user-${round}-${number % USERS}`;
const name = (round, number) => `message-${round}-${number}.`;
const payload = (id) => id.repeat(Math.ceil(180 / id.length));

/** Publishes so many, half of them synced, and kills the server when it has acknowledged `until`. */
async function killed(publishes, until) {
  const round = rounds.length;
  const acknowledged = new Set();
  rounds.push({ acknowledged, begun: 0 });
  let next = 0;
  const body = () => {
    if (next === publishes) return undefined;
    const number = next;
    next += 1;
    const id = name(round, number);
    return { to: `user:${user(round, number)}`, event: 'item', id, data: { id, text: payload(id) }, delivery: 'durable', level: number % 2 ? 'stored' : 'synced' };
  };
  const answered = ({ id, level }, status, text) => {
    // Who shares a group with one that is to be synced is synced, too.
    if (status !== 200 || ![level, 'synced'].includes(JSON.parse(text).level)) throw new Error(`${id}: ${status} ${text}`);
    acknowledged.add(id);
    if (acknowledged.size === until) server.child.kill('SIGKILL');
  };
  await publish(server.port, PUBLISHERS, body, answered);
  if (acknowledged.size < until) throw new Error(`only ${acknowledged.size} of ${until} were acknowledged`);
  await server.exited;
  rounds[round].begun = next;
}

/** What is wrong with the inboxes of a round: acknowledged but not there, there twice, or not what was said. */
async function wrong(round) {
  const { acknowledged, begun } = rounds[round];
  const of = await inboxes(server.port, Array.from({ length: USERS }, (_, number) => user(round, number)));
  const found = new Set();
  const [doubled, damaged] = [[], []];
  of.forEach((items, index) => items.forEach(({ id, text }) => {
    const number = Number(id?.match(/^message-(\d+)-(\d+)\.$/)?.[2]);
    const good = number < begun && id === name(round, number) && text === payload(id) && number % USERS === index;
    if (!good) damaged.push(id);
    if (found.has(id)) doubled.push(id);
    found.add(id);
  }));
  return { lost: [...acknowledged].filter((id) => !found.has(id)), doubled, damaged, more: found.size - acknowledged.size };
}

/** The same of all rounds. */
async function allWrong() {
  const all = { lost: [], doubled: [], damaged: [] };
  for (let round = 0; round < rounds.length; round += 1) {
    const found = await wrong(round);
    Object.keys(all).forEach((key) => all[key].push(...found[key]));
  }
  return all;
}

const none = ({ lost, doubled, damaged }) => lost.length + doubled.length + damaged.length === 0;

/** The newest log of the engine, and what is written in it. */
function log() {
  const logs = readdirSync(join(dir, 'engine')).filter((file) => file.endsWith('.jnl')).sort((a, b) => parseInt(a, 10) - parseInt(b, 10));
  const path = join(dir, 'engine', logs.at(-1));
  const bytes = readFileSync(path);
  let length = bytes.length;
  while (length > 0 && bytes[length - 1] === 0) length -= 1;
  return { path, bytes: bytes.subarray(0, length) };
}

async function kills() {
  const totals = { acknowledged: 0, lost: 0, doubled: 0, damaged: 0, more: 0 };
  const starts = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    await killed(PUBLISHES, 500 + Math.floor(Math.random() * (PUBLISHES - 1000)));
    const began = performance.now();
    server = await start();
    starts.push(performance.now() - began);
    const found = await wrong(round);
    totals.acknowledged += rounds[round].acknowledged.size;
    totals.more += found.more;
    ['lost', 'doubled', 'damaged'].forEach((key) => { totals[key] += found[key].length; });
  }
  const all = await allWrong();
  say('kills', ROUNDS);
  say('acknowledged', totals.acknowledged);
  say('of them lost', totals.lost + all.lost.length);
  say('served twice', totals.doubled + all.doubled.length);
  say('served damaged', totals.damaged + all.damaged.length);
  say('stored, and killed before the answer', totals.more);
  say('longest start', Math.max(...starts), 'ms');
  promise(totals.lost + totals.doubled + totals.damaged === 0 && none(all), 'after each kill everything acknowledged is there, once');
}

/** The end of the log is torn off: it starts, and only what was torn is missing. */
async function torn() {
  await killed(FEW, FEW - PUBLISHERS);
  const { path, bytes } = log();
  writeFileSync(path, bytes.subarray(0, bytes.length - 40));
  server = await start();
  const told = server.logs.find((line) => line.includes('store_torn'));
  const at = Number(told?.match(/\bat[":=]+\s*(\d+)/)?.[1]);
  const end = bytes.toString('latin1', at);
  const { lost, doubled, damaged } = await allWrong();
  say('torn end', bytes.length - at, 'bytes');
  say('acknowledged in it', lost.length);
  promise(told !== undefined && lost.every((id) => end.includes(id)), 'a torn end starts by itself, and only what was torn is gone');
  promise(doubled.length + damaged.length === 0, 'nothing is served twice or damaged after it');
  lost.forEach((id) => rounds.forEach(({ acknowledged }) => acknowledged.delete(id)));
}

/** A byte in the middle is another: it does not start, and says what repairs it; the rest is saved. */
async function flipped() {
  await killed(FEW, FEW - PUBLISHERS);
  const { path, bytes } = log();
  const at = bytes.indexOf(name(rounds.length - 1, FEW / 2));
  bytes[at] ^= 0x10;
  writeFileSync(path, bytes);
  const refusal = await start().then(() => '', (error) => error.message);
  promise(refusal.includes(`oyez store repair --data-dir ${dir}`), `a changed byte is refused, with the command that repairs it, not with: ${refusal || 'a start'}`);
  const repair = await run(['store', 'repair', '--data-dir', dir]);
  promise(repair.code === 0, `it is repaired: ${repair.stderr}`);
  server = await start();
  const near = bytes.toString('latin1', Math.max(0, at - GROUP), at + GROUP);
  const { lost, doubled, damaged } = await allWrong();
  say('messages lost with a changed byte', lost.length);
  promise(at > 0 && lost.every((id) => near.includes(id)), 'only the group with the changed byte is gone');
  promise(doubled.length + damaged.length === 0, 'nothing is served twice or damaged after the repair');
}

await kills();
await torn();
await flipped();
await server.stop();
const verified = await run(['store', 'verify', '--data-dir', dir]);
promise(verified.code === 0, `the store is good in the end: ${verified.stdout}${verified.stderr}`);
end();
