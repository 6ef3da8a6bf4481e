// Records what `socket.io`, its Redis adapters and its emitter write: two servers, A and B, on a make-believe Redis in this
// process, with random bytes that are counted. So the same packages always write the same, and
// `tests/e2e/adapter.test.mjs` finds out when a new version writes something else.
//
//     node tests/transcripts/adapter/record.mjs     writes FORMAT.json: what was written, step by step
import { EventEmitter } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const require = createRequire(import.meta.url);
const HOME = fileURLToPath(new URL('.', import.meta.url));

/** What servers hear from each other, and in which order. */
class Bus {
  subscribers = [];
  entries = [];
  waiting = [];
  written = [];
  under_way = 0;

  /** Everybody hears it, later, as from a real Redis. */
  deliver(hear) {
    this.under_way += 1;
    setImmediate(() => {
      for (const client of this.subscribers) hear(client);
      this.under_way -= 1;
    });
  }

  publish(channel, payload) {
    const bytes = Buffer.from(payload);
    this.written.push({ channel, ...legible(bytes) });
    this.deliver((client) => client.hear(channel, bytes));
  }

  add(stream, fields) {
    this.written.push({ stream, entry: Object.fromEntries(fields) });
    this.entries.push([`${this.entries.length + 1}-0`, fields.flat()]);
    this.deliver(() => this.waiting.splice(0).forEach((wake) => wake()));
  }

  /** When nothing is on its way any more. */
  async quiet() {
    for (let turns = 0; turns < 20; turns += 1) {
      if (this.under_way > 0) turns = 0;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  count(channel) {
    return this.subscribers.filter((client) => client.channels.has(channel)).length;
  }
}

/** JSON as text, msgpack as hexadecimal digits. */
const legible = (bytes) => (bytes[0] === 0x7b ? { text: bytes.toString() } : { hex: bytes.toString('hex') });

/** A client as ioredis has it, as far as the adapters use one. */
class Redis extends EventEmitter {
  options = { lazyConnect: false };
  channels = new Set();
  patterns = new Set();
  constructor(bus) {
    super();
    this.setMaxListeners(0);
    this.bus = bus;
    bus.subscribers.push(this);
  }
  duplicate() { return new Redis(this.bus); }
  disconnect() {}
  async publish(channel, payload) { this.bus.publish(channel, payload); }
  async spublish(channel, payload) { this.bus.publish(channel, payload); }
  psubscribe(pattern) { this.patterns.add(pattern); }
  subscribe(channels) { [channels].flat().forEach((channel) => this.channels.add(channel)); }
  ssubscribe(channels) { this.subscribe(channels); }
  sunsubscribe(channels) { [channels].flat().forEach((channel) => this.channels.delete(channel)); }
  send_command(_command, [, channel], answer) { answer(null, [channel, this.bus.count(channel)]); }
  hear(channel, payload) {
    for (const pattern of this.patterns) {
      if (channel.startsWith(pattern.slice(0, -1))) {
        this.emit('pmessageBuffer', pattern, Buffer.from(channel), payload);
      }
    }
    if (this.channels.has(channel)) {
      this.emit('messageBuffer', Buffer.from(channel), payload);
      this.emit('smessageBuffer', Buffer.from(channel), payload);
    }
  }
  async xadd([stream, , , , , ...fields]) {
    const pairs = fields.flatMap((value, at) => (at % 2 ? [] : [[value, fields[at + 1]]]));
    this.bus.add(stream, pairs);
    return `${this.bus.entries.length}-0`;
  }
  async xread(...args) {
    const after = args.at(-1);
    const fresh = () => this.bus.entries.slice(after === '$' ? this.bus.entries.length : parseInt(after, 10));
    const found = fresh();
    if (found.length === 0) {
      const before = this.bus.entries.length;
      await new Promise((resolve) => this.bus.waiting.push(resolve));
      return [['stream', this.bus.entries.slice(after === '$' ? before : parseInt(after, 10))]];
    }
    return [['stream', found]];
  }
}

/** A socket of a namespace, without a connection; it acknowledges each event with `answer`. */
function socket(nsp, { id, rooms, data, answer }) {
  const made = {
    id, data, handshake: { headers: { host: 'x' }, time: 'now', auth: { token: 't' } }, rooms: new Set([id, ...rooms]), acks: new Map(),
    client: {
      writeToEngine: () => setImmediate(() => {
        const waiting = [...made.acks.values()];
        made.acks.clear();
        waiting.forEach((ack) => ack(...answer));
      }),
    },
    join: (room) => nsp.adapter.addAll(id, new Set([].concat(room))),
    leave: (room) => nsp.adapter.del(id, room),
    disconnect: () => {},
  };
  nsp.sockets.set(id, made);
  nsp.adapter.addAll(id, made.rooms);
}

/** Two servers of this format. */
function cluster(adapter) {
  const { Server } = require('socket.io');
  const bus = new Bus();
  const servers = ['A', 'B'].map(() => {
    const io = new Server();
    io.adapter(adapter(new Redis(bus), new Redis(bus)));
    io.of('/');
    return io;
  });
  socket(servers[1].of('/'), { id: 'nrbnsqk3ZkJ9Bf_LAAAB', rooms: ['r1'], data: { user: 'u1' }, answer: ['ack', 'lost'] });
  servers[1].on('hello', (value, answer) => answer?.(`world-${value}`));
  return { bus, io: servers[0], b: servers[1] };
}

/** Data of every kind that the packages write differently. (Not 1e20: notepack makes another number of it.) */
const NUMBERS = [
  0, 127, 128, 255, 256, 65535, 65536, 4294967295, 4294967296, 9007199254740991, 1e17,
  -1, -32, -33, -128, -129, -32768, -32769, -2147483648, -2147483649, -9007199254740991, 0.1, -1.5,
];
const TEXTS = ['', 'x'.repeat(31), 'x'.repeat(32), 'x'.repeat(255), 'x'.repeat(256), 'é😀\u0000"\\\n\u001f\u007f\u2028/'];
const NESTED = { list: Array.from({ length: 16 }, (_, n) => n), map: Object.fromEntries(Array.from({ length: 16 }, (_, n) => [`k${n}`, { n }])) };

/** What every server can be asked, whatever the format. */
const STEPS = {
  hello: ({ io }) => io.emit('hello', 'world', 1, { a: true }),
  binary: ({ io }) => io.to('r1').emit('msg', Buffer.from([1, 2, 3])),
  'binary within': ({ io }) => io.emit('deep', { a: [Buffer.alloc(256, 7)] }, Buffer.alloc(0)),
  flags: ({ io }) => io.to(['r1', 'r2']).except('r3').volatile.compress(false).emit('multi', null, 1.5),
  direct: ({ io }) => io.to('nrbnsqk3ZkJ9Bf_LAAAB').emit('direct'),
  local: ({ io }) => io.local.emit('never', 'published'),
  namespace: ({ io }) => io.of('/admin').emit('x'),
  'odd rooms': ({ io }) => io.to('a#b').except(['#', 'ä']).emit('x'),
  'odd room': ({ io }) => io.to('зал ☃').emit('x'),
  numbers: ({ io }) => io.emit('numbers', ...NUMBERS),
  texts: ({ io }) => io.emit('texts', ...TEXTS),
  nested: ({ io }) => io.emit('nested', NESTED),
  'large and binary': ({ io }) => io.emit('large', 1e17, -9007199254740993, Buffer.from('x')),
  'with ack': ({ io }) => io.timeout(1000).emitWithAck('q', 1),
  'with ack, undefined': async ({ io, b }) => {
    socket(b.of('/'), { id: 'silent', rooms: ['r2'], data: {}, answer: [] });
    await io.to('r2').timeout(1000).emitWithAck('q', 1);
  },
  'with ack, binary': async ({ io, b }) => {
    socket(b.of('/'), { id: 'binary', rooms: ['r3'], data: {}, answer: [{ b: Buffer.from([9]) }] });
    await io.to('r3').timeout(1000).emitWithAck('q', Buffer.from([8]));
  },
  fetch: ({ io }) => io.in('r1').fetchSockets(),
  'fetch, binary': async ({ io, b }) => {
    socket(b.of('/'), { id: 'keeper', rooms: ['r4'], data: { b: Buffer.from([1, 2]) }, answer: [] });
    await io.in('r4').except('r9').fetchSockets();
  },
  'fetch, none': ({ io }) => io.in('nobody').fetchSockets(),
  'remote socket': async ({ io }) => (await io.in('r1').fetchSockets())[0].emit('one'),
  join: ({ io }) => io.in('r1').socketsJoin(['r5', 'r6']),
  leave: ({ io }) => io.in('r1').except('r9').socketsLeave('r5'),
  disconnect: ({ io }) => io.in('r77').disconnectSockets(true),
  'disconnect, open': ({ io }) => io.in('r77').disconnectSockets(),
  'server side': ({ io }) => io.serverSideEmit('other', 1, 'two'),
  'server side, binary': ({ io }) => io.serverSideEmit('other', { b: Buffer.from([1, 255]) }),
  'server side, ack': ({ io }) => io.serverSideEmitWithAck('hello', 1),
  'server side, ack, undefined': async ({ io, b }) => {
    b.on('nothing', (answer) => answer());
    await io.serverSideEmitWithAck('nothing');
  },
  'server side, ack, binary': async ({ io, b }) => {
    b.on('bytes', (answer) => answer(Buffer.from([5])));
    await io.serverSideEmitWithAck('bytes');
  },
};

/** What only the classic format has, among it what servers of old ask, which today's answer. */
const CLASSIC = {
  rooms: ({ io }) => io.of('/').adapter.allRooms(),
  'ids, asked of old': ({ bus }) => bus.publish('socket.io-request#/#', JSON.stringify({ uid: 'old', requestId: 'o0', type: 0, rooms: ['r1'] })),
  'join, asked of old': ({ bus }) => bus.publish('socket.io-request#/#', JSON.stringify({ uid: 'old', requestId: 'o2', type: 2, sid: 'nrbnsqk3ZkJ9Bf_LAAAB', room: 'r8' })),
  'leave, asked of old': ({ bus }) => bus.publish('socket.io-request#/#', JSON.stringify({ uid: 'old', requestId: 'o3', type: 3, sid: 'nrbnsqk3ZkJ9Bf_LAAAB', room: 'r8' })),
  'disconnect, asked of old': ({ bus }) => bus.publish('socket.io-request#/#', JSON.stringify({ uid: 'old', requestId: 'o4', type: 4, sid: 'nrbnsqk3ZkJ9Bf_LAAAB', close: true })),
};

/** With answers for the one that asked. */
const SPECIFIC = { 'with ack': STEPS['with ack'], fetch: STEPS.fetch, rooms: CLASSIC.rooms, 'server side, ack': STEPS['server side, ack'] };

/** What an emitter does. */
const EMITTER = {
  hello: ({ emitter }) => emitter.emit('hello', { a: 1 }),
  binary: ({ emitter }) => emitter.to('r1').emit('bin', Buffer.from([255])),
  flags: ({ emitter }) => emitter.of('/admin').to(['a', 'b']).except('c').volatile.compress(true).emit('x'),
  join: ({ emitter }) => emitter.in('r1').socketsJoin('r9'),
  leave: ({ emitter }) => emitter.in('r1').socketsLeave(['r9']),
  disconnect: ({ emitter }) => emitter.in('r77').disconnectSockets(true),
  'server side': ({ emitter }) => emitter.serverSideEmit('hello', { z: 1 }),
};

/** What a session leaves behind. */
const SESSION = {
  session: ({ io, bus }) => {
    io.of('/').server.opts.connectionStateRecovery = { maxDisconnectionDuration: 120000 };
    const keep = (key, value) => bus.written.push({ key, value });
    const { adapter } = io.of('/');
    Redis.prototype.set = keep;
    adapter.persistSession({ sid: 'gaxSEgNRHNhvbF-JAAAA', pid: 'C96mn7Cc9v_LNK0KAAAB', rooms: ['gaxSEgNRHNhvbF-JAAAA', 'r1'], data: { user: 'u1' } });
  },
};

/** Takes these steps, one after the other. */
async function play(stage, steps) {
  const { bus } = stage;
  await bus.quiet();
  const played = [];
  for (const [step, act] of Object.entries(steps)) {
    bus.written = [];
    await act(stage);
    await bus.quiet();
    played.push({ step, written: bus.written });
  }
  return played;
}

/** Everything that is recorded: the steps of each format. */
export async function record() {
  const crypto = require('node:crypto');
  const real = crypto.randomBytes;
  let next = 0;
  crypto.randomBytes = (length) => Buffer.from(Array.from({ length }, () => (next += 1) % 256));
  try {
    const classic = require('@socket.io/redis-adapter');
    const streams = require('@socket.io/redis-streams-adapter');
    const { Emitter } = require('@socket.io/redis-emitter');
    const plain = (options) => (pub, sub) => classic.createAdapter(pub, sub, options);
    const bus = new Bus();
    return {
      classic: await play(cluster(plain()), { ...STEPS, ...CLASSIC }),
      specific: await play(cluster(plain({ publishOnSpecificResponseChannel: true })), SPECIFIC),
      emitter: await play({ bus, emitter: new Emitter(new Redis(bus)) }, EMITTER),
      sharded: await play(cluster((pub, sub) => classic.createShardedAdapter(pub, sub)), STEPS),
      streams: await play(cluster((pub) => streams.createAdapter(pub)), { ...STEPS, ...SESSION }),
    };
  } finally {
    crypto.randomBytes = real;
  }
}

/** Where a format's steps are kept, and how. */
export const file = (format) => join(HOME, `${format}.json`);
export const text = (steps) => `${JSON.stringify(steps, null, 1)}\n`;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [format, steps] of Object.entries(await record())) writeFileSync(file(format), text(steps));
}
