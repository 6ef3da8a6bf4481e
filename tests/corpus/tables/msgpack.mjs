// One binary message on a websocket that has joined `/` with the msgpack parser.
import { ATTACHED, DEEP, PARSE, STATE, STAYS, bytes } from '../build.mjs';

const text = (value) => bytes(0xa0 | Buffer.byteLength(value), value);
const map = (...entries) => bytes(0x80 | (entries.length / 2), ...entries);
const list = (...items) => bytes(0x90 | items.length, ...items);
const [TYPE, NSP, DATA, ID] = ['type', 'nsp', 'data', 'id'].map(text);
const packet = (type, data, nsp = text('/')) => map(TYPE, type, DATA, data, NSP, nsp);
const event = (...items) => packet(2, list(...items));
const X = text('x');
const deep = (depth) => bytes(Buffer.alloc(depth, 0x91), 0xc0);
const all = (prefix, expect, why, cases) => Object.entries(cases).map(([name, body]) => [`${prefix}-${name}.bin`, bytes(body), expect, why]);

export default [
  all('value', PARSE, 'a packet is one map', {
    'nothing': [], 'nil': [0xc0], 'never-used': [0xc1], 'number': [0x01], 'text': X, 'list': list(2), 'map-empty': [0x80], 'two': bytes(event(X), event(X)), 'behind': bytes(event(X), 0), 'json': '{"type":2}', 'socketio-text': '2["x"]', 'noise': Buffer.alloc(40, 0xff), 'zeros': Buffer.alloc(40),
  }),
  all('announced', PARSE, 'nothing is set aside for what a length announces', {
    'map-2-32': [0xdf, 0xff, 0xff, 0xff, 0xff], 'map-2-16': [0xde, 0xff, 0xff], 'list-2-32': packet(2, [0xdd, 0xff, 0xff, 0xff, 0xff]), 'list-2-16': packet(2, [0xdc, 0xff, 0xff]), 'text-2-32': event(bytes([0xdb, 0xff, 0xff, 0xff, 0xff], 'x')), 'binary-2-32': event(X, [0xc6, 0xff, 0xff, 0xff, 0xff]),
    'extension-2-32': event(X, [0xc9, 0xff, 0xff, 0xff, 0xff, 0]), 'list-within-2-32': event(X, [0xdd, 0x7f, 0xff, 0xff, 0xff, 1]), 'map-within-2-32': event(X, [0xdf, 0x7f, 0xff, 0xff, 0xff, 1]), 'key-2-32': bytes(0x81, [0xdb, 0xff, 0xff, 0xff, 0xff]),
  }),
  all('field', PARSE, 'type, namespace and data are what the protocol says', {
    'no-type': map(NSP, text('/'), DATA, list(X)), 'type-7': packet(7, list(X)), 'type-negative': packet([0xff], list(X)), 'type-text': packet(text('2'), list(X)), 'type-nil': packet([0xc0], list(X)), 'type-float': packet([0xcb, 0x40, 0, 0, 0, 0, 0, 0, 0], list(X)),
    'type-binary-event': packet(5, list(X)), 'no-namespace': map(TYPE, 2, DATA, list(X)), 'namespace-nil': packet(2, list(X), [0xc0]), 'namespace-number': packet(2, list(X), 1), 'namespace-no-slash': packet(2, list(X), text('other')), 'namespace-empty': packet(2, list(X), text('')),
    'namespace-utf8': packet(2, list(X), bytes(0xa2, '/', 0xff)), 'key-number': map(1, 2), 'key-nil': map([0xc0], 2), 'id-negative': map(TYPE, 2, NSP, text('/'), DATA, list(X), ID, [0xff]), 'id-text': map(TYPE, 2, NSP, text('/'), DATA, list(X), ID, X), 'id-float': map(TYPE, 2, NSP, text('/'), DATA, list(X), ID, [0xcb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0]),
  }),
  all('event', PARSE, 'an event is a list that begins with its name', {
    'no-data': map(TYPE, 2, NSP, text('/')), 'nil': packet(2, [0xc0]), 'map': packet(2, map(X, 1)), 'text': packet(2, X), 'empty': packet(2, list()), 'name-nil': event([0xc0]), 'name-true': event([0xc3]), 'name-list': event(list(X)), 'name-map': event(map()), 'name-binary': event([0xc4, 1, 0x78]), 'name-nan': event([0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0]),
    'reserved-connect': event(text('connect')), 'reserved-disconnect': event(text('disconnect')), 'reserved-new-listener': event(text('newListener')), 'ack-without-id': packet(3, list(X)), 'ack-no-list': map(TYPE, 3, NSP, text('/'), DATA, X, ID, 1), 'disconnect-with-data': packet(1, map(X, 1)), 'connect-list': packet(0, list(X), text('/other')), 'error-number': packet(4, 5),
  }),
  all('deep', DEEP, 'at most 127 levels', { '127': event(X, deep(127)), '10000': event(X, deep(10000)), '60000': event(X, deep(60000)), 'maps-10000': event(X, bytes(Buffer.concat(Array(10000).fill(bytes(0x81, X))), 0xc0)) }),
  all('deep', PARSE, 'ends before it is whole', { 'open-10000': bytes(0x83, TYPE, 2, NSP, text('/'), DATA, 0x92, X, Buffer.alloc(10000, 0x91)) }),
  all('attachments', ATTACHED, 'at most 10, each where it stands', { '11': packet(2, bytes(0x9c, X, ...Array(11).fill([0xc4, 1, 7]))), 'in-connect': packet(0, map(X, [0xc4, 1, 7]), text('/other')) }),
  all('attachments', PARSE, 'each where it stands', { 'looks-like-one': event(X, [0xc4, 1, 7], map(text('_placeholder'), [0xc3], text('num'), 0)) }),
  all('cut', PARSE, 'the message ends too early', Object.fromEntries([1, 2, 6, 7, 8, 12, 13, 14, 18, 19].map((length) => [String(length).padStart(2, '0'), event(X).subarray(0, length)]))),
  all('extension', PARSE, 'extensions that nobody sends', { 'type-1': event(X, [0xd4, 1, 0]), 'two-bytes': event(X, [0xd5, 0, 0, 0]), 'four-bytes': event(X, [0xd6, 0, 0, 0, 0, 0]), 'sixteen-bytes': event(X, bytes(0xd8, Buffer.alloc(17))), 'timestamp': event(X, [0xd7, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]) }),
  all('state', STATE, 'only members speak', { 'unknown-namespace': packet(2, list(X), text('/nope')), 'other-namespace': packet(2, list(X), text('/other')), 'connect-twice': packet(0, map()), 'connect-error': packet(4, map(text('message'), X)) }),
  all('good', STAYS, 'an event that no rule names', {
    'bare': event(X), 'number': event(5), 'float': event([0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0]), 'nan': event(X, [0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0]), 'infinity': event(X, [0xcb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0]), 'binary': event(X, [0xc4, 2, 1, 2]), '10-binaries': packet(2, bytes(0x9b, X, ...Array(10).fill([0xc4, 1, 7]))), 'date': event(X, [0xd7, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    'date-far': event(X, [0xd7, 0, 0x7f, 255, 255, 255, 255, 255, 255, 255]), 'undefined': event(X, [0xd4, 0, 0]), 'half-emoji': event(X, bytes(0xa3, [0xed, 0xa0, 0xbd])), 'latin-1': event(X, bytes(0xa1, 0xe9)), 'proto': event(X, map(text('__proto__'), map(text('admin'), [0xc3]))), 'key-twice': event(X, map(X, 1, X, 2)), 'key-number': event(X, map(1, 2)), 'deep-126': event(X, deep(125)),
    'unknown-field': map(TYPE, 2, NSP, text('/'), DATA, list(X), text('evil'), X), 'type-twice': map(TYPE, 7, TYPE, 2, NSP, text('/'), DATA, list(X)), 'id-large': map(TYPE, 2, NSP, text('/'), DATA, list(X), ID, bytes(0xcf, Buffer.alloc(8, 0xff))), 'ack-unknown': map(TYPE, 3, NSP, text('/'), DATA, list(X), ID, 9), 'error': event(text('error')), 'minus-2-63': event(X, bytes(0xd3, 0x80, Buffer.alloc(7))),
  }),
].flat();
