// The @twcrm client: an Auth.js v5 session token (a JWE, minted by the real @auth/core) and a websocket-only socket.io-client.
import { encode } from '@auth/core/jwt';
import { SECRET } from '../../../tests/e2e/harness.mjs';
import { barrier, open, unique } from '../../../tests/e2e/steps.mjs';

export const COOKIE = 'authjs.session-token';
export const SECURE_COOKIE = '__Secure-authjs.session-token';
/** The origin of the file's own port: the test server listens elsewhere, the browser's page does not. */
export const ORIGIN = 'http://127.0.0.1:3100';

/** Claims as the ERP's `jwt` callback writes them: the user id is `id` (and `sub`). */
export const claims = (more = {}) => {
  const id = more.id ?? unique('u');
  return {
    sub: id, id, name: `name of ${id}`, email: `${id}@example.com`, picture: null,
    tenantId: unique('t'), tenantCode: 'T', tenantName: 'Tenant', departmentId: null,
    roles: ['tenant_user'], permissions: ['crm:read:customer'], dataScopes: {}, locale: 'zh', isPlatform: false,
    ...more,
  };
};

/** The session token of these claims; the key is derived from the secret and the cookie's name. */
export const session = (token, { secret = SECRET, salt = COOKIE, maxAge = 24 * 60 * 60 } = {}) =>
  encode({ token, secret, salt, maxAge });

/** The options of `useSocket()`: `io(WS_URL, {auth: {token: getSessionToken()}, transports: ['websocket']})`. */
export const options = (token) => ({ auth: { token }, transports: ['websocket'] });

/** Opens a socket as this user, and waits until it is in its rooms; `socket.user` and `socket.tenant` say who it is. */
export async function login(t, server, more = {}) {
  const who = claims(more);
  const socket = await open(t, server.url, options(await session(who)));
  await barrier(socket);
  return Object.assign(socket, { user: who.id, tenant: who.tenantId });
}

/** Somebody at headquarters: the role `platform_admin`, in the tenant HQ. */
export const headquarters = (t, server) => login(t, server, { tenantId: unique('hq'), roles: ['platform_admin'], isPlatform: true });
