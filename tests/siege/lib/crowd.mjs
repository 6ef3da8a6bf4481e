// Thousands of clients in one process: bare sockets that speak Socket.IO as far as it takes to connect, to stay and to come
// back, over either transport, with the delays of the stock client. (Ten thousand stock clients would be busier with
// themselves than the server with them.)
import net from 'node:net';

const FIRST_MS = 1000; // reconnectionDelay
const MOST_MS = 5000; // reconnectionDelayMax
const JITTER = 0.5; // randomizationFactor
const CONNECT_MS = 20_000; // timeout
const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';

/** A masked text frame; a mask of zeros leaves the payload as it is. */
function frame(text) {
  const payload = Buffer.from(text);
  const head = payload.length < 126 ? [0x81, 0x80 | payload.length] : [0x81, 0xfe, payload.length >> 8, payload.length & 255];
  return Buffer.concat([Buffer.from([...head, 0, 0, 0, 0]), payload]);
}

/** Takes whole server frames off a buffer: `[texts, closed, rest]`. */
function frames(bytes) {
  const texts = [];
  for (let at = 0; ;) {
    if (bytes.length < at + 2) return [texts, false, bytes.subarray(at)];
    const short = bytes[at + 1] & 0x7f;
    const head = short < 126 ? 2 : short === 126 ? 4 : 10;
    if (bytes.length < at + head) return [texts, false, bytes.subarray(at)];
    const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(at + 2) : Number(bytes.readBigUInt64BE(at + 2));
    if (bytes.length < at + head + length) return [texts, false, bytes.subarray(at)];
    if ((bytes[at] & 15) === 8) return [texts, true, bytes.subarray(at)];
    texts.push(bytes.toString('utf8', at + head, at + head + length));
    at += head + length;
  }
}

/** One client. It comes back whenever it is cut off, until it leaves. */
export class Client {
  #socket;
  #rest = Buffer.alloc(0);
  #timer;
  #attempts = 0;
  #sid;
  #gone = false;

  /** While this is set, nobody comes back. */
  static away = false;

  /** How it is called, and how far it has heard, where the server remembers that. */
  #pid;
  #offset;

  /** `seen` is told what happens: `asks` (CONNECT), `back`, `cut` and `later` (503) of a client, and each event that it hears. */
  constructor({ port, token, polling = false, namespace = '', seen = {} }) {
    Object.assign(this, { port, token, polling, namespace, seen, joined: false });
  }

  connect() {
    if (Client.away) {
      this.#timer = setTimeout(() => this.connect(), FIRST_MS / 10);
      return this;
    }
    this.#rest = Buffer.alloc(0);
    this.#sid = undefined;
    const socket = net.connect({ port: this.port, host: '127.0.0.1' });
    this.#socket = socket;
    const given = () => { if (this.#socket === socket) this.#lost(); };
    socket.on('error', () => {}).on('close', given);
    socket.on('data', (bytes) => this.#hear(bytes));
    this.#timer = setTimeout(() => socket.destroy(), CONNECT_MS);
    if (this.polling) this.#ask('GET');
    else socket.write(`GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n\r\n`);
    return this;
  }

  /** Cuts the connection, as a load balancer that dies does; the client comes back by itself. */
  cut() { this.#socket?.destroy(); }

  /** Leaves for good: with a goodbye, or just so. */
  leave(politely = false) {
    this.#gone = true;
    clearTimeout(this.#timer);
    if (politely && this.joined && !this.polling) this.#socket.end(frame(`41${this.namespace}`));
    else this.#socket?.destroy();
  }

  /** Says an event. */
  emit(name, data) {
    const body = `42${this.namespace}${JSON.stringify([name, data])}`;
    if (!this.joined) return;
    if (!this.polling) this.#socket.write(frame(body));
  }

  #lost() {
    clearTimeout(this.#timer);
    this.#socket = undefined;
    if (this.joined) { this.joined = false; this.seen.cut?.(this); }
    if (this.#gone) return;
    const delay = Math.min(FIRST_MS * 2 ** this.#attempts, MOST_MS) * (1 - JITTER + 2 * JITTER * Math.random());
    this.#attempts += 1;
    this.#timer = setTimeout(() => this.connect(), delay);
  }

  #ask(method, body = '') {
    const sid = this.#sid ? `&sid=${this.#sid}` : '';
    this.#socket.write(`${method} /socket.io/?EIO=4&transport=polling${sid} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
  }

  #hear(bytes) {
    this.#rest = this.#rest.length ? Buffer.concat([this.#rest, bytes]) : bytes;
    if (this.polling || !this.#sid) {
      for (let body; (body = this.#answer()) !== undefined;) this.#understand(body);
    }
    if (!this.polling && this.#sid) {
      const [texts, closed, rest] = frames(this.#rest);
      this.#rest = rest;
      texts.forEach((text) => this.#packet(text));
      if (closed) this.#socket?.destroy();
    }
  }

  /** Takes one HTTP answer off; its body, or nothing while it is not whole. */
  #answer() {
    const end = this.#rest.indexOf('\r\n\r\n');
    if (end < 0) return undefined;
    const head = this.#rest.toString('latin1', 0, end);
    const status = Number(head.slice(9, 12));
    if (status === 101) {
      this.#rest = this.#rest.subarray(end + 4);
      this.#sid = 'websocket';
      return undefined;
    }
    const length = Number(head.match(/content-length: (\d+)/i)?.[1] ?? 0);
    if (this.#rest.length < end + 4 + length) return undefined;
    const body = this.#rest.toString('utf8', end + 4, end + 4 + length);
    this.#rest = this.#rest.subarray(end + 4 + length);
    if (status !== 200) {
      if (status === 503) this.seen.later?.(this);
      this.#socket?.destroy();
      return undefined;
    }
    return body;
  }

  /** A polling answer: the open packet, `ok` of a POST, or packets of a GET, after which the next GET waits. */
  #understand(body) {
    if (body === 'ok') return this.#ask('GET');
    const posts = body.split('\x1e').map((packet) => this.#packet(packet)).filter(Boolean);
    if (!this.#socket) return undefined;
    return posts.length ? this.#ask('POST', posts.join('\x1e')) : this.#ask('GET');
  }

  /** What a packet asks for; a websocket says it at once, a polling client with its next POST. */
  #packet(packet) {
    const say = (text) => { if (this.polling) return text; this.#socket?.write(frame(text)); return undefined; };
    if (packet === '2') return say('3');
    if (packet === '1') { this.#socket?.destroy(); return undefined; }
    if (packet.startsWith('0')) {
      this.#sid = JSON.parse(packet.slice(1)).sid;
      this.seen.asks?.(this);
      return say(`40${this.namespace}${JSON.stringify({ token: this.token, pid: this.#pid, offset: this.#offset })}`);
    }
    if (packet.startsWith('44')) { this.seen.refused?.(this, packet); return undefined; }
    if (packet.startsWith('40') && !this.joined) {
      clearTimeout(this.#timer);
      this.joined = true;
      this.#attempts = 0;
      const { pid } = JSON.parse(packet.slice(packet.indexOf('{')));
      const recovered = pid !== undefined && pid === this.#pid;
      this.#pid = pid;
      this.seen.back?.(this, recovered);
    }
    if (packet.startsWith('42') && this.seen.event) {
      const args = JSON.parse(packet.slice(packet.indexOf('[')));
      if (this.#pid) this.#offset = args.at(-1);
      this.seen.event(this, ...args);
    }
    return undefined;
  }
}

/** `count` clients, `made(index)` each; begun `pace` a millisecond, so that the machine's own queues do not overflow. */
export async function gather(count, made, pace = 2) {
  const clients = [];
  for (let index = 0; index < count; index += 1) {
    clients.push(made(index).connect());
    if (index % (10 * pace) === 0) await new Promise((resolve) => { setTimeout(resolve, 10); });
  }
  return clients;
}
