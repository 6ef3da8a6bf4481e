// The YanYu Cloud³ client: what `hooks/use-websocket.ts` passes to socket.io-client, and tokens as its backend signs them.
import assert from 'node:assert/strict';
import { token } from '../../../tests/e2e/harness.mjs';
import { ISO, open, unique } from '../../../tests/e2e/steps.mjs';

export const CONFIG = 'examples/ticketing/oyez.toml';

/** The hook's options, word for word. */
export const options = (jwt) => ({
  auth: { token: jwt },
  transports: ['websocket', 'polling'],
  reconnection: true,
  reconnectionDelay: 1000,
  reconnectionDelayMax: 5000,
  reconnectionAttempts: 5,
});

/** Claims of the documented server's own test: userId, username, roles, departments. */
export const claims = (more = {}) => ({ userId: unique('user'), username: 'Zhang', roles: [], departments: [], ...more });

/** Opens a socket as this user and waits for `connected`; `socket.user` and `socket.jwt` say who it is. */
export async function login(t, server, more = {}, { expiresIn = '1h', ...rest } = {}) {
  const who = claims(more);
  const jwt = token(who, { expiresIn });
  const socket = await open(t, server.url, { ...options(jwt), ...rest }, 'connected');
  return Object.assign(socket, { user: who.userId, jwt });
}

/** The hook's `subscribe(channels)` and `unsubscribe(channels)`; `channels` is a list, or a string where a page misuses it. */
export const subscribe = (channels) => ['subscribe', { type: 'subscribe', channels }];
export const unsubscribe = (channels) => ['unsubscribe', { type: 'unsubscribe', channels }];

/** The hook's heartbeat, which it sends every 30 s. */
export const heartbeat = (socket) => socket.emit('heartbeat', { type: 'heartbeat', timestamp: new Date().toISOString(), clientId: socket.id });

/** Where an event stands among all that the app remembers: the argument that recovery adds. */
export const POSITION = /^[0-9a-f]+\.[0-9a-f]+$/;

/** A push is `{type, payload, timestamp}` and nothing else: the hook reads `message.payload`. */
export function assertEnvelope(message, type, payload) {
  const { timestamp, ...rest } = message;
  assert.deepEqual(rest, { type, payload });
  assert.match(timestamp, ISO);
}
