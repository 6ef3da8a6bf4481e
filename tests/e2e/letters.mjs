// The broker's channels as somebody sees them who may read and write there: letters of nodes, recorded, changed and made up.
import { Redis } from 'ioredis';

const FORMAT = 6;
/** Kinds of words, in their order. */
export const KINDS = ['beat', 'leave', 'hello', 'rows', 'unsaid', 'buried', 'revoked', 'relay', 'release', 'ask', 'answer', 'claim', 'taken', 'unrecorded', 'recount', 'named'];

/** A number as postcard writes it, and where the next thing begins. */
function number(bytes, at) {
  let value = 0n;
  for (let shift = 0n; ; shift += 7n) {
    const byte = bytes[at++];
    value |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) return [value, at];
  }
}

function written(value) {
  const bytes = [];
  for (let left = BigInt(value); ; left >>= 7n) {
    if (left < 0x80n) return Buffer.from([...bytes, Number(left)]);
    bytes.push(Number(left & 0x7fn) | 0x80);
  }
}

/** Who says what: {node, life, kind, rest}. */
export function read(bytes) {
  const [node, life] = number(bytes, 1);
  const [from, kind] = number(bytes, life);
  return { node: Number(node), life: from, kind: KINDS[bytes[kind]], rest: bytes.subarray(kind + 1) };
}

/** A letter. */
export const write = ({ node, life, kind, rest = Buffer.alloc(0) }) => Buffer.concat([Buffer.from([FORMAT]), written(node), written(life), Buffer.from([KINDS.indexOf(kind)]), rest]);

/** Everything that is said, and a way to say something: {heard: [{topic, bytes}], say}. */
export async function eavesdrop(t, engine) {
  const [ear, mouth] = [new Redis(engine.url), new Redis(engine.url)];
  t.after(() => { ear.disconnect(); mouth.disconnect(); });
  const heard = [];
  ear.on('pmessageBuffer', (_, topic, bytes) => {
    // A node that has just connected says nothing, to see whether it may.
    if (bytes.length) heard.push({ topic: String(topic), bytes });
  });
  await ear.psubscribe('oyez#*');
  return { heard, say: (topic, bytes) => mouth.publish(topic, bytes) };
}

/** The number of the node in a session's id. */
export const nodeOf = (id) => Buffer.from(id, 'base64url').readUInt16LE(8);
