// Steps that the Socket.IO examples' tests share: opening a stock client, proving order, and deriving a configuration.
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ROOT, connect, connected, fence, next, record } from './harness.mjs';

export const ISO = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/;

let serial = 1000;
/** A number no other test of this file uses: tests share a server, so each has its own users, sites and tenants. */
export const uniqueNumber = () => ++serial;
export const unique = (name) => `${name}-${uniqueNumber()}`;

/**
 * Opens a stock client, waits until it is connected (and greeted, where the app greets) and closes it after test `t`.
 * `socket.heard` holds every event from the first on, see `heard`.
 */
export async function open(t, url, options, greeting) {
  const socket = connect(url, options);
  socket.heard = record(socket);
  t.after(() => socket.disconnect());
  await Promise.all([connected(socket), greeting && next(socket, greeting)]);
  return socket;
}

/** The first arguments of every `event` that `socket` has heard so far. */
export const heard = (socket, event) => socket.heard.filter(([name]) => name === event).map(([, data]) => data);

/** What an event brings a page that knows nothing of acknowledgements: durable ones come with a callback. */
export const said = (args) => args.filter((arg) => typeof arg !== 'function');

/** For a fence: its marker goes through the store, and comes behind all that is durable and was published before. */
export const DURABLE = { delivery: 'durable' };

/**
 * Everything sent to the members of `channel` so far has arrived at `socket`, and `event` was `times` times among it.
 * `more` is said with the fence's marker, see `DURABLE`.
 */
export async function heardExactly(server, socket, channel, event, times, more) {
  await fence(server, socket, channel, more);
  assert.equal(heard(socket, event).length, times, `"${event}" heard ${JSON.stringify(heard(socket, event))}`);
}

/** Expects CONNECT_ERROR instead of a connection, and gives the error. A transport that fails does not count. */
export async function refused(t, url, options) {
  const socket = connect(url, options);
  t.after(() => socket.disconnect());
  let accepted = false;
  socket.on('connect', () => { accepted = true; });
  const [error] = await next(socket, 'connect_error');
  assert.equal(accepted, false, 'never connect-then-drop');
  assert.notEqual(error.type, 'TransportError', `the transport failed: ${error.message}`);
  return error;
}

/** Waits until the server has handled all that `socket` sent: it answers a CONNECT to an unknown namespace in order. */
export async function barrier(socket) {
  const probe = socket.io.socket(`/barrier-${uniqueNumber()}`);
  const [error] = await next(probe, 'connect_error');
  assert.equal(error.message, 'Invalid namespace');
}

/** Emits and waits for the `reply` event that the app answers with. */
export async function ask(socket, reply, ...emit) {
  const answer = next(socket, reply);
  socket.emit(...emit);
  return (await answer)[0];
}

/** Waits until the connection ends, and gives the reason as the client sees it. */
export const drop = (socket, ms) => next(socket, 'disconnect', ms).then(([reason]) => reason);

/** Retries `check` until it holds: only for state that nothing announces (counts, presence over HTTP). */
export async function until(check, ms = 3000) {
  const deadline = Date.now() + ms;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await delay(20);
    }
  }
}

/** A copy of `config` with `edit(text)` applied, as a path that `serve` takes; removed after test `t`. */
export async function derive(t, config, edit) {
  const text = await readFile(join(ROOT, config), 'utf8');
  const edited = edit(text);
  assert.notEqual(edited, text, `nothing to edit in ${config}`);
  const folder = await mkdtemp(join(tmpdir(), 'oyez-'));
  t.after(() => rm(folder, { recursive: true }));
  const file = join(folder, 'oyez.toml');
  await writeFile(file, edited);
  return relative(ROOT, file);
}
