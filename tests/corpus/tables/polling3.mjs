// The body of a POST of Engine.IO 3, in a session that has joined `/`: `.txt` has lengths in UTF-16 units, `.bin` is
// application/octet-stream with lengths in bytes, a digit a byte.
import { bytes, times } from '../build.mjs';

const REFUSED = 'status 400, over';
const TAKEN = 'status 200, stays';
const DIGITS = 'a length has one to nine ASCII digits';
const UNITS = 'a length counts UTF-16 units';
const event = (text) => `42["x","${text}"]`;
const counted = (text, length = text.length) => `${length}:${text}`;
const points = (text) => [...text].length;

const lengths = {
  'none': ':3', 'negative': '-1:3', 'plus': '+1:3', 'fraction': '1.0:3', 'hex': '0x1:3', 'exponent': '1e0:3', 'space-before': ' 1:3', 'space-behind': '1 :3',
  'fullwidth': '１:3', 'arabic': '١:3', 'ten-digits': '0000000001:3', 'twenty-digits': '99999999999999999999:3', 'two-to-the-64-and-1': '18446744073709551617:3',
  'nine-digits': '999999999:3', 'one-too-long': '2:3', 'no-colon': '1', 'no-packet': '1:', 'no-second-colon': '1:33', 'nan': 'NaN:3', 'infinity': 'Infinity:3', 'underscore': '1_0:3',
};
const text = [
  ...Object.entries(lengths).map(([name, body]) => [`length-${name}.txt`, body, REFUSED, DIGITS]),
  ['length-0.txt', '0:', REFUSED, 'an empty packet'],
  ['length-0-then-good.txt', '0:1:3', REFUSED, 'an empty packet'],
  ['length-leading-zeros.txt', '0001:3', TAKEN, 'zeros change nothing'],
  ['empty.txt', '', REFUSED, 'a payload has a packet'],
  ['good.txt', '1:3', TAKEN, 'unasked, but Node ignores it'],
  ['ping.txt', '1:2', TAKEN, 'version 3: the client pings'],
  ['two.txt', '1:31:3', TAKEN, 'two packets'],
  ['good-then-bad.txt', '1:31:9', REFUSED, 'one bad packet refuses all'],
  ['v4.txt', '42["x"]', REFUSED, 'version 4 has no length'],
  ['v4-separator.txt', '42["x"]\x1e42["x"]', REFUSED, 'version 4'],
  ['message-without-payload.txt', '2:42', REFUSED, 'an event has a name'],
  ['packets-1025.txt', times(1025, '1:6'), REFUSED, 'at most 1,024 packets'],
  ['noops-600.txt', times(600, '1:6'), REFUSED, 'more than 500 packets that say nothing'],
  ...[['accent', 'é'], ['emoji', '😀'], ['family', '👩‍👩‍👧'], ['combining', 'é'], ['right-to-left', '\u202eabc'], ['han', '订阅成功'], ['flag', '🇺🇳']].flatMap(([name, letters]) => [
    [`utf16-${name}.txt`, counted(event(letters)), TAKEN, UNITS],
    [`utf16-${name}-in-bytes.txt`, counted(event(letters), Buffer.byteLength(event(letters))), REFUSED, `${UNITS}, not bytes`],
  ]),
  ...[['emoji', '😀'], ['family', '👩‍👩‍👧'], ['flag', '🇺🇳']].map(([name, letters]) => [`utf16-${name}-in-characters.txt`, counted(event(letters), points(event(letters))), REFUSED, `${UNITS}, not characters`]),
  ['utf16-half-a-pair.txt', '2:4😀', REFUSED, 'a length that cuts a pair'],
  ['utf16-half-a-pair-first.txt', '1:😀', REFUSED, 'a length that cuts a pair'],
  ['base64.txt', `${counted('451-["x",{"_placeholder":true,"num":0}]')}6:b4AQID`, TAKEN, 'an attachment as base64'],
  ['base64-unannounced.txt', '6:b4AQID', REFUSED, 'no packet announced it'],
  ['base64-empty.txt', '2:b4', REFUSED, 'no packet announced it'],
  ['base64-v4.txt', '5:bAQID', REFUSED, 'version 3 writes b4'],
  ['base64-bare.txt', '1:b', REFUSED, 'version 3 writes b4'],
  ['base64-wrong.txt', '6:b4!!!!', REFUSED, 'not base64'],
  ['utf8-ff.txt', bytes('8:42["', 0xff, '"]'), REFUSED, 'a body is UTF-8'],
  ['beyond-the-limit.txt', counted(event(times(65530, 'a'))), 'status 413, stays', 'max_payload'],
];

const octets = {
  'marker-2': [2, 1, 255, 0x33], 'marker-digit': [0x30, 1, 255, 0x33], 'no-end-of-length': [0, 1, 0x33], 'length-missing': [0, 255, 0x33], 'length-0': [0, 0, 255],
  'length-digit-10': [0, 10, 255, 0x33], 'length-ascii': [0, 0x31, 255, 0x33], 'length-one-too-long': [0, 2, 255, 0x33], 'length-nine-digits': [0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 255, 0x33],
  'length-ten-digits': [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 255, 0x33], 'length-long': [0, ...Array(300).fill(9), 255], 'only-marker': [0], 'only-ff': [255], 'cut': [0, 1, 255],
  'text-type-9': [0, 1, 255, 0x39], 'text-utf8': [0, 3, 255, 0x34, 0xff, 0xff], 'binary-empty': [1, 0, 255], 'binary-type-3': [1, 1, 255, 3], 'binary-type-digit': [1, 2, 255, 0x34, 1],
  'binary-unannounced': [1, 2, 255, 4, 1], 'good-then-marker-2': [0, 1, 255, 0x33, 2], 'good-then-cut': [0, 1, 255, 0x33, 0, 5, 255, 0x34],
};
const header = '451-["x",{"_placeholder":true,"num":0}]';
const binary = [
  ...Object.entries(octets).map(([name, body]) => [`octets-${name}.bin`, bytes(body), REFUSED, 'a marker, digits as bytes, 255, the packet']),
  ['octets-empty.bin', '', REFUSED, 'a payload has a packet'],
  ['octets-good.bin', bytes([0, 1, 255, 0x33]), TAKEN, 'a text packet'],
  ['octets-event.bin', bytes([0, 3, 9, 255], header, [1, 4, 255, 4, 1, 2, 3]), TAKEN, 'a text packet and its attachment'],
  ['octets-in-utf16.bin', bytes([0, 1, 0, 255], '42["x","é"]'), REFUSED, 'here a length counts bytes'],
  ['octets-packets-1025.bin', bytes(...Array(1025).fill([0, 1, 255, 0x36])), REFUSED, 'at most 1,024 packets'],
];

export default [...text, ...binary];
