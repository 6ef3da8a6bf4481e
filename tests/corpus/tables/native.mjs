// A plain WebSocket: one message (`.txt`, `.bin`) or raw frames (`.raw`). What cannot be understood is counted and the
// connection stays; `max_message` is 64 KiB.
import { FLOOD, NORMAL, PAYLOAD, PROTOCOL, STAYS, TOO_BIG, bytes, frame, times } from '../build.mjs';

const all = (prefix, expect, why, cases) => Object.entries(cases).map(([name, text]) => [`${prefix}-${name}.txt`, text, expect, why]);

export default [
  all('text', STAYS, 'not an object: counted', {
    'empty': '', 'space': ' ', 'null': 'null', 'true': 'true', 'number': '1', 'text': '"probe"', 'list': '[]', 'list-of-frames': '[{"type":"probe","n":1}]', 'cut': '{', 'cut-value': '{"type":', 'behind': '{"type":"x"} y', 'two': '{"type":"x"}{"type":"y"}',
    'engine': '42["probe",{"n":1}]', 'ping': '2', 'bom': '\ufeff{"type":"x"}', 'nul': '{"type":"x"}\0', 'comment': '{"type":"x"/**/}', 'single-quotes': "{'type':'x'}", 'comma-last': '{"type":"x",}', 'html': '<script>alert(1)</script>',
    'deep-lists': times(10000, '['), 'deep-objects': `${times(5000, '{"type":')}1${times(5000, '}')}`, 'deep-within': `{"type":"x","a":${times(10000, '[')}${times(10000, ']')}}`, 'number-huge': '{"type":"x","a":1e999}', 'digits-60000': `{"type":"x","a":${times(60000, '9')}}`,
  }),
  all('type', STAYS, 'no type: counted', { 'none': '{}', 'null': '{"type":null}', 'number': '{"type":1}', 'true': '{"type":true}', 'list': '{"type":["probe"]}', 'object': '{"type":{"toString":"probe"}}', 'case': '{"Type":"probe"}', 'proto': '{"__proto__":{"type":"probe"}}' }),
  all('type', STAYS, 'no rule names it: counted', {
    'unknown': '{"type":"nope"}', 'empty': '{"type":""}', 'nul': '{"type":"probe\\u0000"}', 'crlf': '{"type":"a\\r\\nb"}', 'star': '{"type":"*"}', 'hash': '{"type":"#"}', 'dots': '{"type":".."}', 'right-to-left': '{"type":"\\u202eprobe"}', 'long': `{"type":"${times(60000, 'a')}"}`,
    'to-string': '{"type":"toString"}', 'is-proto': '{"type":"__proto__"}', 'reserved': '{"type":"disconnect"}', 'half-emoji': '{"type":"\\ud83d"}', 'twice': '{"type":"probe","n":1,"type":"nope"}',
  }),
  ['type-twice-last-counts.txt', '{"type":"nope","type":"probe","n":5}', 'hears {"type":"alive","data":5}', 'as JavaScript reads it'],
  ['type-escaped.txt', '{"\\u0074ype":"\\u0070robe","n":5}', 'hears {"type":"alive","data":5}', 'an escape changes nothing'],
  ['join-nul.txt', '{"type":"join","room":"a\\u0000"}', 'hears {"type":"error","data":{"code":400', 'a name has no control characters'],
  ['join-star.txt', '{"type":"join","room":"*"}', 'hears {"type":"error","data":{"code":400', '* is everybody'],
  ['join-somebody.txt', '{"type":"join-any","room":"user:somebody"}', 'hears {"type":"error","data":{"code":403', 'somebody else’s'],
  ['refresh-wrong.txt', '{"type":"auth:refresh","token":"a.b.c"}', 'hears {"type":"error","data":{"code":401', 'refused'],
  ['key-proto.txt', '{"type":"probe","__proto__":{"n":1}}', 'hears {"type":"error","data":{"code":400', 'nothing is inherited'],
  ['binary.bin', '{"type":"probe","n":1}', STAYS, 'binary is not spoken: counted'],
  ['binary-empty.bin', '', STAYS, 'binary is not spoken: counted'],
  ['too-long.txt', times(65537, 'a'), TOO_BIG, 'one byte beyond max_message'],
  ['utf8.raw', frame(0x81, bytes('{"type":"', 0xff, '"}')), PAYLOAD, 'text is UTF-8'],
  ['reserved-bit.raw', frame(0xc1, '{}'), PROTOCOL, 'no extension was agreed'],
  ['unmasked.raw', frame(0x81, '{}', { mask: false }), PROTOCOL, 'a client masks'],
  ['close.raw', frame(0x88), NORMAL, 'a goodbye'],
  ['empties-400.raw', bytes(...Array(400).fill(frame(0x81))), STAYS, 'a burst below the limit'],
  ['empties-600.raw', bytes(...Array(600).fill(frame(0x81))), FLOOD, 'more than 500 messages that nobody understands'],
  ['binaries-600.raw', bytes(...Array(600).fill(frame(0x82, 'a'))), FLOOD, 'more than 500 messages that nobody understands'],
  ['pongs-600.raw', bytes(...Array(600).fill(frame(0x8a))), FLOOD, 'more than 500 pongs'],
].flatMap((entry) => (Array.isArray(entry[0]) ? entry : [entry]));
