// The clients of seeds/004 as their code opens them, and the tokens that its user-service signs.
import { randomUUID } from 'node:crypto';
import { connect, connected, token } from '../../../tests/e2e/harness.mjs';
import { said } from '../../../tests/e2e/steps.mjs';
import { Inbox } from '../../../tests/e2e/waiting.mjs';

export const CONFIG = 'examples/cloudphone/oyez.toml';
export const ISSUED = { issuer: 'cloudphone-platform', audience: 'cloudphone-users' };

/** A user nobody else in the tests is. */
export const newUser = () => randomUUID();

/** A token as `auth.service.ts` signs it: uuid subject, role names, `isSuperAdmin`, issuer and audience, no token id. */
export const mint = (user, claims = {}, options = {}) => token(
  { sub: user, username: `name-${user}`, email: `${user}@example.com`, tenantId: 't1', roles: ['user'], isSuperAdmin: false, ...claims },
  { ...ISSUED, ...options },
);
export const ADMIN = { roles: ['admin'] };

/** `frontend/admin/src/hooks/useSocketIO.ts` with `VITE_WS_URL=/ws`, as in development and behind nginx. */
export const adminHook = (auth) => ({
  path: '/ws', auth: { token: auth }, transports: ['websocket', 'polling'],
  reconnection: true, reconnectionAttempts: 5, reconnectionDelay: 1000, reconnectionDelayMax: 5000, timeout: 10_000,
});
/** The same hook in production, `VITE_WS_URL=wss://…`. */
export const productionHook = (auth) => ({ ...adminHook(auth), path: '/socket.io' });
/** The hook of the document. */
export const documentHook = (auth) => ({
  auth: { token: auth }, transports: ['websocket'], reconnection: true, reconnectionAttempts: 5, reconnectionDelay: 1000,
});
/** `frontend/user/src/contexts/WebSocketContext.tsx`. */
export const userContext = (auth) => ({ ...adminHook(auth), reconnectionAttempts: 10 });
/** `services/notification.ts`: no token, the user's id on trust. */
export const notificationService = (userId) => ({ query: { userId }, transports: ['websocket', 'polling'] });

/** What a socket heard, as its page sees it, without the markers of fences and how much is unread. */
export const heardBy = (socket) => socket.inbox.seen.filter(([name]) => name !== 'unread-count' && !name.startsWith('fence-')).map(said);

/** Opens clients against one server; `close` after every test, so that tests do not hear each other. */
export class Clients {
  #sockets = [];

  constructor(server) { this.server = server; }

  /** A socket with `inbox`, not awaited. */
  open(options) {
    const socket = connect(this.server.url, options);
    this.#sockets.push(socket);
    socket.inbox = Inbox.of(socket);
    return socket;
  }

  /** A connected socket that has heard its welcome. */
  async welcomed(options) {
    const socket = await connected(this.open(options));
    socket.welcome = await socket.inbox.take('welcome');
    return socket;
  }

  /** A connected user of the admin site. */
  as(user, claims = {}) { return this.welcomed(adminHook(mint(user, claims))); }

  close() {
    for (const socket of this.#sockets.splice(0)) socket.disconnect();
  }
}
