// Messages of Socket.IO on a websocket that has joined `/`, parted by 0x1e; one that begins with `b` is binary, in base64.
import { ATTACHED, PARSE, STATE, STAYS, times } from '../build.mjs';

const S = '\x1e';
const ONE = '{"_placeholder":true,"num":0}';
const BYTES = `${S}bAQID`;
const announced = (placeholder) => `451-["x",${placeholder}]${BYTES}`;
/** A table of name → text, all with the same outcome. */
const all = (prefix, expect, why, cases) => Object.entries(cases).map(([name, text]) => [`${prefix}-${name}.txt`, text, expect, why]);

export default [
  all('type', PARSE, 'a type from 0 to 6', { seven: '47', nine: '49', letter: '4a', minus: '4-1', space: '4 2["x"]', nul: '4\x002["x"]', fullwidth: '4２["x"]', emoji: '4😀', none: '4' }),
  all('attachments', PARSE, 'a whole number of attachments and a dash', {
    'no-number': '45["x"]', 'only-dash': '45-["x"]', 'no-dash': '451["x"]', 'fraction': '451.5-["x"]', 'plus': '45+1-["x"]', 'minus': '45-1-["x"]', 'letter': '45a-["x"]', 'space': '45 1-["x"]',
    'hex': '450x1-["x"]', 'exponent': '451e0-["x"]', 'nan': '45NaN-["x"]', 'infinity': '45Infinity-["x"]', 'fullwidth': '45１-["x"]', 'ack-no-number': '460[]', 'ack-fraction': '461.5-0[]',
  }),
  all('attachments', ATTACHED, 'at most 10 attachments (CVE-2026-33151)', {
    '11': '4511-["x"]', '100': '45100-["x"]', '1000000': '451000000-["x"]', '2-32': '454294967296-["x"]', '2-64-less-1': '4518446744073709551615-["x"]', 'ack-11': '4611-0[]',
  }),
  all('attachments', PARSE, 'no number of attachments (CVE-2026-33151)', {
    '2-64': '4518446744073709551616-["x"]', 'digits-1000': `45${times(1000, '9')}-["x"]`, 'digits-60000': `45${times(60000, '9')}-["x"]`,
  }),
  all('attachments', STAYS, 'as announced', {
    '0': '450-["x"]', 'ack-0': '460-0[]', '1': announced(ONE), 'leading-zero': `4501-["x",${ONE}]${BYTES}`, 'not-referred-to': `451-["x"]${BYTES}`,
    '10': `4510-["x"]${times(10, BYTES)}`, 'empty-bytes': `451-["x",${ONE}]${S}b`, 'ack': `461-0[${ONE}]${BYTES}`,
    'nested': `452-["x",{"a":[${ONE},{"b":{"_placeholder":true,"num":1}}]}]${times(2, BYTES)}`, 'placeholder-false': announced('{"_placeholder":false,"num":7}'), 'placeholder-text': announced('{"_placeholder":"true","num":7}'),
    'placeholder-without-attachments': `42["x",${ONE}]`,
  }),
  all('attachments', PARSE, 'binaries follow their packet at once', {
    'text-instead': `451-["x",${ONE}]${S}42["x"]`, 'another-instead': `451-["x",${ONE}]${S}451-["x",${ONE}]`, 'connect-instead': `451-["x",${ONE}]${S}40/other,`, 'unannounced': 'bAQID',
    'one-too-many': `${announced(ONE)}${BYTES}`, 'after-0': `450-["x"]${BYTES}`, 'payload-object': `451-{"a":${ONE}}`, 'payload-none': '451-', 'payload-empty': '451-[]',
  }),
  all('placeholder', PARSE, 'a placeholder names one of its own attachments (CVE-2022-2421)', {
    'beyond': announced('{"_placeholder":true,"num":1}'), 'negative': announced('{"_placeholder":true,"num":-1}'), 'text': announced('{"_placeholder":true,"num":"0"}'), 'method': announced('{"_placeholder":true,"num":"splice"}'),
    'constructor': announced('{"_placeholder":true,"num":"constructor"}'), 'length': announced('{"_placeholder":true,"num":"length"}'), 'proto': announced('{"_placeholder":true,"num":"__proto__"}'),
    'fraction': announced('{"_placeholder":true,"num":0.5}'), 'exponent': announced('{"_placeholder":true,"num":0e0}'), 'null': announced('{"_placeholder":true,"num":null}'), 'true': announced('{"_placeholder":true,"num":true}'),
    'list': announced('{"_placeholder":true,"num":[0]}'), 'object': announced('{"_placeholder":true,"num":{}}'), 'missing': announced('{"_placeholder":true}'), 'huge': announced('{"_placeholder":true,"num":18446744073709551615}'),
    'huger': announced('{"_placeholder":true,"num":1e300}'), 'twice': `451-["x",${ONE},${ONE}]${BYTES}`, 'num-twice': announced('{"_placeholder":true,"num":0,"num":5}'),
    'within-itself': announced(`{"_placeholder":true,"num":5,"a":${ONE}}`), 'as-the-name': `451-[${ONE}]${BYTES}`, 'ack': `461-0[{"_placeholder":true,"num":3}]${BYTES}`,
  }),
  all('namespace', 'hears 44', 'Invalid namespace', {
    'unknown': '40/nope,', 'no-comma': '40/nope', 'slashes': '40//,', 'dots': '40/../,', 'percent': '40/%2e%2e,', 'space': '40/a b,', 'nul': '40/\0,', 'crlf': '40/a\r\nb,', 'hash': '40/#,', 'star': '40/*,',
    'right-to-left': '40/\u202eabc,', 'query': '40/?a=1,', 'proto': '40/__proto__,', 'constructor': '40/constructor,', 'upper': '40/OTHER,', 'slash-behind': '40/other/,', 'emoji': '40/😀,', 'long': `40/${times(60000, 'a')},`,
    'json': '40/{"token":1},', 'quote': '40/"},', 'no-token': '40/other,',
  }),
  all('namespace', STATE, 'only members speak in a namespace', {
    'event': '42/nope,["x"]', 'event-other': '42/other,["x"]', 'ack': '43/nope,0[]', 'disconnect': '41/nope,', 'disconnect-other': '41/other', 'binary': `451-/nope,["x",${ONE}]`, 'event-upper': '42/Other,["x"]',
    'connect-twice': '40', 'connect-twice-with-object': '40{"token":"x"}', 'connect-error': '44{"message":"x"}', 'connect-error-text': '44"x"', 'connect-error-other': '44/nope,{"message":"x"}', 'event-slash': '42//,["x"]',
  }),
  all('namespace', PARSE, 'a namespace begins with a slash', { 'no-slash': '40nope,', 'no-slash-event': '42nope,["x"]', 'full-width-slash': '40／nope,', 'never-ends': '42/nope["x"]' }),
  all('payload', PARSE, 'CONNECT and its answers carry an object, DISCONNECT nothing', {
    'connect-list': '40[]', 'connect-text': '40"x"', 'connect-null': '40null', 'connect-true': '40true', 'connect-cut': '40{"token":', 'connect-two': '40{}{}', 'connect-other-list': '40/other,[]',
    'disconnect-object': '41{"a":1}', 'disconnect-list': '41[]', 'disconnect-text': '41"x"', 'error-none': '44', 'error-list': '44[]', 'error-number': '44/nope,5',
  }),
  all('event', PARSE, 'an event is a list that begins with its name', {
    'nothing': '42', 'object': '42{}', 'empty': '42[]', 'text': '42"x"', 'null': '42null', 'cut': '42["x"', 'cut-text': '42["x', 'comma': '42["x",]', 'comma-first': '42[,"x"]', 'bracket': '42["x"]]', 'two': '42["x"]["y"]',
    'two-parted': '42["x"] ["y"]', 'single-quotes': "42['x']", 'bare': '42[x]', 'name-null': '42[null]', 'name-true': '42[true]', 'name-object': '42[{}]', 'name-list': '42[[]]', 'name-to-string': '42[{"toString":"foo"}]',
    'garbage-behind': '42["x"]garbage', 'garbage-before': '42garbage["x"]', 'nul-behind': '42["x"]\0', 'comment': '42["x"/**/]',
  }),
  all('event', STAYS, 'an event that no rule names', {
    'number': '42[5,1]', 'negative': '42[-1.5]', 'spaces': '42 [ "x" , 1 ] ', 'none': '42["x"]', 'many': `42["x"${times(10000, ',1')}]`, 'empty-name': '42[""]', 'error': '42["error"]', 'error-object': '42["error",{"stack":"x"}]',
  }),
  all('reserved', PARSE, 'a name that belongs to Socket.IO', {
    ...Object.fromEntries(['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener'].flatMap((name) => [[name, `42["${name}"]`], [`${name}-binary`, `450-["${name}"]`]])),
    'escaped': '42["conn\\u0065ct"]', 'escaped-upper': '42["\\u0064isconnect"]', 'with-data': '42["disconnect","transport close"]',
  }),
  all('reserved', STAYS, 'nearly, but another name', { 'case': '42["Connect"]', 'space': '42["connect "]', 'nul': '42["connect\\u0000"]', 'proto': '42["__proto__"]', 'constructor': '42["constructor"]', 'prototype': '42["prototype"]', 'to-string': '42["toString"]', 'value-of': '42["valueOf"]', 'own': '42["hasOwnProperty"]' }),
  all('ack', STAYS, 'whatever the id, no rule answers', { '0': '420["x"]', '2-53': '429007199254740993["x"]', '2-64-less-1': '4218446744073709551615["x"]', 'zeros': '42000["x"]', 'unknown': '430[]', 'unknown-large': '4318446744073709551615["x"]' }),
  all('ack', PARSE, 'an id is a number below 2^64, and an answer has one', {
    '2-64': '4218446744073709551616["x"]', 'digits-1000': `42${times(1000, '1')}["x"]`, 'digits-60000': `42${times(60000, '1')}["x"]`, 'negative': '42-1["x"]', 'plus': '42+1["x"]', 'fraction': '421.5["x"]', 'exponent': '421e3["x"]',
    'fullwidth': '42１["x"]', 'space-behind': '42 1["x"]', 'answer-none': '43["x"]', 'answer-no-list': '430', 'answer-object': '430{}', 'answer-cut': '430[', 'answer-2-64': '4318446744073709551616[]', 'connect-with-id': '405null', 'disconnect-with-payload': '411[1]',
  }),
].flat();
