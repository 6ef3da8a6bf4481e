// Starts a real `oyez` on a random loopback port and gives tests small, event-driven tools around stock clients.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import jwt from 'jsonwebtoken';
import { io } from 'socket.io-client';

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
export const API_KEY = 'test-api-key-0123456789-abcdefghijklmnopqrstuvwxyz';
export const SECRET = 'test-jwt-secret-0123456789-abcdefghijklmnopqrstuvwxyz';
const START_MS = 20_000;
const STOP_MS = 10_000;

// No server outlives the tests, however they end.
const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
process.on('SIGTERM', () => process.exit(143)); // the test runner gives up on a file that hangs

/** The binary under test: $OYEZ_BIN, else the debug or release build, whichever exists. */
export function binary() {
  const candidates = [process.env.OYEZ_BIN, join(ROOT, 'target/debug/oyez'), join(ROOT, 'target/release/oyez')];
  const found = candidates.find((path) => path && existsSync(path));
  if (!found) throw new Error('no oyez binary: run `cargo build` first, or set OYEZ_BIN');
  return found;
}

/**
 * Runs `oyez serve --config CONFIG --listen 127.0.0.1:0` and waits for its "Listening on" line.
 * `env` is added to the three variables every example needs. Call `stop()` when done.
 */
export async function serve(config, { env = {}, args = [] } = {}) {
  const child = spawn(binary(), ['serve', '--config', join(ROOT, config), '--listen', '127.0.0.1:0', ...args], {
    env: { ...process.env, JWT_SECRET: SECRET, AUTH_SECRET: SECRET, OYEZ_API_KEY: API_KEY, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return attach(child);
}

/** Wraps a spawned server process: waits until it listens, and returns {url, port, logs, api, publish, stop}. */
export async function attach(child) {
  const logs = [];
  running.add(child);
  const exited = new Promise((resolve) => child.once('exit', (code) => { running.delete(child); resolve(code); }));
  const listening = new Promise((resolve) => {
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        logs.push(line);
        const match = line.match(/Listening on (https?:\/\/[^\s"]+)/);
        if (match) resolve(match[1]);
      });
    }
  });
  const url = await Promise.race([
    listening,
    exited.then((code) => { throw new Error(`server exited with ${code}:\n${logs.join('\n')}`); }),
    delay(START_MS, undefined, { ref: false }).then(() => { throw new Error(`server did not start:\n${logs.join('\n')}`); }),
  ]).catch((error) => { child.kill('SIGKILL'); throw error; });
  const api = async (path, { method, body, token = API_KEY, headers = {} } = {}) => {
    const response = await fetch(url + path, {
      method: method ?? (body === undefined ? 'GET' : 'POST'),
      headers: { ...(token ? { authorization: `Bearer ${token}` } : {}), ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    let json;
    try { json = JSON.parse(text); } catch { /* not JSON: the caller looks at text */ }
    return { status: response.status, headers: response.headers, text, json };
  };
  return {
    url, child, logs, exited, api,
    ws: url.replace('http', 'ws'),
    port: Number(new URL(url).port),
    /** Publishes with the API key and fails the test unless the server accepts. */
    publish: async (to, event, data, more = {}) => {
      const answer = await api('/api/v1/publish', { body: { to, event, data, ...more } });
      if (answer.status !== 200) throw new Error(`publish ${answer.status}: ${answer.text}`);
      return answer.json;
    },
    /** Asks the server to end and gives its exit code; fails when it does not end. */
    stop: async () => {
      child.kill('SIGTERM');
      let stubborn = false;
      const last = setTimeout(() => { stubborn = true; child.kill('SIGKILL'); }, STOP_MS);
      const code = await exited;
      clearTimeout(last);
      if (stubborn) throw new Error(`server did not end within ${STOP_MS} ms of SIGTERM:\n${logs.join('\n')}`);
      return code;
    },
  };
}

/** An HS256 token signed with the test secret; `expiresIn` defaults to an hour. */
export const token = (claims, { secret = SECRET, ...options } = {}) => jwt.sign(claims, secret, { expiresIn: '1h', ...options });

/** A stock socket.io-client that does not share connections and does not reconnect unless asked. */
export const connect = (url, options = {}) => io(url, { forceNew: true, reconnection: false, ...options });

/** The arguments of the next `event` on a socket.io-client or any EventEmitter; rejects after `ms`. */
export function next(emitter, event, ms = 5000) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => { emitter.off(event, take); reject(new Error(`no "${event}" within ${ms} ms`)); }, ms);
    const take = (...args) => { clearTimeout(timer); emitter.off(event, take); resolve(args); };
    emitter.on(event, take);
  });
}

/** Waits until the socket is connected; rejects with the server's words when it refuses. */
export function connected(socket, ms = 5000) {
  if (socket.connected) return Promise.resolve(socket);
  return new Promise((resolve, reject) => {
    const end = (settle) => (value) => {
      clearTimeout(timer);
      socket.off('connect', joined).off('connect_error', failed);
      settle(value);
    };
    const joined = end(() => resolve(socket));
    const failed = end(reject);
    const timer = setTimeout(() => failed(new Error(`not connected within ${ms} ms`)), ms);
    socket.on('connect', joined).on('connect_error', failed);
  });
}

/** Records every event of a socket.io-client from now on: `[name, ...args]`. Use with `fence` to prove absence. */
export function record(socket) {
  const seen = [];
  socket.onAny((name, ...args) => seen.push([name, ...args]));
  return seen;
}

/**
 * Proves that everything sent so far has arrived: publishes a marker to `channel` (which the socket must hear) and
 * waits for it. What is not in the record by then did not come.
 */
export async function fence(server, socket, channel, more = {}) {
  const marker = `fence-${Math.random().toString(36).slice(2)}`;
  const heard = next(socket, marker);
  await server.publish(channel, marker, {}, more);
  await heard;
}
