// Names of rooms and events, on a Socket.IO websocket that has joined `/`. `join` joins `room:{data.room}`, `join-any` joins
// `{data.room}`, `say` publishes an event named `{data.event}` to `room:lobby` (see `app.toml`).
import { PARSE, STAYS, times } from '../build.mjs';

const JOINED = 'hears 42["joined",';
const MALFORMED = 'hears 42["error",{"code":400';
const DENIED = 'hears 42["error",{"code":403';
const SAID = 'hears 42["done"';
const call = (event, json) => `42["${event}",${json}]`;
const all = (prefix, event, field, expect, why, cases) => Object.entries(cases).map(([name, json]) => [`${prefix}-${name}.txt`, call(event, json.startsWith('{') ? json : `{"${field}":${json}}`), expect, why]);

const CONTROL = {
  'nul': '"a\\u0000b"', 'cr': '"a\\rb"', 'lf': '"a\\nb"', 'crlf': '"a\\r\\nb"', 'crlf-header': '"a\\r\\nSet-Cookie: a=b"', 'tab': '"a\\tb"', 'escape': '"\\u001b[31m"', 'backspace': '"a\\b"', 'del': '"a\\u007f"', 'next-line': '"a\\u0085b"', 'c1': '"a\\u009bb"',
};
const PLAIN = {
  'hash': '"#"', 'hash-inside': '"a#b"', 'dots': '".."', 'traversal': '"../../etc/passwd"', 'backslashes': '"..\\\\..\\\\x"', 'right-to-left': '"\\u202eabc"', 'right-to-left-raw': '"\u202eabc\u202c"', 'isolate': '"\u2067abc"', 'zero-width': '"a\u200bb"', 'bom': '"\ufeffa"',
  'emoji': '"😀"', 'half-emoji': '"\\ud83d"', 'percent': '"%0d%0a"', 'percent-nul': '"%00"', 'slash': '"/"', 'quote': '"a\\"b"', 'sql': '"1\' OR 1=1 --"', 'html': '"<script>"', 'template': '"{data.room}"', 'template-user': '"{user.id}"', 'shell': '"$(reboot)"', 'cel': '"a\' || true"',
  'proto': '"__proto__"', 'constructor': '"constructor"', 'space': '" "', 'line-separator': '"a\\u2028b"', 'redis': '"socket.io#/#"', 'colon': '"a:b:c"', 'combining': '"\u0301"',
};

export default [
  all('room', 'join', 'room', JOINED, 'odd, but a name', PLAIN),
  all('room', 'join', 'room', MALFORMED, 'a name has no control characters', CONTROL),
  all('room', 'join', 'room', MALFORMED, '* is everybody, and nobody may say so', { 'star': '"*"', 'star-inside': '"a*b"', 'star-escaped': '"\\u002a"', 'stars': '"**"' }),
  all('room', 'join', 'room', MALFORMED, 'a name is text or a number', { 'null': 'null', 'true': 'true', 'object': '[{}]', 'list': '["a","b"]', 'list-of-one': '["a"]', 'missing': '{}', 'no-object': '{"room":{"toString":"x"}}' }),
  all('room', 'join', 'room', JOINED, 'a number as text', { 'number': '7', 'number-float': '7.0', 'number-large': '18446744073709551615', 'number-negative': '-1', 'number-exponent': '1e3' }),
  all('room', 'join', 'room', JOINED, 'up to 200 characters', { '200': `"${times(195, 'a')}"`, '200-emoji': `"${times(195, '😀')}"` }),
  all('room', 'join', 'room', MALFORMED, 'up to 200 characters', { '201': `"${times(196, 'a')}"`, '60000': `"${times(60000, 'a')}"`, '201-han': `"${times(196, '字')}"` }),
  all('room', 'join', 'room', DENIED, 'no rule has a channel `room:`', { 'empty': '""' }),
  all('any', 'join-any', 'room', DENIED, 'a channel of somebody else, or of nobody', { 'user': '"user:somebody"', 'user-prefix': '"user:"', 'user-case': '"USER:1"', 'nobody': '"nobody"', 'session': '"AAAAAAAAAAAAAAAAAAAA"', 'space-before': '" room:a"', 'proto': '"__proto__"', 'hash': '"#"', 'zero-width': '"\u200broom:a"' }),
  all('any', 'join-any', 'room', MALFORMED, 'no channel', { 'empty': '""', 'star': '"*"', 'nul': '"room:\\u0000"', 'list': '["room:a","user:somebody"]' }),
  [['any-list-as-data.txt', '42["join-any",["room:a"]]', MALFORMED, 'no object'], ['any-text-as-data.txt', '42["join-any","room:a"]', MALFORMED, 'no object'], ['any-null-as-data.txt', '42["join-any",null]', MALFORMED, 'no object'], ['any-no-data.txt', '42["join-any"]', MALFORMED, 'no object']],
  all('event', 'say', 'event', SAID, 'odd, but a name', { 'hash': '"#"', 'dots': '".."', 'right-to-left': '"\\u202eabc"', 'proto': '"__proto__"', 'error': '"error"', 'emoji': '"😀"', 'case': '"Connect"' }),
  all('event', 'say', 'event', MALFORMED, 'no event has such a name', {
    ...CONTROL, 'empty': '""', 'star': '"*"', '201': `"${times(201, 'a')}"`, '60000': `"${times(60000, 'a')}"`, 'null': 'null', 'list': '["a"]', 'object': '[{}]', 'missing': '{}',
    'connect': '"connect"', 'connect-error': '"connect_error"', 'disconnect': '"disconnect"', 'disconnecting': '"disconnecting"', 'new-listener': '"newListener"', 'remove-listener': '"removeListener"', 'connect-escaped': '"\\u0063onnect"',
  }),
  Object.entries({ 'crlf': 'a\\r\\nb', 'nul': '\\u0000', 'star': '*', 'hash': '#', 'dots': '..', 'right-to-left': '\\u202eprobe', 'long': times(60000, 'a'), 'probe-with-nul': 'probe\\u0000', 'probe-with-space': 'probe ', 'probe-upper': 'PROBE', 'half-emoji': '\\ud83d', 'template': '{data.n}', 'colon': 'auth:expired' })
    .map(([name, event]) => [`said-${name}.txt`, `42["${event}",{"n":1}]`, STAYS, 'no rule names it']),
  [['said-refresh-without-token.txt', '42["auth:refresh"]', 'hears 42["error",{"code":40', 'refused'], ['said-refresh-null.txt', '42["auth:refresh",null]', 'hears 42["error",{"code":40', 'refused'], ['said-refresh-wrong.txt', '42["auth:refresh",{"token":"a.b.c"}]', 'hears 42["error",{"code":401', 'refused'], ['said-reserved.txt', '42["disconnect",{"n":1}]', PARSE, 'reserved']],
].flat();
