// What no stock client would do to its connection: TCP as bytes, and WebSockets on it that answer only if told to.
import net from 'node:net';
import { frame } from '../corpus/build.mjs';
import { eventually } from './waiting.mjs';
import { upgrade } from './wire.mjs';

/** A bare TCP connection that collects what it hears. */
export class Bare {
  text = '';
  ended = false;

  constructor(port, bytes = '') {
    this.begun = performance.now();
    this.socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    this.socket.on('error', () => {});
    this.socket.on('data', (chunk) => { this.text += chunk.toString('latin1'); this.heardSomething?.(chunk); });
    this.end = new Promise((resolve) => {
      const end = () => { this.ended = true; resolve(performance.now() - this.begun); };
      this.socket.on('end', end).on('close', end);
    });
    if (bytes) this.socket.write(bytes);
  }

  /** Until test (or suite) `t` is over. */
  static of(t, port, bytes) {
    const bare = new this(port, bytes);
    t.after(() => bare.socket.destroy());
    return bare;
  }

  heard(text, ms = 5000) {
    return eventually(() => this.text.includes(text), `"${text}" (heard ${JSON.stringify(this.text.slice(0, 300))})`, ms);
  }

  async status() {
    return Number(await eventually(() => this.text.match(/^HTTP\/1\.[01] (\d+)/)?.[1], 'a status'));
  }

  write(bytes) { return this.socket.write(bytes); }
}

/** A WebSocket as bytes: `messages` are those that came, and with `answers` it lives. */
export class BareWebSocket extends Bare {
  messages = [];
  answers = true;
  #buffer = Buffer.alloc(0);
  #open = false;

  /** `path` with its query. */
  static at(t, port, path) {
    return this.of(t, port, upgrade(path));
  }

  say(text) { return this.write(frame(0x81, text)); }

  heardSomething(chunk) {
    this.#buffer = Buffer.concat([this.#buffer, chunk]);
    if (!this.#open) {
      const end = this.#buffer.indexOf('\r\n\r\n');
      if (end < 0) return;
      this.#open = true;
      this.#buffer = this.#buffer.subarray(end + 4);
    }
    for (;;) {
      const one = this.#buffer[1];
      const [size, skip] = one === 126 ? [2, 4] : one === 127 ? [8, 10] : [0, 2];
      if (one === undefined || this.#buffer.length < skip) return;
      const length = size === 2 ? this.#buffer.readUInt16BE(2) : size === 8 ? Number(this.#buffer.readBigUInt64BE(2)) : one;
      if (this.#buffer.length < skip + length) return;
      this.#take(this.#buffer[0] & 15, this.#buffer.subarray(skip, skip + length));
      this.#buffer = this.#buffer.subarray(skip + length);
    }
  }

  #take(opcode, payload) {
    const text = String(payload);
    if (opcode === 8) this.messages.push({ close: payload.readUInt16BE(0) });
    else if (opcode !== 9) this.messages.push(text);
    if (!this.answers) return;
    if (opcode === 9) this.write(frame(0x8a, payload));
    else if (text === '2') this.say('3');
  }

  /** The code of the close frame, once it has come. */
  closed(ms) {
    return eventually(() => this.messages.at(-1)?.close, `a close frame (heard ${JSON.stringify(this.messages.slice(-3))})`, ms);
  }

  /** Waits for a message that `fits`, also one that came before. */
  message(fits, ms) {
    return eventually(() => this.messages.find((text) => typeof text === 'string' && fits(text)), `a message (heard ${JSON.stringify(this.messages.slice(-3))})`, ms);
  }
}
