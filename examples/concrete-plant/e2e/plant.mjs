// The concrete_life client: namespace /ws, tokens as `auth.service.ts` signs them (numeric `sub`, one numeric `siteId`).
import { token } from '../../../tests/e2e/harness.mjs';
import { open, uniqueNumber } from '../../../tests/e2e/steps.mjs';

export const CONFIG = 'examples/concrete-plant/oyez.toml';

/** Claims of one person of one site. `userType` is admin, operator, driver, quality, manager or maintenance. */
export const claims = (more = {}) => {
  const sub = more.sub ?? uniqueNumber();
  return { sub, username: `user${sub}`, userType: 'operator', siteId: uniqueNumber(), ...more };
};

/** jsonwebtoken refuses to sign a numeric `sub` as an option, but keeps it in the payload, as Nest's JwtService does. */
export const sign = (who, options = {}) => token(who, { expiresIn: '24h', ...options });

/** The document's React and Vue clients: `io('ws://localhost:3000/ws', {auth: {token}})`, so polling first, then websocket. */
export const documented = (jwt) => ({ auth: { token: jwt } });

/** The real hook, `useThrottledWebSocket.ts`: websocket only, it reconnects by itself. */
export const hook = (jwt) => ({ auth: jwt ? { token: jwt } : undefined, transports: ['websocket'], reconnection: false });

/** The address the document gives: `ws://…/ws`, where /ws is the namespace. */
export const address = (server) => `${server.ws}/ws`;

/** Opens a socket as this person with the hook's options and waits for `connected`. */
export async function login(t, server, more = {}, options = hook) {
  const who = claims(more);
  const socket = await open(t, address(server), options(sign(who)), 'connected');
  return Object.assign(socket, { user: who.sub, site: who.siteId });
}

/** The channel that everybody is in from the start: what to fence on. */
export const own = (socket) => `user:${socket.user}`;
