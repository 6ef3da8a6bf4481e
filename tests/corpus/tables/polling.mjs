// The body of a POST of Engine.IO 4, in a session that has joined `/`: `.txt` as text, `.bin` as application/octet-stream.
import { bytes, times } from '../build.mjs';

const REFUSED = 'status 400, over';
const TAKEN = 'status 200, stays';
const GOODBYE = 'status 200, over';
const S = '\x1e';

export default [
  ['empty.txt', '', REFUSED, 'a payload has a packet'],
  ['separator.txt', S, REFUSED, 'two empty packets'],
  ['separators.txt', times(1000, S), REFUSED, 'empty packets'],
  ['separator-first.txt', `${S}42["x"]`, REFUSED, 'an empty packet'],
  ['separator-last.txt', `42["x"]${S}`, REFUSED, 'an empty packet'],
  ['separator-twice.txt', `42["x"]${S}${S}42["x"]`, REFUSED, 'an empty packet'],
  ['letters.txt', 'abc', REFUSED, 'no such type'],
  ['good-then-bad.txt', `42["x"]${S}abc`, REFUSED, 'one bad packet refuses all'],
  ['ping.txt', '2', REFUSED, 'version 4: the server pings'],
  ['close.txt', '1', GOODBYE, 'a goodbye'],
  ['close-then-more.txt', `1${S}42["x"]`, GOODBYE, 'nothing counts after a goodbye'],
  ['pong.txt', '3', TAKEN, 'unasked'],
  ['open.txt', '0{}', TAKEN, 'Node ignores it'],
  ['upgrade.txt', '5', TAKEN, 'only a probe upgrades'],
  ['noop.txt', '6', TAKEN, 'says nothing'],
  ['noops-400.txt', Array(400).fill('6').join(S), TAKEN, 'a burst below the limit'],
  ['noops-600.txt', Array(600).fill('6').join(S), REFUSED, 'more than 500 packets that say nothing'],
  ['packets-1025.txt', Array(1025).fill('6').join(S), REFUSED, 'at most 1,024 packets'],
  ['packets-60000.txt', Array(30000).fill('6').join(S), REFUSED, 'at most 1,024 packets'],
  ['event.txt', '42["x"]', TAKEN, 'an ordinary event'],
  ['event-cut.txt', '42["x"', REFUSED, 'not JSON'],
  ['binary-event.txt', `451-["x",{"_placeholder":true,"num":0}]${S}bAQID`, TAKEN, 'an attachment as base64'],
  ['base64-unpadded.txt', `451-["x",{"_placeholder":true,"num":0}]${S}bAQI`, TAKEN, 'padding is optional, as in Node'],
  ['base64-wrong.txt', `451-["x",{"_placeholder":true,"num":0}]${S}b!!!!`, REFUSED, 'not base64'],
  ['base64-url.txt', `451-["x",{"_placeholder":true,"num":0}]${S}b_-_-`, REFUSED, 'not the standard alphabet'],
  ['base64-unannounced.txt', 'bAQID', REFUSED, 'no packet announced it'],
  ['base64-empty.txt', 'b', REFUSED, 'no packet announced it'],
  ['text-for-an-attachment.txt', `451-["x",{"_placeholder":true,"num":0}]${S}42["x"]`, REFUSED, 'an attachment is due'],
  ['v3-length.txt', '4:42["', REFUSED, 'version 3: the packet is `:42["`'],
  ['jsonp.txt', 'd=42["x"]', REFUSED, 'JSONP is not spoken'],
  ['json.txt', '{"type":2}', REFUSED, 'no such type'],
  ['utf8-ff.txt', bytes('42["x","', 0xff, '"]'), REFUSED, 'a body is UTF-8'],
  ['utf8-cut.txt', bytes('42["x","', 0xc3), REFUSED, 'a body is UTF-8'],
  ['utf8-overlong.txt', bytes('42["x","', [0xc0, 0xaf], '"]'), REFUSED, 'a body is UTF-8'],
  ['utf8-surrogate.txt', bytes('42["x","', [0xed, 0xa0, 0x80], '"]'), REFUSED, 'a body is UTF-8'],
  ['utf16.txt', Buffer.from('\ufeff42["x"]', 'utf16le'), REFUSED, 'a body is UTF-8'],
  ['nul.txt', '\0', REFUSED, 'no such type'],
  ['octets.bin', '42["x"]', REFUSED, 'version 4 has no binary payload'],
  ['octets-v3.bin', bytes([0, 7, 255], '42["x"]'), REFUSED, 'version 4 has no binary payload'],
  ['gzip.txt', bytes([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], Buffer.alloc(20)), REFUSED, 'a body is not inflated'],
  ['of-the-limit.txt', `42["x","${times(65526, 'a')}"]`, TAKEN, 'exactly max_payload'],
  ['beyond-the-limit.txt', `42["x","${times(65527, 'a')}"]`, 'status 413, stays', 'one byte more'],
];
