// One message on a fresh websocket of Engine.IO 3, which joins `/` by itself.
import { NORMAL, PARSE, STATE, STAYS } from '../build.mjs';

export default [
  ['empty.txt', '', PARSE, 'a packet has a type'],
  ['type-unknown.txt', '9', PARSE, 'no such type'],
  ['ping.txt', '2', 'hears 3', 'version 3: the client pings'],
  ['ping-with-data.txt', '2data', 'hears 3', 'as Node answers'],
  ['pong.txt', '3', STAYS, 'unasked'],
  ['close.txt', '1', NORMAL, 'a goodbye'],
  ['base64-bare.txt', 'b', PARSE, 'version 3 writes b4'],
  ['base64-v4.txt', 'bAQID', PARSE, 'version 3 writes b4'],
  ['base64-type-2.txt', 'b2AQID', PARSE, 'only messages are binary'],
  ['base64-wrong.txt', 'b4!!', PARSE, 'not base64'],
  ['base64-unannounced.txt', 'b4AQID', PARSE, 'no packet announced it'],
  ['binary-empty.bin', '', PARSE, 'a binary message begins with 4'],
  ['binary-type-0.bin', Buffer.from([0]), PARSE, 'a binary message begins with 4'],
  ['binary-type-1.bin', Buffer.from([1, 1]), PARSE, 'a binary message begins with 4'],
  ['binary-type-digit.bin', '4abc', PARSE, 'the byte 4, not its digit'],
  ['binary-type-255.bin', Buffer.from([255, 255]), PARSE, 'a binary message begins with 4'],
  ['binary-unannounced.bin', Buffer.from([4, 1, 2, 3]), PARSE, 'no packet announced it'],
  ['connect-twice.txt', '40', STATE, 'it has joined by itself'],
  ['connect-other.txt', '40/other?a=%FF&b,', 'hears 40/other', 'the query is the credentials; the token is that of the request'],
  ['connect-unknown.txt', '40/nope?a=1,', 'hears 44/nope,{"message":"Invalid namespace"}', 'refused'],
  ['connect-long-query.txt', `40/nope?${'a=1&'.repeat(10000)},`, 'hears 44/nope,', 'refused'],
];
