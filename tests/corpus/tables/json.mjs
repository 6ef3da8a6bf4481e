// What JSON can be made of: an event's data on a Socket.IO websocket that has joined `/`.
import { DEEP, PARSE, STAYS, times } from '../build.mjs';

const data = (json) => `42["x",${json}]`;
const nested = (depth, open, inner, close) => times(depth, open) + inner + times(depth, close);
const all = (prefix, expect, why, cases) => Object.entries(cases).map(([name, json]) => [`${prefix}-${name}.txt`, data(json), expect, why]);

export default [
  all('deep', STAYS, 'within 127 levels', { 'lists-100': nested(100, '[', '', ']'), 'objects-100': nested(100, '{"a":', '1', '}'), 'lists-126': nested(126, '[', '', ']') }),
  all('deep', DEEP, 'at most 127 levels', {
    'lists-128': nested(128, '[', '', ']'), 'objects-128': nested(128, '{"a":', '1', '}'), 'lists-10000': nested(10000, '[', '', ']'), 'objects-10000': nested(10000, '{"a":', '1', '}'), 'mixed-10000': nested(5000, '[{"a":', '1', '}]'),
    'lists-10000-open': times(10000, '['), 'objects-10000-open': times(10000, '{"a":'), 'lists-30000-empty': nested(30000, '[', '', ']'),
  }),
  all('deep', PARSE, 'closes what was not opened', { 'closed-10000': times(10000, ']') }),
  all('number', STAYS, 'a number', {
    'zero-minus': '-0', '1e308': '1e308', 'tiny': '1e-400', 'digits-300': times(300, '9'), '2-53': '9007199254740993', '2-64': '18446744073709551616', 'fraction-long': `0.${times(10000, '3')}`, 'exponent-plus': '1E+5', 'zero-exponent': '0e99999',
  }),
  all('number', PARSE, 'no number', {
    '1e309': '1e309', '1e309-minus': '-1e309', 'exponent-huge': '1e99999999999', 'digits-1000': times(1000, '9'), 'digits-60000': times(60000, '9'), 'leading-zero': '01', 'plus': '+1', 'dot-first': '.5', 'dot-last': '5.', 'hex': '0x10', 'underscore': '1_000',
    'minus-minus': '--1', 'minus': '-', 'exponent-none': '1e', 'nan': 'NaN', 'infinity': 'Infinity', 'infinity-minus': '-Infinity', 'big': '1n', 'octal': '0o7', 'comma': '1,000', 'arabic': '١', 'fullwidth': '１',
  }),
  all('key', STAYS, 'an ordinary key', {
    'proto': '{"__proto__":{"admin":true}}', 'constructor': '{"constructor":{"prototype":{"admin":true}}}', 'prototype': '{"prototype":1}', 'to-json': '{"toJSON":1,"toString":2,"valueOf":3}', 'twice': '{"a":1,"a":2}', 'twice-escaped': '{"a":1,"\\u0061":2}',
    'empty': '{"":1}', 'nul': '{"\\u0000":1}', 'long': `{"${times(60000, 'a')}":1}`, 'many': `{${Array.from({ length: 5000 }, (_, index) => `"${index}":1`).join(',')}}`, 'same-5000': `{${Array(5000).fill('"a":1').join(',')}}`, 'right-to-left': '{"\u202ea":1}', 'half-emoji': '{"\\ud83d":1}',
  }),
  all('key', PARSE, 'no key', { 'number': '{1:1}', 'bare': '{a:1}', 'single-quotes': "{'a':1}", 'none': '{:1}', 'no-value': '{"a"}', 'no-colon': '{"a" 1}', 'comma-last': '{"a":1,}', 'comma-first': '{,"a":1}', 'semicolon': '{"a":1;"b":2}', 'list': '{[]:1}', 'null': '{null:1}' }),
  ['key-twice-last-counts.txt', '42["probe",{"n":1,"n":2}]', 'hears 42["alive",2]', 'as JavaScript reads it'],
  ['key-twice-escaped-last-counts.txt', '42["probe",{"n":1,"\\u006e":2}]', 'hears 42["alive",2]', 'an escape changes nothing'],
  ['key-proto-is-no-parent.txt', '42["probe",{"__proto__":{"n":7}}]', 'hears 42["error",{"code":400', 'nothing is inherited'],
  ['key-proto-number.txt', '42["probe",{"constructor":{"n":7}}]', 'hears 42["error",{"code":400', 'nothing is inherited'],
  all('text', STAYS, 'text', {
    'half-emoji-high': '"\\ud83d"', 'half-emoji-low': '"\\ude00"', 'halves-swapped': '"\\ude00\\ud83d"', 'nul': '"a\\u0000b"', 'del': '"\x7f"', 'line-separator': '"\u2028\u2029"', 'bom': '"\ufeff"', 'right-to-left': '"\u202e"', 'zalgo': `"a${times(1000, '\u0301')}"`, 'html': '"<script>alert(1)</script>"',
    'backslashes': `"${times(10000, '\\\\')}"`, 'escapes': `"${times(5000, '\\u0041')}"`, 'noncharacter': '"\uffff"', 'private': '"\u{10ffff}"', 'long': `"${times(65000, 'a')}"`,
  }),
  all('text', PARSE, 'no text', {
    'raw-newline': '"a\nb"', 'raw-nul': '"a\0b"', 'raw-tab': '"a\tb"', 'raw-return': '"a\rb"', 'raw-escape': '"\x1f"', 'escape-x': '"\\x41"', 'escape-short': '"\\u12"', 'escape-cut': '"\\u"', 'escape-braces': '"\\u{41}"', 'escape-digit': '"\\0"', 'escape-single': '"\\\'"', 'cut': '"a', 'backslash-last': '"a\\', 'single-quotes': "'a'",
  }),
  all('list', STAYS, 'a list', { 'wide': `[${Array(20000).fill('0').join(',')}]`, 'empty-lists': `[${Array(10000).fill('[]').join(',')}]`, 'spaces': `[${times(50000, ' ')}]` }),
  all('syntax', PARSE, 'not JSON', { 'undefined': 'undefined', 'comment': '1/*x*/', 'comment-line': '1//x', 'comma-last': '[1,]', 'comma-twice': '[1,,2]', 'form-feed': '[\f1]', 'nbsp': '[\u00a01]', 'vertical-tab': '[\v1]', 'upper-true': 'TRUE', 'date': 'new Date()', 'crossed': '[{]}', 'nothing': '' }),
].flatMap((entry) => (Array.isArray(entry[0]) ? entry : [entry]));
