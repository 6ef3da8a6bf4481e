// Clients who do nothing wrong, in a process of their own, so that their clock is not the crowd's: they ask for echoes.
import { fork } from 'node:child_process';
import { user } from './desk.mjs';
import { connect, connected } from '../../e2e/harness.mjs';

const CLIENTS = 5;
const EVERY_MS = 20;

/** Starts them: `measured()` gives how long each echo took since the last time, and how often one was cut off. */
export async function honest(url) {
  const child = fork(new URL(import.meta.url), [url]);
  const told = () => new Promise((resolve) => { child.once('message', resolve); });
  await told();
  return {
    measured: () => { const answer = told(); child.send('tell'); return answer; },
    end: () => child.kill(),
  };
}

async function ask(url) {
  const made = (index) => connected(connect(url, { transports: ['websocket'], auth: { token: user(index) } }));
  const sockets = await Promise.all(Array.from({ length: CLIENTS }, (_, index) => made(index)));
  const took = [];
  let losses = 0;
  for (const socket of sockets) {
    socket.on('disconnect', () => { losses += 1; });
    setInterval(() => { const asked = performance.now(); socket.emit('echo', 1, () => took.push(performance.now() - asked)); }, EVERY_MS);
  }
  process.on('message', () => process.send({ took: took.splice(0), losses }));
  process.send('ready');
}

if (process.send && process.argv[1] === new URL(import.meta.url).pathname) await ask(process.argv[2]);
