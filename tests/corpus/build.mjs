// What the tables are written with. A case is [name, bytes, what must happen, why]; `name` ends in `.txt` (one text message
// or body), `.bin` (a binary one) or `.raw` (bytes for the socket as they are).

const KEY = [0x12, 0x34, 0x56, 0x78];

/** Bytes from numbers, texts and buffers. */
export const bytes = (...parts) => Buffer.concat(parts.map((part) => (typeof part === 'number' ? Buffer.of(part) : Buffer.from(part))));

/** `text` so many times. */
export const times = (count, text) => text.repeat(count);

/** A frame of a client: its first byte, its payload, and what to do wrong. */
export function frame(first, payload = '', { mask = true, length } = {}) {
  const body = Buffer.from(payload);
  const size = length ?? shortest(body.length);
  const head = [first, size[0] | (mask ? 0x80 : 0), ...size.slice(1)];
  if (!mask) return bytes(head, body);
  return bytes(head, KEY, body.map((byte, index) => byte ^ KEY[index % 4]));
}

/** The length of a frame as RFC 6455 wants it written. */
export function shortest(length) {
  if (length < 126) return [length];
  return length < 0x10000 ? short16(length) : long64(BigInt(length));
}

/** A length in two bytes, whether it needs them or not. */
export const short16 = (length) => [126, length >> 8, length & 255];

/** A length in eight bytes. */
export function long64(length) {
  const out = Buffer.alloc(8);
  out.writeBigUInt64BE(BigInt(length));
  return [127, ...out];
}

/** A close frame's payload. */
export const closing = (code, reason = '') => bytes([code >> 8, code & 255], reason);

/** What must happen, in the words of the manifest. */
export const PROTOCOL = 'close 1002 protocol_error';
export const PAYLOAD = 'close 1007 invalid_payload';
export const TOO_BIG = 'close 1009 message_too_big';
export const PARSE = 'close 4505 parse_error';
export const DEEP = 'close 4505 too_deep';
export const ATTACHED = 'close 4505 too_many_attachments';
export const STATE = 'close 4506 bad_state';
export const FLOOD = 'close 4007 flood';
export const NORMAL = 'close 1000 normal';
export const STAYS = 'stays';
