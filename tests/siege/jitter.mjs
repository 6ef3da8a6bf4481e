// A jittery network: stock clients whose TCP connections break every 15 s and which are offline for 2 s each time, while
// their channel and each of them (its user, or its session by id) is told something all the time. Does everything arrive,
// once and in order? The same without recovery, shorter, shows what is lost otherwise.
//
// A third of the cuts only the client hears of, and a third only the server. Of ten clients one polls and one upgrades.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { PLAIN, desk } from './lib/desk.mjs';
import { memory, quantile, report } from './lib/watch.mjs';
import { eventually } from '../e2e/waiting.mjs';

const CLIENTS = Number(process.env.JITTER_CLIENTS ?? 2000);
const SECONDS = Number(process.env.JITTER_SECONDS ?? 300);
const PROCESSES = 4;
const EVERY_MS = 15_000;
const OFFLINE_MS = 2000;
const TICK_MS = 500;
/** Each client hears something of its own once in so many ticks. */
const OWN_EVERY = 20;
const ROOM = 'room:all';

const answering = PLAIN.replace('join = "room:{data}"', '$&\nack = "joined"');
const remembering = answering
  .replaceAll(/name = "(room|user):\{id\}"/g, '$&\nhistory = 10_000')
  .concat('[app.desk.recovery]\n');

/** Asks all processes something, and gives what each answers. */
async function ask(crowd, order, more = {}) {
  return Promise.all(crowd.map(async (child) => {
    const answer = once(child, 'message');
    child.send({ order, ...more });
    return (await answer)[0];
  }));
}
const total = (answers, key) => answers.reduce((sum, answer) => sum + answer[key], 0);

async function gathered(server) {
  const count = CLIENTS / PROCESSES;
  const crowd = Array.from({ length: PROCESSES }, (_, index) => fork(new URL('lib/jittery.mjs', import.meta.url), [JSON.stringify({ port: server.port, first: index * count, count, every: EVERY_MS, offline: OFFLINE_MS })]));
  await Promise.all(crowd.map((child) => once(child, 'message')));
  await everybody(crowd, 'there');
  return crowd;
}

const everybody = (crowd, how) => eventually(async () => total(await ask(crowd, 'look'), how) === CLIENTS, `all are ${how}`, 120_000);

/**
 * Says something to all and to some, again and again, for so many seconds; how much it was. Every other time it calls them
 * by their `names`.
 */
async function speak(server, seconds, names) {
  const said = { room: 0, own: Array(CLIENTS).fill(0) };
  const publish = (to, event, n) => ({ publish: { to, event, data: { n, text: 'x'.repeat(100) } } });
  const begun = performance.now();
  for (let tick = 0; tick * TICK_MS < seconds * 1000; tick += 1) {
    const commands = [publish(ROOM, 'room', said.room)];
    said.room += 1;
    for (let index = tick % OWN_EVERY; index < CLIENTS; index += OWN_EVERY) {
      const n = said.own[index];
      commands.push(publish(n % 2 && names[index] || `user:user-${index}`, 'own', n));
      said.own[index] += 1;
    }
    const { json } = await server.api('/api/v1/batch', { body: { commands } });
    if (!json.results.every(({ id }) => id)) throw new Error(JSON.stringify(json).slice(0, 500));
    await delay(begun + (tick + 1) * TICK_MS - performance.now());
  }
  return said;
}

/** Lets the network jitter for so long, and gives what came of it. */
async function suffered(config, seconds) {
  const server = await desk(config);
  const crowd = await gathered(server);
  // Without recovery nobody keeps the name that it has.
  const names = config === remembering ? (await ask(crowd, 'names')).flat() : [];
  crowd.forEach((child) => child.send({ order: 'cut' }));
  const said = await speak(server, seconds, names);
  await ask(crowd, 'calm');
  await everybody(crowd, 'there');
  const resident = memory(server.child.pid);
  await server.publish(ROOM, 'end', {});
  await everybody(crowd, 'ended');
  const told = await ask(crowd, 'tell', said);
  crowd.forEach((child) => child.kill());
  await server.stop();
  const sums = Object.fromEntries(Object.keys(told[0]).map((key) => [key, key === 'away' ? told.flatMap(({ away }) => away) : total(told, key)]));
  return { ...sums, resident };
}

const { say, promise, end } = report();
const without = await suffered(answering, Math.min(60, SECONDS));
const with_ = await suffered(remembering, SECONDS);
const percent = ({ arrived, said }) => 100 * arrived / said;

say('clients', CLIENTS);
say('seconds', SECONDS);
say('connections cut', with_.cuts);
say('of returns, recovered', with_.recovered / with_.returns * 100, '%');
say('offline p50', quantile(with_.away, 0.5) / 1000, 's');
say('offline p99', quantile(with_.away, 0.99) / 1000, 's');
say('offline max', Math.max(...with_.away) / 1000, 's');
say('messages for clients', with_.said);
say('arrived', percent(with_), '%');
say('lost', with_.lost);
say('doubled', with_.doubled);
say('out of order', with_.disordered);
say('gaps told', with_.gaps);
say('memory of the server at the end', with_.resident / 2 ** 20, 'MiB');
say('arrived without recovery', percent(without), '%');
say('lost without recovery', without.lost);
say('ratio of what is lost, with and without', (with_.lost / with_.said) / (without.lost / without.said));
promise(with_.cuts >= 0.99 * CLIENTS * SECONDS * 1000 / EVERY_MS, 'everybody is cut off every 15 s');
promise(quantile(with_.away, 0) >= OFFLINE_MS, 'nobody is back sooner than after 2 s');
promise(with_.lost === 0, 'nothing is lost');
promise(with_.doubled === 0, 'nothing comes twice');
promise(with_.disordered === 0, 'nothing is out of order');
promise(without.lost > 0, 'without recovery something is lost, or the network did not jitter');
end();
