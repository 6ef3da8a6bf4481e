// What one attacker costs: who floods frames that say nothing, or begins sessions and asks for nothing, and comes again as
// soon as the door is shut, may take 5 % of a core. Prints a line per attack, with what an honest client beside it had to wait, and the memory that bombs take.
import { readFileSync, readdirSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { constants, deflateRawSync } from 'node:zlib';
import { frame, times } from '../corpus/build.mjs';
import { connect, connected, next, serve, token } from '../e2e/harness.mjs';
import { derived } from '../e2e/waiting.mjs';
import { Wire } from '../e2e/wire.mjs';

const SECONDS = Number(process.env.SECONDS ?? 5);
const PER_SECOND = 10_000;
/** In percent of a core. */
const MOST_CPU = 5;
/** Bytes of memory for each connection that inflates. */
const MOST_MEMORY = 2 * 1024 * 1024;
const SLOWEST_MS = 200;
/** Seconds after which a client that asks for nothing is noticed. */
const NOTICED = 6;

const ENGINE = '/socket.io/?EIO=4&transport=websocket';
const shown = token({ sub: 'attacker' });
const failures = [];

// The limits that an app has unless it says otherwise.
const config = derived('tests/corpus/app.toml', [[/^offences.*\n/m, ''], [/^events_.*\n/gm, ''], [/^max_payload.*\n/m, '']]);
const server = await serve(config);
const honest = await connected(connect(server.url, { transports: ['websocket'], auth: { token: token({ sub: 'honest' }) } }));

/** Nanoseconds that all threads of the server have run. */
function cpu() {
  const home = `/proc/${server.child.pid}/task`;
  return readdirSync(home).reduce((sum, task) => sum + Number(readFileSync(`${home}/${task}/schedstat`, 'latin1').split(' ')[0]), 0);
}

const memory = () => Number(readFileSync(`/proc/${server.child.pid}/status`, 'latin1').match(/VmRSS:\s+(\d+) kB/)[1]) * 1024;

/** How long an honest client waits for answers meanwhile: the slowest, in milliseconds. */
function listener() {
  let on = true;
  let slowest = 0;
  const run = (async () => {
    for (let n = 0; on; n += 1) {
      const begun = performance.now();
      const answer = next(honest, 'alive');
      honest.emit('probe', { n });
      await answer;
      slowest = Math.max(slowest, performance.now() - begun);
      await delay(100);
    }
  })();
  return async () => { on = false; await run; return slowest; };
}

const websocket = (from) => new Wire(server.port, ENGINE, [], from);
const engine3 = (from) => new Wire(server.port, `/socket.io/?EIO=3&transport=websocket&token=${shown}`, [], from);
const plain = (from) => new Wire(server.port, `/ws?token=${shown}`, [], from);

/** What is said 10,000 times a second, and by whom. */
const ATTACKS = {
  'websocket pings': [websocket, frame(0x89, 'a')],
  'websocket pongs': [websocket, frame(0x8a)],
  'Engine.IO pongs': [websocket, frame(0x81, '3')],
  'Engine.IO 3 pings': [engine3, frame(0x81, '2')],
  'Engine.IO noops': [websocket, frame(0x81, '6')],
  'empty frames': [websocket, frame(0x81)],
  'empty frames on a plain websocket': [plain, frame(0x81)],
  'nonsense on a plain websocket': [plain, frame(0x81, 'nonsense')],
  'fragments of one byte': [websocket, frame(0x00, 'a'), frame(0x01, 'a')],
  'empty fragments': [websocket, frame(0x00), frame(0x01)],
  'single bytes of a frame': [websocket, Buffer.from('a'), frame(0x81, times(60_000, 'a')).subarray(0, 8)],
};

/** Attacks for some seconds; gives how often the door was shut, and how. */
async function attack(open, bytes, first, from) {
  const shut = {};
  const end = performance.now() + SECONDS * 1000;
  let sent = 0;
  let wire;
  for (const begun = performance.now(); performance.now() < end; await delay(1)) {
    if (!wire) {
      wire = open(from);
      const own = wire;
      own.closed.then(({ reason }) => { shut[reason] = (shut[reason] ?? 0) + 1; if (wire === own) wire = undefined; });
      if (first) own.write(first);
    }
    const due = ((performance.now() - begun) / 1000) * PER_SECOND;
    for (; sent < due; sent += 1) wire?.write(bytes);
  }
  wire?.destroy();
  return { shut, sent };
}

function verdict(name, value, most, unit) {
  console.log(`${name}: ${value.toFixed(2)} ${unit}`);
  if (value > most) failures.push(`${name}: ${value.toFixed(2)} ${unit}, at most ${most}`);
}

async function measured(run) {
  const [before, begun, waited] = [cpu(), performance.now(), listener()];
  const result = await run();
  const slowest = await waited();
  const percent = (cpu() - before) / ((performance.now() - begun) * 1e6) * 100;
  return { result, slowest, percent };
}

async function floods() {
  const idle = await measured(() => delay(SECONDS * 1000));
  console.log(`the honest client alone: ${idle.percent.toFixed(2)} % of a core`);
  for (const [index, [name, [open, bytes, first]]] of Object.entries(ATTACKS).entries()) {
    // Against a fresh address nothing is held yet.
    const { result, slowest, percent } = await measured(() => attack(open, bytes, first, `127.0.2.${index + 1}`));
    const closed = Object.entries(result.shut).map(([reason, count]) => `${reason} ${count} times`).join(', ') || 'never';
    verdict(`${name}, ${Math.round(result.sent / SECONDS)} a second (closed: ${closed})`, Math.max(0, percent - idle.percent), MOST_CPU, '% of a core');
    verdict(`${name}, the honest client waits at most`, slowest, SLOWEST_MS, 'ms');
  }
}

/** Comes again and again and never asks for anything: leaves at once, or stays, in so many connections. */
const SILENT = {
  'a handshake that leads to nothing, again and again': { many: 1, leaves: true, from: '127.0.1.1' },
  'polling that leads to nothing, again and again': { many: 1, polls: true, from: '127.0.1.2' },
  'a hundred handshakes at once that lead to nothing, again and again': { many: 100, leaves: true, from: '127.0.1.3' },
  'a hundred connections that ask for nothing, again and again': { many: 100, from: '127.0.1.4' },
};

async function silence({ many, leaves, polls, from, seconds = SECONDS }) {
  const count = { sessions: 0, refused: 0 };
  const end = performance.now() + seconds * 1000;
  const agent = new Agent({ keepAlive: true, localAddress: from });
  const polled = () => new Promise((resolve, reject) => {
    get(`${server.url}/socket.io/?EIO=4&transport=polling`, { agent }, (answer) => answer.resume().on('end', () => resolve(answer.statusCode === 200))).on('error', reject);
  });
  const opened = async () => {
    const wire = websocket(from);
    const over = Promise.race([wire.closed, delay(end - performance.now())]);
    const first = await Promise.race([wire.hears((text) => text.startsWith?.('0{')), over]);
    if (!leaves) await over;
    wire.destroy();
    return typeof first === 'string';
  };
  const knocks = async () => {
    while (performance.now() < end) count[await (polls ? polled() : opened()) ? 'sessions' : 'refused'] += 1;
  };
  await Promise.all(Array.from({ length: many }, knocks));
  agent.destroy();
  return count;
}

async function silences() {
  for (const [name, how] of Object.entries(SILENT)) {
    // Against a fresh address nothing is held yet.
    // What is held against it counts after some seconds.
    const before = await measured(() => silence({ ...how, seconds: NOTICED }));
    console.log(`${name}, before it is noticed (${before.result.sessions} sessions, ${before.result.refused} refused): ${before.percent.toFixed(2)} % of a core`);
    const { result, slowest, percent } = await measured(() => silence(how));
    verdict(`${name} (${result.sessions} sessions, ${result.refused} refused)`, percent, MOST_CPU, '% of a core');
    verdict(`${name}, the honest client waits at most`, slowest, SLOWEST_MS, 'ms');
  }
}

/** A million fragments as fast as they are taken, and a connection that goes on after it was closed. */
async function millions() {
  const crumbs = Buffer.concat([frame(0x01, 'a'), ...Array(1_000_000).fill(frame(0x00, 'a'))]);
  const { result, slowest, percent } = await measured(async () => {
    const wire = websocket();
    wire.write(crumbs);
    const end = await wire.closed;
    await delay(1000);
    return end;
  });
  verdict(`a million fragments at once (closed: ${result.reason})`, percent, MOST_CPU, '% of a core in the second after');
  verdict('a million fragments, the honest client waits at most', slowest, SLOWEST_MS, 'ms');
}

/** Bombs of the limit in many connections at once. */
async function bombs() {
  const count = 50;
  const text = `42["x","${times(999_991, 'a')}"]`;
  const squeezed = deflateRawSync(text, { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, -4);
  const wires = Array.from({ length: count }, () => new Wire(server.port, ENGINE, ['Sec-WebSocket-Extensions: permessage-deflate']));
  for (const wire of wires) {
    wire.say(`40${JSON.stringify({ token: shown })}`);
    await wire.hears((heard) => heard.startsWith?.('40{'));
  }
  const before = memory();
  let peak = before;
  const watch = setInterval(() => { peak = Math.max(peak, memory()); }, 5);
  await Promise.all(wires.map(async (wire) => {
    wire.write(Buffer.concat(Array(20).fill(frame(0xc1, squeezed))));
    wire.say('42["probe",{"n":1}]');
    await wire.hears((heard) => heard === '42["alive",1]', 60_000);
  }));
  clearInterval(watch);
  wires.forEach((wire) => wire.destroy());
  verdict(`${count} connections, 20 bombs each: memory for one`, (peak - before) / count / 1024 / 1024, MOST_MEMORY / 1024 / 1024, 'MiB');
}

await floods();
await silences();
await millions();
await bombs();
honest.disconnect();
await server.stop();
const panics = server.logs.filter((line) => /panicked|PANIC/.test(line)).length;
console.log(`panics: ${panics}`);
if (panics > 0) failures.push(`${panics} panics`);
failures.forEach((failure) => console.error(`BROKEN ${failure}`));
process.exit(failures.length === 0 ? 0 : 1);
