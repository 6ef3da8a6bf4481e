// Frames on a websocket that has joined `/` and agreed to permessage-deflate (RFC 7692). `max_payload` is 64 KiB.
import { constants, createDeflateRaw, deflateRawSync } from 'node:zlib';
import { PARSE, PAYLOAD, PROTOCOL, STAYS, TOO_BIG, bytes, frame, times } from '../build.mjs';

const squeeze = (text) => deflateRawSync(text, { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, -4);
const TEXT = 0xc1;
const EVENT = '42["x","é😀"]';
const event = squeeze(EVENT);
const zeros = (length) => squeeze(Buffer.alloc(length));

/** A message that refers to the text of the one before it. */
async function secondOfTwo() {
  const deflate = createDeflateRaw({ flush: constants.Z_SYNC_FLUSH });
  const out = [];
  deflate.on('data', (part) => out.push(part));
  const write = (text) => new Promise((resolve) => { deflate.write(text, () => deflate.flush(constants.Z_SYNC_FLUSH, resolve)); });
  await write(EVENT);
  const before = Buffer.concat(out).length;
  await write(EVENT);
  return Buffer.concat(out).subarray(before, -4);
}

export default [
  ['good.raw', frame(TEXT, event), STAYS, 'a compressed event'],
  ['not-compressed.raw', frame(0x81, EVENT), STAYS, 'RFC 7692 6: RSV1 says whether it is'],
  ['in-fragments.raw', bytes(frame(0x41, event.subarray(0, 3)), frame(0x80, event.subarray(3))), STAYS, 'RFC 7692 6.1: RSV1 on the first only'],
  ['final-block.raw', frame(TEXT, bytes(deflateRawSync(EVENT), 0)), STAYS, 'RFC 7692 7.2.3.4: a final block is allowed'],
  ['stored.raw', frame(TEXT, bytes(0x00, [EVENT.length + 3, 0, 0xff ^ (EVENT.length + 3), 0xff], EVENT, 0x00)), STAYS, 'RFC 7692 7.2.3.3: a stored block'],
  ['rsv1-on-continuation.raw', bytes(frame(0x41, event.subarray(0, 3)), frame(0xc0, event.subarray(3))), PROTOCOL, 'RFC 7692 6.1'],
  ['rsv1-on-ping.raw', frame(0xc9, 'a'), PROTOCOL, 'RFC 7692 5: control frames are not compressed'],
  ['rsv1-on-close.raw', frame(0xc8), PROTOCOL, 'RFC 7692 5'],
  ['rsv2.raw', frame(0xe1, event), PROTOCOL, 'no extension has it'],
  ['noise.raw', frame(TEXT, Buffer.alloc(10, 0xff)), PAYLOAD, 'not deflate'],
  ['block-type-3.raw', frame(TEXT, [0x07, 0x00]), PAYLOAD, 'RFC 1951 3.2.3: reserved'],
  ['stored-length.raw', frame(TEXT, [0x00, 0x05, 0x00, 0x00, 0x00, 1, 2, 3, 4, 5, 0]), PAYLOAD, 'RFC 1951 3.2.4: a length and its complement'],
  ['distance-too-far.raw', frame(TEXT, await secondOfTwo()), PAYLOAD, 'no context is carried from message to message'],
  ['bad-utf8.raw', frame(TEXT, squeeze(bytes('42["x","', 0xff, '"]'))), PAYLOAD, 'text is UTF-8 once inflated'],
  ['empty.raw', frame(TEXT, [0x00]), PARSE, 'an empty packet'],
  ['no-bytes.raw', frame(TEXT, ''), PARSE, 'an empty packet'],
  ['bomb-one-more.raw', frame(TEXT, zeros(65537)), TOO_BIG, 'one byte beyond max_payload once inflated'],
  ['bomb-10-mb.raw', frame(TEXT, zeros(10_000_000)), TOO_BIG, 'inflating stops at the limit'],
  ['bomb-60-mb.raw', frame(TEXT, zeros(60_000_000)), TOO_BIG, 'inflating stops at the limit'],
  ['bomb-binary.raw', frame(0xc2, zeros(10_000_000)), TOO_BIG, 'binary too'],
  ['bomb-in-fragments.raw', bytes(frame(0x41, zeros(10_000_000).subarray(0, 5000)), frame(0x80, zeros(10_000_000).subarray(5000))), TOO_BIG, 'in fragments too'],
  ['many-that-grow.raw', bytes(...Array(60).fill(frame(TEXT, squeeze(`42["x","${times(60000, 'a')}"]`)))), STAYS, 'each within the limit; they are read one after the other'],
  ['of-the-limit.raw', frame(TEXT, squeeze(`42["x","${times(65526, 'a')}"]`)), STAYS, 'exactly max_payload'],
];
