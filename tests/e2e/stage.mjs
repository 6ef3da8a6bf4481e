// What a test of identity needs around the server: a configuration of its own, tokens of every algorithm, the service
// that the server asks, and plain WebSockets.
import { constants, createHmac, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { WebSocket } from 'ws';
import { ROOT, binary, serve } from './harness.mjs';
import { Inbox } from './waiting.mjs';

export const ORIGIN = 'https://pages.example';
export const now = () => Math.floor(Date.now() / 1000);

/** Writes files beside each other and returns their folder; it is removed after `t`. */
export function folder(t, files) {
  const path = mkdtempSync(join(tmpdir(), 'oyez-'));
  t.after(() => rmSync(path, { recursive: true }));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text);
  return path;
}

/** Serves a configuration given as text, with files beside it, until test (or suite) `t` is over. */
export async function serving(t, toml, { files = {}, ...options } = {}) {
  const path = join(folder(t, { 'oyez.toml': toml, ...files }), 'oyez.toml');
  const server = await serve(relative(ROOT, path), options);
  t.after(() => server.stop());
  return server;
}

/** Runs `oyez ARGS` to its end, with only `env` in its environment: {code, stdout, stderr}. */
export function run(args, env = {}) {
  const child = spawn(binary(), args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const said = { stdout: '', stderr: '' };
  child.stdout.on('data', (bytes) => { said.stdout += bytes; });
  child.stderr.on('data', (bytes) => { said.stderr += bytes; });
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, ...said })));
}

/**
 * Somebody else's HTTP service on a port of its own, until `t` is over. `answer(call)` gives `{status, body, headers}`, or
 * nothing to leave the caller waiting. `calls` holds each `{url, method, headers, body, at}`; `at` in
 * milliseconds.
 */
export async function service(t, answer) {
  const calls = [];
  const server = createServer((request, response) => {
    const at = performance.now();
    let body = '';
    request.on('data', (bytes) => { body += bytes; });
    request.on('end', async () => {
      const call = { url: request.url, method: request.method, headers: request.headers, body, at };
      calls.push(call);
      const { status = 200, body: out = '', headers = {} } = (await answer(call)) ?? {};
      if (status === 0) return;
      response.writeHead(status, { 'content-type': 'application/json', ...headers });
      response.end(typeof out === 'string' ? out : JSON.stringify(out));
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => { server.closeAllConnections(); server.close(); });
  return { url: `http://127.0.0.1:${server.address().port}`, calls };
}

const PAIRS = {
  RS: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
  PS: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  ES384: () => generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  EdDSA: () => generateKeyPairSync('ed25519'),
};

/** A key for `algorithm`: {algorithm, kid, private, pem, jwk} or {algorithm, secret}. */
export function newKey(algorithm, kid) {
  if (algorithm.startsWith('HS')) return { algorithm, kid, secret: randomBytes(64).toString('hex') };
  const { publicKey, privateKey } = (PAIRS[algorithm] ?? PAIRS[algorithm.slice(0, 2)])();
  const jwk = { ...publicKey.export({ format: 'jwk' }), use: 'sig', alg: algorithm, ...(kid && { kid }) };
  return { algorithm, kid, private: privateKey, pem: publicKey.export({ type: 'spki', format: 'pem' }), jwk };
}

const base64 = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** The signature of any text by `key`, as bytes. */
export function signature(key, text) {
  const hash = `sha${key.algorithm.slice(2)}`;
  if (key.secret !== undefined) return createHmac(hash, key.secret).update(text).digest();
  if (key.algorithm === 'EdDSA') return sign(null, Buffer.from(text), key.private);
  const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
  const more = { ES: { dsaEncoding: 'ieee-p1363' }, PS: pss }[key.algorithm.slice(0, 2)];
  return sign(hash, Buffer.from(text), { key: key.private, ...more });
}

/** A JWT by `key`, good for an hour unless `claims` say otherwise; `header` replaces what the key would say. */
export function jwt(key, claims, header = {}) {
  const head = { alg: key.algorithm, typ: 'JWT', ...(key.kid && { kid: key.kid }), ...header };
  const text = `${base64(head)}.${base64({ iat: now(), exp: now() + 3600, ...claims })}`;
  return `${text}.${signature(key, text).toString('base64url')}`;
}

/**
 * A plain WebSocket, closed after `t`: `heard` is an Inbox of its frames by `type`, `opened` and `ended` are promises
 * ({status, json} of a refusal rejects `opened`; `ended` gives {code, reason, at}).
 */
export function raw(t, url, { protocols = [], ...options } = {}) {
  const socket = new WebSocket(url, protocols, options);
  t.after(() => socket.terminate());
  socket.heard = new Inbox();
  socket.on('message', (bytes) => { const frame = JSON.parse(bytes); socket.heard.put(frame.type, frame); });
  socket.say = (frame) => socket.send(JSON.stringify(frame));
  socket.ended = new Promise((resolve) => {
    socket.on('close', (code, reason) => resolve({ code, reason: String(reason), at: Date.now() }));
  });
  socket.opened = new Promise((resolve, reject) => {
    socket.on('open', () => resolve(socket));
    socket.on('error', reject);
    socket.on('unexpected-response', (_, response) => {
      let text = '';
      response.on('data', (bytes) => { text += bytes; });
      response.on('end', () => reject(Object.assign(new Error(text), { status: response.statusCode, json: JSON.parse(text) })));
    });
  });
  socket.opened.catch(() => {}); // a test may look at `ended` only
  return socket;
}
