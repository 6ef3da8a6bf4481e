// Bytes on a socket, for what no stock client would say: requests as they are, frames as they are, and what comes back.
import net from 'node:net';
import { constants, inflateRawSync } from 'node:zlib';
import { frame } from '../corpus/build.mjs';

export const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';

/** The head of a request for a websocket; `more` are further lines. */
export const upgrade = (path, more = []) => [
  `GET ${path} HTTP/1.1`, 'Host: x', 'Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Version: 13', `Sec-WebSocket-Key: ${KEY}`, ...more, '', '',
].join('\r\n');

/** A TCP connection: `text` is all that came, as latin1; `ended` says when it was over. */
export class Raw {
  text = '';

  constructor(port) {
    this.socket = net.connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
    this.socket.on('error', () => {});
    this.opened = new Promise((resolve) => { this.socket.once('connect', resolve); });
    this.ended = new Promise((resolve) => {
      const over = () => resolve(performance.now());
      this.socket.on('end', over).on('close', over);
    });
    this.socket.on('data', (bytes) => { this.text += bytes.toString('latin1'); });
  }

  write(bytes) {
    return new Promise((resolve) => { this.socket.write(bytes, resolve); });
  }

  /** The statuses of the answers so far. */
  statuses() {
    return [...this.text.matchAll(/HTTP\/1\.[01] (\d{3}) /g)].map(([, status]) => Number(status));
  }

  destroy() {
    this.socket.destroy();
  }
}

/** A websocket made by hand. `heard` are its messages: texts, or buffers; `closed` gives {code, reason, at}. */
export class Wire {
  heard = [];
  status = undefined;
  #unread = Buffer.alloc(0);
  #waiting = new Set();

  /** `more` are further lines of the request, `from` is the address of this side. */
  constructor(port, path, more, from) {
    this.socket = net.connect({ port, host: '127.0.0.1', noDelay: true, localAddress: from });
    this.socket.on('error', () => {});
    this.closed = new Promise((resolve) => {
      this.over = (code, reason) => { resolve({ code, reason, at: performance.now() }); this.#look(); };
    });
    this.socket.on('close', () => this.over(1006, ''));
    this.socket.on('data', (bytes) => { this.#unread = Buffer.concat([this.#unread, bytes]); this.#read(); });
    this.socket.write(upgrade(path, more));
  }

  /** Sends bytes as they are. */
  write(bytes) {
    this.socket.write(bytes);
  }

  /** Sends one message: text, or bytes. */
  say(message) {
    this.write(frame(typeof message === 'string' ? 0x81 : 0x82, message));
  }

  /** The first message that fits, whether it came already or is still to come; undefined when the connection ends before. */
  async hears(fits, ms = 5000) {
    let over = false;
    this.closed.then(() => { over = true; });
    const look = () => this.heard.find(fits);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => { this.#waiting.delete(check); reject(new Error(`heard nothing that fits within ${ms} ms, but ${JSON.stringify(this.heard).slice(0, 300)}`)); }, ms);
      const check = () => {
        const found = look();
        if (found === undefined && !over) return;
        clearTimeout(timer);
        this.#waiting.delete(check);
        resolve(found);
      };
      this.#waiting.add(check);
      this.closed.then(check);
      check();
    });
  }

  destroy() {
    this.socket.destroy();
  }

  #look() {
    for (const check of [...this.#waiting]) check();
  }

  #read() {
    if (this.status === undefined) {
      const end = this.#unread.indexOf('\r\n\r\n');
      if (end < 0) return;
      this.status = Number(this.#unread.toString('latin1', 9, 12));
      if (this.status !== 101) return this.destroy();
      this.#unread = this.#unread.subarray(end + 4);
    }
    for (let size = this.#frame(); size > 0; size = this.#frame()) this.#unread = this.#unread.subarray(size);
    this.#look();
  }

  /** Takes one frame of the server; the bytes it has, or 0 when it is not whole. */
  #frame() {
    const bytes = this.#unread;
    if (bytes.length < 2) return 0;
    const short = bytes[1] & 127;
    const head = { 126: 4, 127: 10 }[short] ?? 2;
    if (bytes.length < head) return 0;
    const length = head === 2 ? short : head === 4 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
    if (bytes.length < head + length) return 0;
    this.#take(bytes[0], Buffer.from(bytes.subarray(head, head + length)));
    return head + length;
  }

  #take(first, payload) {
    const opcode = first & 15;
    if (opcode === 8) {
      this.over(payload.length < 2 ? 1005 : payload.readUInt16BE(0), payload.toString('utf8', 2));
      this.socket.end(frame(0x88, payload.subarray(0, 2)));
    } else if (opcode < 8) {
      const inflated = first & 0x40 ? inflateRawSync(payload, { finishFlush: constants.Z_SYNC_FLUSH }) : payload;
      this.heard.push(opcode === 2 ? inflated : inflated.toString('utf8'));
    }
  }
}
