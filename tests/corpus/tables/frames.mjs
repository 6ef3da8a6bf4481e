// Frames of RFC 6455, on a websocket that has joined `/`. The app's `max_payload` is 64 KiB.
import { FLOOD, NORMAL, PARSE, PAYLOAD, PROTOCOL, STAYS, TOO_BIG, bytes, closing, frame, long64, short16, times } from '../build.mjs';

const EVENT = '42["x","é😀"]';
const TEXT = 0x81;
const CLOSE = 0x88;
const event = Buffer.from(EVENT);
/** An event in pieces of these sizes, the rest in the last one; `between` stands between all of them. */
function pieces(sizes, between = '') {
  const cuts = sizes.map((_, index) => sizes.slice(0, index + 1).reduce((sum, size) => sum + size));
  const parts = [0, ...cuts].map((start, index) => event.subarray(start, cuts[index] ?? event.length));
  return bytes(...parts.map((part, index) => {
    const first = (index === 0 ? 1 : 0) | (index === parts.length - 1 ? 0x80 : 0);
    return bytes(frame(first, part), index < parts.length - 1 ? between : '');
  }));
}
const long = (length) => `42["x","${times(length - 10, 'a')}"]`;

const reserved = [
  ['text-rsv1', 0xc1], ['text-rsv2', 0xa1], ['text-rsv3', 0x91], ['text-all-rsv', 0xf1], ['binary-rsv1', 0xc2], ['binary-rsv3', 0x92],
  ['ping-rsv1', 0xc9], ['ping-rsv2', 0xa9], ['pong-rsv3', 0x9a], ['close-rsv1', 0xc8], ['close-rsv2', 0xa8], ['continuation-rsv1', 0xc0],
].map(([name, first]) => [`${name}.raw`, frame(first, 'a'), PROTOCOL, 'RFC 6455 5.2: reserved bits are 0 unless an extension was agreed']);

const opcodes = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15].flatMap((opcode) => [
  [`opcode-${opcode}.raw`, frame(0x80 | opcode, 'a'), PROTOCOL, 'RFC 6455 5.2: reserved opcode'],
  [`opcode-${opcode}-unfinished.raw`, frame(opcode, 'a'), PROTOCOL, 'RFC 6455 5.2: reserved opcode'],
]);

const control = [
  ['ping-fragmented.raw', frame(0x09, 'a'), PROTOCOL, 'RFC 6455 5.5: control frames are not fragmented'],
  ['pong-fragmented.raw', frame(0x0a, 'a'), PROTOCOL, 'RFC 6455 5.5'],
  ['close-fragmented.raw', frame(0x08, closing(1000)), PROTOCOL, 'RFC 6455 5.5'],
  ['ping-126.raw', frame(0x89, times(126, 'a')), PROTOCOL, 'RFC 6455 5.5: at most 125 bytes'],
  ['pong-126.raw', frame(0x8a, times(126, 'a')), PROTOCOL, 'RFC 6455 5.5'],
  ['close-126.raw', frame(0x88, closing(1000, times(124, 'a'))), PROTOCOL, 'RFC 6455 5.5'],
  ['ping-long-length.raw', frame(0x89, 'hello', { length: short16(5) }), PROTOCOL, 'a control frame has a short length'],
  ['ping-64k.raw', frame(0x89, times(300, 'a'), { length: long64(65536) }), PROTOCOL, 'refused by its header'],
  ['ping-2-63.raw', frame(0x89, '', { length: long64(1n << 63n) }), PROTOCOL, 'refused by its header'],
  ['ping-125.raw', frame(0x89, times(125, 'a')), STAYS, 'the largest ping'],
  ['ping-empty.raw', frame(0x89), STAYS, 'the smallest ping'],
  ['pong-unasked.raw', frame(0x8a, 'unasked'), STAYS, 'RFC 6455 5.5.3: unasked pongs are allowed'],
  ['pings-400.raw', bytes(...Array(400).fill(frame(0x89, 'a'))), STAYS, 'a burst below the limit'],
  ['pings-600.raw', bytes(...Array(600).fill(frame(0x89, 'a'))), FLOOD, 'more than 500 at once'],
  ['pongs-600.raw', bytes(...Array(600).fill(frame(0x8a))), FLOOD, 'more than 500 at once'],
];

const lengths = [
  ['length-2-63.raw', long64(1n << 63n), PROTOCOL, 'RFC 6455 5.2: the most significant bit is 0'],
  ['length-2-64-less-1.raw', long64((1n << 64n) - 1n), PROTOCOL, 'RFC 6455 5.2'],
  ['length-2-63-less-1.raw', long64((1n << 63n) - 1n), TOO_BIG, 'nothing is set aside for what a header announces'],
  ['length-2-62.raw', long64(1n << 62n), TOO_BIG, 'announced only'],
  ['length-2-53.raw', long64(1n << 53n), TOO_BIG, 'beyond what JavaScript counts'],
  ['length-2-32.raw', long64(1n << 32n), TOO_BIG, 'beyond 32 bits'],
  ['length-2-32-and-8.raw', long64((1n << 32n) + 8n), TOO_BIG, 'would be 8 if it were cut to 32 bits'],
  ['length-2-31.raw', long64(1n << 31n), TOO_BIG, 'beyond a signed 32-bit number'],
  ['length-one-more.raw', long64(65537), TOO_BIG, 'refused by its header: max_payload and 1'],
  ['length-16-not-needed.raw', short16(125), PROTOCOL, 'RFC 6455 5.2: the shortest form'],
  ['length-16-of-0.raw', short16(0), PROTOCOL, 'RFC 6455 5.2: the shortest form'],
  ['length-64-not-needed.raw', long64(65535), PROTOCOL, 'RFC 6455 5.2: the shortest form'],
  ['length-64-of-0.raw', long64(0), PROTOCOL, 'RFC 6455 5.2: the shortest form'],
].flatMap(([name, length, expect, why]) => [
  [name, frame(TEXT, 'abcdefgh', { length }), expect, why],
  [`binary-${name}`, frame(0x82, 'abcdefgh', { length }), expect, why],
]);

const sizes = [
  ['message-of-the-limit.raw', frame(TEXT, long(65536)), STAYS, 'exactly max_payload'],
  ['message-beyond-the-limit.raw', frame(TEXT, long(65537)), TOO_BIG, 'one byte more'],
  ['fragments-beyond-the-limit.raw', bytes(frame(0x01, times(40000, 'a')), frame(0x80, times(30000, 'a'))), TOO_BIG, 'the limit is on the message'],
  ['fragments-announced-beyond.raw', bytes(frame(0x01, 'a'), frame(0x80, 'b', { length: long64(65536) })), TOO_BIG, 'the sum is refused by a header'],
];

const masks = ['continuation', 'text', 'binary'].map((name, opcode) => [`unmasked-${name}.raw`, frame(0x80 | opcode, 'a', { mask: false }), PROTOCOL, 'RFC 6455 5.1: a client masks']);
masks.push(
  ['unmasked-ping.raw', frame(0x89, 'a', { mask: false }), PROTOCOL, 'RFC 6455 5.1'],
  ['unmasked-pong.raw', frame(0x8a, '', { mask: false }), PROTOCOL, 'RFC 6455 5.1'],
  ['unmasked-close.raw', frame(CLOSE, closing(1000), { mask: false }), PROTOCOL, 'RFC 6455 5.1'],
  ['mask-of-zeros.raw', bytes([TEXT, 0x80 | event.length, 0, 0, 0, 0], event), STAYS, 'weak, but a mask'],
);

const fragments = [
  ['continuation-first.raw', frame(0x80, 'a'), PROTOCOL, 'RFC 6455 5.4: nothing to continue'],
  ['continuation-first-unfinished.raw', frame(0x00, 'a'), PROTOCOL, 'RFC 6455 5.4'],
  ['continuation-after-the-last.raw', bytes(pieces([3]), frame(0x80, 'a')), PROTOCOL, 'RFC 6455 5.4'],
  ['continuation-after-a-whole.raw', bytes(frame(TEXT, EVENT), frame(0x00, 'a')), PROTOCOL, 'RFC 6455 5.4'],
  ['text-in-text.raw', bytes(frame(0x01, '42'), frame(TEXT, EVENT)), PROTOCOL, 'RFC 6455 5.4: fragments of two messages do not mix'],
  ['binary-in-text.raw', bytes(frame(0x01, '42'), frame(0x82, 'a')), PROTOCOL, 'RFC 6455 5.4'],
  ['text-in-binary.raw', bytes(frame(0x02, '42'), frame(0x01, 'a')), PROTOCOL, 'RFC 6455 5.4'],
  ['two-pieces.raw', pieces([4]), STAYS, 'a message in two fragments'],
  ['empty-first-and-last.raw', pieces([0, event.length]), STAYS, 'empty fragments are allowed'],
  ['ping-between.raw', pieces([4, 3], frame(0x89, 'p')), STAYS, 'RFC 6455 5.4: control frames may stand between'],
  ['pong-between.raw', pieces([4, 3], frame(0x8a, 'p')), STAYS, 'RFC 6455 5.4'],
  ['close-between.raw', pieces([4, 3], frame(CLOSE, closing(1000))), NORMAL, 'the message is never whole'],
  ['one-byte-each.raw', pieces(Array(event.length - 1).fill(1)), STAYS, 'characters may be cut'],
  ['crumbs-600.raw', bytes(frame(0x02, 'a'), ...Array(600).fill(frame(0x00, 'a'))), FLOOD, 'more than 500 crumbs at once'],
  ['crumbs-600-empty.raw', bytes(frame(0x02), ...Array(600).fill(frame(0x00))), FLOOD, 'empty fragments count (ws #2329)'],
  ['crumbs-of-many-messages.raw', bytes(...Array(300).fill(bytes(frame(0x01, '4'), frame(0x80, '2["x"]')))), FLOOD, 'short messages in two pieces each'],
];

const broken = {
  'ff': [0xff], 'fe': [0xfe], 'lone-continuation': [0x80], 'overlong-2': [0xc0, 0xaf], 'overlong-3': [0xe0, 0x80, 0xaf], 'overlong-4': [0xf0, 0x80, 0x80, 0xaf],
  'overlong-nul': [0xc0, 0x80], 'surrogate-high': [0xed, 0xa0, 0x80], 'surrogate-low': [0xed, 0xbf, 0xbf], 'surrogate-pair': [0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80],
  'above-10ffff': [0xf4, 0x90, 0x80, 0x80], 'five-bytes': [0xf8, 0x88, 0x80, 0x80, 0x80], 'cut-2': [0xc3], 'cut-3': [0xe2, 0x82], 'cut-4': [0xf0, 0x9f, 0x98], 'latin-1': [0xe9],
};
const utf8 = Object.entries(broken).flatMap(([name, wrong]) => {
  const text = bytes('42["x","', wrong, '"]');
  return [
    [`utf8-${name}.raw`, frame(TEXT, text), PAYLOAD, 'RFC 6455 8.1: text is UTF-8'],
    [`utf8-${name}-split.raw`, bytes(frame(0x01, text.subarray(0, 9)), frame(0x89), frame(0x80, text.subarray(9))), PAYLOAD, 'also in fragments, a ping between'],
  ];
});
utf8.push(
  ['utf8-cut-at-the-end.raw', frame(TEXT, bytes('42["x"]', 0xc3)), PAYLOAD, 'the last character lacks a byte'],
  ['utf8-split-with-pings.raw', pieces([9, 3], bytes(frame(0x89), frame(0x8a))), STAYS, 'good characters, cut'],
  ['utf8-bom.raw', frame(TEXT, `\ufeff${EVENT}`), PARSE, 'a byte order mark is no packet type'],
);

const closes = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535].map((code) => [`close-${code}.raw`, frame(CLOSE, closing(code)), PROTOCOL, 'RFC 6455 7.4: nobody may send this code']);
closes.push(
  ...[1000, 1001, 1002, 1003, 1007, 1009, 1011, 3000, 3999, 4000, 4999].map((code) => [`close-${code}.raw`, frame(CLOSE, closing(code)), NORMAL, 'a goodbye is answered']),
  ['close-empty.raw', frame(CLOSE), NORMAL, 'a goodbye without a code'],
  ['close-one-byte.raw', frame(CLOSE, 'a'), PROTOCOL, 'RFC 6455 5.5.1: half a code'],
  ['close-long-reason.raw', frame(CLOSE, closing(1000, times(123, 'a'))), NORMAL, 'the longest reason'],
  ['close-bad-reason.raw', frame(CLOSE, closing(1000, [0xff])), PAYLOAD, 'RFC 6455 5.5.1: a reason is UTF-8'],
  ['close-half-a-character.raw', frame(CLOSE, closing(1000, [0xe2, 0x82])), PAYLOAD, 'RFC 6455 5.5.1'],
  ['close-twice.raw', bytes(frame(CLOSE, closing(1000)), frame(CLOSE, closing(1002))), NORMAL, 'nothing counts after a goodbye'],
  ['close-and-go-on.raw', bytes(frame(CLOSE, closing(1000)), frame(TEXT, EVENT), frame(0xff, 'x')), NORMAL, 'nothing counts after a goodbye'],
);

const others = [
  ['text-empty.raw', frame(TEXT), PARSE, 'Engine.IO: a packet has a type'],
  ['binary-unannounced.raw', frame(0x82, 'a'), PARSE, 'Socket.IO: no packet announced it'],
  ['binary-empty.raw', frame(0x82), PARSE, 'Socket.IO: no packet announced it'],
  ['good-then-bad.raw', bytes(frame(TEXT, EVENT), frame(0x83, 'a')), PROTOCOL, 'in one segment'],
  ['http-request.raw', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n', PROTOCOL, 'another protocol'],
  ['tls-hello.raw', bytes([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03], Buffer.alloc(32, 7)), PROTOCOL, 'another protocol'],
  ['http2-preface.raw', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', PROTOCOL, 'another protocol'],
  ['zeros.raw', Buffer.alloc(64), PROTOCOL, 'no frame'],
  ['ones.raw', Buffer.alloc(64, 0xff), PROTOCOL, 'no frame'],
];

export default [reserved, opcodes, control, lengths, sizes, masks, fragments, utf8, closes, others].flat();
