// The clients of seeds/003 as their code behaves, over `ws` in place of the browser's WebSocket, and its tokens.
import { WebSocket } from 'ws';
import { token } from '../../../tests/e2e/harness.mjs';
import { Inbox } from '../../../tests/e2e/waiting.mjs';

export const CONFIG = 'examples/ginforge/oyez.toml';
/** How Go writes a time with its nanoseconds. */
export const RFC3339_NANO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/;

let count = 1000;
/** A user nobody else in the tests is: a decimal string, as the admin database has them. */
export const newUser = () => String(count += 1);
export const nameOf = (user) => `name-${user}`;

/** A token as `admin_service.go` signs it: `user_id` is a string; no `iat`, issuer, audience, roles or token id. */
export const mint = (user, options = {}) => token({ user_id: user, username: nameOf(user) }, { noTimestamp: true, ...options });

/** `web/admin/src/utils/websocket_enhanced.ts`, the one the application uses: the room stands in `room`. */
export const enhanced = {
  ping: () => ({ type: 'ping', timestamp: Date.now() }),
  join: (room) => ({ type: 'join_room', room, timestamp: Date.now() }),
  leave: (room) => ({ type: 'leave_room', room, timestamp: Date.now() }),
  say: (room, text) => ({ type: 'room_message', room, content: { text }, timestamp: Date.now() }),
  chat: (to, text) => ({ type: 'chat', to, content: { text, mediaType: 'text' }, timestamp: Date.now() }),
};
/** `web/admin/src/utils/websocket.ts` of the test page: the room stands in `content`. */
export const plain = {
  ...enhanced,
  join: (room) => ({ type: 'join_room', content: room, timestamp: Date.now() }),
  leave: (room) => ({ type: 'leave_room', content: room, timestamp: Date.now() }),
  chat: (to, text) => ({ type: 'chat', to, content: { text, media_type: 'text' }, timestamp: Date.now() }),
};
/** The store of the document: no timestamps; a room message names its room inside `content`. */
export const documented = {
  ping: () => ({ type: 'ping' }),
  join: (room) => ({ type: 'join_room', content: room }),
  leave: (room) => ({ type: 'leave_room', content: room }),
  say: (room, text) => ({ type: 'room_message', content: { room, text } }),
  chat: (to, text) => ({ type: 'user_message', content: { from: 'user_123', to, text } }),
};

/** One open page: its frames wait in `inbox` by type. */
export class Page {
  constructor(url, options = {}) {
    this.inbox = new Inbox();
    this.socket = new WebSocket(url, options);
    this.socket.onmessage = ({ data }) => {
      const frame = JSON.parse(data);
      this.inbox.put(frame.type, frame);
    };
    /** Resolves with the close code. */
    this.closed = new Promise((resolve) => { this.socket.onclose = ({ code }) => resolve(code); });
    this.opened = new Promise((resolve, reject) => {
      this.socket.onopen = () => resolve(this);
      this.socket.onerror = ({ error }) => reject(error);
    });
    this.opened.catch(() => {});
  }

  get open() { return this.socket.readyState === WebSocket.OPEN; }

  send(frame) { this.socket.send(typeof frame === 'string' || Buffer.isBuffer(frame) ? frame : JSON.stringify(frame)); }

  take(type, match, ms) { return this.inbox.take(type, match, ms); }

  /** Everything sent before has been handled: a ping is answered after it. */
  async settled() {
    this.send({ type: 'ping' });
    return this.take('pong');
  }

  /** The frames of one type that ever arrived. */
  all(type) { return this.inbox.all(type); }
}

/** Opens pages against one server; `close` after every test, so that tests do not hear each other. */
export class Pages {
  #pages = [];

  constructor(server) { this.server = server; }

  /** A page, not awaited. */
  raw(path, options) {
    const page = new Page(this.server.ws + path, options);
    this.#pages.push(page);
    return page;
  }

  /** A page whose user has been welcomed, and has heard that they are online. */
  async as(user, { jwt = mint(user), ...options } = {}) {
    const page = await this.raw(`/ws?token=${jwt}`, options).opened;
    page.welcome = await page.take('welcome');
    await page.take('user_status', (frame) => frame.content.user_id === user);
    return page;
  }

  /**
   * Waits until everything published so far to `channel`, which the page hears, has arrived. What the page said before
   * is settled first: the marker comes by another way and could overtake the page's joining. `more` is said with the
   * marker, see `DURABLE`.
   */
  async fence(page, channel, more = {}) {
    await page.settled();
    const marker = `fence-${Math.random().toString(36).slice(2)}`;
    await this.server.publish(channel, marker, {}, more);
    await page.take(marker);
  }

  close() {
    for (const page of this.#pages.splice(0)) page.socket.close();
  }
}

/** The answer to a handshake that the server refuses: status and body. */
export function refusal(server, path, options = {}) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(server.ws + path, options);
    socket.on('open', () => { socket.close(); reject(new Error('the handshake was accepted')); });
    socket.on('error', () => {});
    socket.on('unexpected-response', (request, response) => {
      let text = '';
      response.on('data', (chunk) => { text += chunk; });
      response.on('end', () => {
        resolve({ status: response.statusCode, type: response.headers['content-type'], text });
        request.destroy();
      });
    });
  });
}
