// A process full of stock clients, each behind a network of its own that is cut every few seconds. Its parent says when it
// begins (`cut`) and ends (`calm`), and asks at the end who has heard what (`tell`).
import { setTimeout as delay } from 'node:timers/promises';
import { io } from 'socket.io-client';
import { token } from '../../e2e/harness.mjs';
import { Network, WAYS } from './network.mjs';

const TRANSPORTS = [['polling'], ['polling', 'websocket'], ...Array(8).fill(['websocket'])];

const { port, first, count, every, offline } = JSON.parse(process.argv[2]);
const figures = { cuts: 0, returns: 0, recovered: 0, gaps: 0, away: [] };
let calm = false;

class Client {
  heard = { room: [], own: [] };
  joined = false;
  ended = false;
  #cutAt;

  async begin(index) {
    this.index = index;
    this.network = new Network(port);
    this.socket = io(await this.network.url(), {
      transports: TRANSPORTS[index % TRANSPORTS.length],
      auth: { token: token({ sub: `user-${index}` }, { expiresIn: '3h' }) },
      forceNew: true, reconnectionDelay: 250, reconnectionDelayMax: 250,
    });
    this.socket.on('connect', () => this.#back());
    this.socket.on('room', ({ n }) => this.heard.room.push(n));
    this.socket.on('own', ({ n }) => this.heard.own.push(n));
    this.socket.on('gap', () => { figures.gaps += 1; });
    this.socket.on('end', () => { this.ended = true; });
  }

  async #back() {
    const { socket } = this;
    if (this.#cutAt !== undefined) {
      figures.returns += 1;
      figures.recovered += Number(socket.recovered);
      figures.away.push(performance.now() - this.#cutAt);
      this.#cutAt = undefined;
    }
    this.joined &&= socket.recovered;
    while (!this.joined && socket.connected) {
      // Without an answer in time it asks again; with another connection, that one asks.
      await socket.timeout(10_000).emitWithAck('join', 'all').then(() => { this.joined = true; }, () => {});
    }
  }

  /** Cuts it off now and then, each in its own time, so that somebody always is. */
  async suffer() {
    const begun = performance.now() + every * ((this.index % count) / count);
    for (let times = this.index; ; times += 1) {
      await delay(begun + (times - this.index) * every - performance.now());
      if (calm) return;
      const way = WAYS[times % WAYS.length];
      figures.cuts += 1;
      this.network.tell();
      this.#cutAt ??= performance.now();
      this.network.cut(way);
      await delay(offline);
      this.network.mend(way);
    }
  }

  get isThere() { return this.socket.connected && this.joined; }
}

/** What became of what was said to one client: how much arrived, and what is wrong with it. */
function judged(heard, said) {
  const seen = new Set();
  let [last, doubled, disordered] = [-1, 0, 0];
  for (const n of heard) {
    if (seen.has(n)) doubled += 1;
    else if (n < last) disordered += 1;
    seen.add(n);
    last = Math.max(last, n);
  }
  return { said, arrived: seen.size, lost: said - seen.size, doubled, disordered };
}

const clients = Array.from({ length: count }, () => new Client());
let suffering = [];
const orders = {
  cut: () => { suffering = clients.map((client) => client.suffer()); },
  calm: async () => { calm = true; await Promise.all(suffering); process.send({ calm: true }); },
  names: () => process.send(clients.map(({ socket }) => socket.id)),
  look: () => process.send({ there: clients.filter((client) => client.isThere).length, ended: clients.filter((client) => client.ended).length }),
  tell: ({ room, own }) => {
    const sum = { said: 0, arrived: 0, lost: 0, doubled: 0, disordered: 0 };
    for (const { heard, index } of clients) {
      for (const part of [judged(heard.room, room), judged(heard.own, own[index])]) Object.keys(sum).forEach((key) => { sum[key] += part[key]; });
    }
    process.send({ ...figures, ...sum });
  },
};
process.on('message', ({ order, ...more }) => orders[order](more));
for (const [at, client] of clients.entries()) {
  await client.begin(first + at);
  if (at % 10 === 0) await delay(20);
}
process.send({ begun: true });
