// Waiting for what happens: an inbox that loses nothing between two awaits, a bounded poll for what has no event, and
// examples started with one key of their configuration changed.
import { mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ROOT } from './harness.mjs';

/** Keeps what arrived, in order, until a test asks for it. */
export class Inbox {
  #pending = [];
  #waiting = [];
  /** Everything that ever arrived: `[name, ...args]`. */
  seen = [];

  /** Everything a socket.io-client hears from now on. */
  static of(socket) {
    const inbox = new Inbox();
    socket.onAny((name, ...args) => inbox.put(name, ...args));
    return inbox;
  }

  put(name, ...args) {
    this.seen.push([name, ...args]);
    const taker = this.#waiting.findIndex((waiting) => waiting.wants(name, args));
    if (taker < 0) this.#pending.push([name, args]);
    else this.#waiting.splice(taker, 1)[0].give(args);
  }

  /** The first argument of the next `name` that fits `match`, whether it came already or is still to come. */
  async take(name, match = () => true, ms = 5000) {
    const wants = (other, args) => other === name && match(...args);
    const here = this.#pending.findIndex(([other, args]) => wants(other, args));
    if (here >= 0) return this.#pending.splice(here, 1)[0][1][0];
    const args = await new Promise((resolve, reject) => {
      const waiting = { wants, give: (value) => { clearTimeout(timer); resolve(value); } };
      const timer = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
        reject(new Error(`no "${name}" within ${ms} ms; heard ${JSON.stringify(this.seen).slice(0, 2000)}`));
      }, ms);
      this.#waiting.push(waiting);
    });
    return args[0];
  }

  /** The first arguments of every `name` that ever arrived. */
  all(name) {
    return this.seen.filter(([other]) => other === name).map(([, first]) => first);
  }
}

/** Asks `look` again and again until it gives something truthy, and returns that; for states that no event announces. */
export async function eventually(look, what = 'the expected state', ms = 5000) {
  const end = Date.now() + ms;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`${what}: not within ${ms} ms`);
    await delay(20);
  }
}

/** Stops a process until it gets SIGCONT; returns when every thread of it stands still, which on a busy machine is not at once. */
export async function standstill(child) {
  const { pid } = child;
  child.kill('SIGSTOP');
  const tasks = `/proc/${pid}/task`;
  const still = (task) => / T /.test(readFileSync(`${tasks}/${task}/stat`, 'latin1').replace(/^.*\)/, ''));
  await eventually(() => readdirSync(tasks).every(still), `process ${pid} stands still`);
}

/**
 * A copy of an example's configuration with some text replaced, for `serve`: tests need not wait a real minute.
 * Each edit is [pattern, replacement] and must match, so that a renamed key fails the test instead of passing it.
 */
export function derived(config, edits) {
  let text = readFileSync(join(ROOT, config), 'utf8');
  for (const [pattern, replacement] of edits) {
    if (!pattern.test(text)) throw new Error(`${config}: nothing matches ${pattern}`);
    text = text.replace(pattern, replacement);
  }
  const path = join(mkdtempSync(join(tmpdir(), `oyez-${basename(dirname(config))}-`)), 'oyez.toml');
  writeFileSync(path, text);
  return relative(ROOT, path);
}
