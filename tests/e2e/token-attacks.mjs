// Attacks on tokens, as one table: what a stranger, a user, or somebody with an old token would show to come in as the
// administrator `root`. Nothing in it may ever be accepted. The tests of tokens and `cargo xtask siege tokens` try it at
// every door.
import { constants, createHash, createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { encode } from '@auth/core/jwt';
import { WebSocket } from 'ws';
import { newKey, now, jwt, service, serving, signature } from './stage.mjs';

const ISSUER = 'https://id.example';
const AUDIENCE = 'desk';
const COOKIE = 'authjs.session-token';
/** A secret for Auth.js sessions, which an HS256 verifier would take as well. */
const AUTH_SECRET = 'auth-secret-of-the-attacks-0123456789-abcdef';
const P256_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const ED25519_ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;

const base64 = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
const bytes = (number, length) => Buffer.from(number.toString(16).padStart(2 * length, '0'), 'hex');
const number = (buffer) => BigInt(`0x${buffer.toString('hex')}`);
const goodClaims = (more = {}) => ({ sub: 'root', iss: ISSUER, aud: AUDIENCE, iat: now(), exp: now() + 3600, ...more });

const app = (name, auth) => `
[app.${name}]
origins = ["https://pages.example"]
[app.${name}.socketio]
namespace = "/${name}"
[app.${name}.websocket]
[app.${name}.auth]
from = ["auth.token", "query.${name}"]
${auth}
[app.${name}.identity]
user = "claims.sub"
attributes = { sites = "claims.sites" }
[[app.${name}.channel]]
name = "site:{id}"
subscribe = "id in user.sites || user.id == 'root'"
[app.${name}.connect]
join = "site:{each(user.sites)}"
reply = { event = "hello", data = "{'user': user.id}" }
[app.${name}.limits]
connections_per_address = 100000
connects_per_second = 100000
connections_per_user = 100000
events_per_second = 100000
events_burst = 100000
`;

/**
 * A server with an app for each way of verifying: `local` (four keys), `pinned` (RS256 only), `remote` (a key set by
 * URL), `sessions` (Auth.js). With it the keys, the key set's publisher, and the attacker's own HTTP service.
 */
export async function world(t) {
  const keys = Object.fromEntries(['HS256', 'RS256', 'ES256', 'EdDSA'].map((algorithm) => [algorithm, newKey(algorithm)]));
  const published = [newKey('RS256', 'one'), newKey('ES256', 'two')];
  const publisher = await service(t, () => ({ body: { keys: published.map((key) => key.jwk) } }));
  const mine = { RS256: newKey('RS256', 'mine'), ES256: newKey('ES256', 'mine'), HS256: newKey('HS256', 'mine') };
  const evil = await service(t, () => ({ body: { keys: [mine.RS256.jwk, mine.ES256.jwk] } }));
  const rules = `issuer = "${ISSUER}"\naudience = "${AUDIENCE}"\nrequire_expiry = true`;
  const files = { 'rs.pem': keys.RS256.pem, 'es.pem': keys.ES256.pem, 'ed.pem': keys.EdDSA.pem };
  const server = await serving(t, `
    [key.backend]
    secret = { env = "OYEZ_API_KEY" }
    ${app('local', `[app.local.auth.jwt]\nalgorithms = ["HS256", "RS256", "ES256", "EdDSA"]\nsecret = "${keys.HS256.secret}"
      public_key = [{ file = "rs.pem" }, { file = "es.pem" }, { file = "ed.pem" }]\n${rules}`)}
    ${app('pinned', `[app.pinned.auth.jwt]\nalgorithms = ["RS256"]\npublic_key = { file = "rs.pem" }\n${rules}`)}
    ${app('remote', `[app.remote.auth.jwt]\nalgorithms = ["RS256", "ES256"]\njwks = "${publisher.url}/keys"\n${rules}`)}
    ${app('sessions', `[app.sessions.auth.authjs]\nsecret = "${AUTH_SECRET}"`)}
  `, { files });
  return { server, keys, published, publisher, mine, evil };
}

/** A genuine token of this user for each app. */
export async function honest({ keys, published }, sub, more = {}) {
  const claims = goodClaims({ sub, ...more });
  return {
    local: jwt(keys.HS256, claims), pinned: jwt(keys.RS256, claims), remote: jwt(published[0], claims),
    sessions: await encode({ token: claims, secret: AUTH_SECRET, salt: COOKIE }),
  };
}

/** Any header and payload, given as values or as text, signed by `key`. */
function forge(key, header, payload = goodClaims()) {
  const text = `${base64(header)}.${base64(payload)}`;
  return `${text}.${signature(key, text).toString('base64url')}`;
}

function algorithms({ keys }) {
  const payload = base64(goodClaims());
  const genuine = jwt(keys.HS256, goodClaims()).split('.');
  const spellings = ['none', 'None', 'NONE', 'nOnE', 'none ', ' none', 'none\0', 'n\u043ene', '\uff4e\uff4f\uff4e\uff45', '', null, undefined, ['none'], { none: true }, 0, false];
  const rows = spellings.map((alg) => [`alg ${JSON.stringify(alg)}`, 'local', `${base64({ alg, typ: 'JWT' })}.${payload}.`]);
  return [
    ...rows,
    ['alg none, with a signature', 'local', `${base64({ alg: 'none' })}.${payload}.${genuine[2]}`],
    ['alg none, without the last dot', 'local', `${base64({ alg: 'none' })}.${payload}`],
    ['alg none, for a key set', 'remote', `${base64({ alg: 'none', kid: 'one' })}.${payload}.`],
    ['alg none, for sessions', 'sessions', `${base64({ alg: 'none' })}.${payload}.`],
    ['alg in lower case, genuine key', 'local', forge(keys.HS256, { alg: 'hs256' })],
    ['alg twice, none first', 'local', forge(keys.HS256, '{"alg":"none","alg":"HS256"}')],
    ['alg twice, none last, escaped', 'local', forge(keys.HS256, '{"alg":"HS256","\\u0061lg":"none"}')],
    ['an algorithm of the same key that is not listed', 'local', forge({ ...keys.RS256, algorithm: 'PS256' }, { alg: 'PS256' })],
    ['HS512 with the secret of HS256', 'local', forge({ ...keys.HS256, algorithm: 'HS512' }, { alg: 'HS512' })],
    ['an RSA signature called ES256', 'local', forge(keys.RS256, { alg: 'ES256' })],
    ['an HMAC called RS256', 'local', forge(keys.HS256, { alg: 'RS256' })],
  ];
}

/** A public key as the secret of an HMAC, in every form in which a server might hold it. */
function confusion({ keys, published }) {
  const rows = [];
  for (const [name, key, target] of [['RSA', keys.RS256, 'local'], ['RSA', keys.RS256, 'pinned'], ['EC', keys.ES256, 'local'], ['Ed', keys.EdDSA, 'local'], ['published', published[0], 'remote']]) {
    const forms = {
      'its PEM': key.pem, 'its PEM without the last newline': key.pem.trim(), 'its PEM with CRLF': key.pem.replaceAll('\n', '\r\n'),
      'its DER': createPublicKey(key.pem).export({ type: 'spki', format: 'der' }), 'its JWK': JSON.stringify(key.jwk),
      'its number': Buffer.from(key.jwk.n ?? key.jwk.x, 'base64url'),
    };
    for (const [form, secret] of Object.entries(forms)) {
      rows.push([`HS256 with the ${name} key: ${form}`, target, forge({ algorithm: 'HS256', secret }, { alg: 'HS256', kid: key.kid })]);
    }
  }
  return rows;
}

/** Headers that name a key: files, queries, URLs, or a key of the attacker's own. */
function headers({ keys, mine, evil }) {
  const empty = { algorithm: 'HS256', secret: '' };
  const kids = ['/dev/null', '../../../../../../dev/null', 'file:///dev/null', '..\\..\\nul', "x' UNION SELECT '' --", '| true', '$(true)', '', '\0', 'x'.repeat(4000), `${evil.url}/key`];
  const certificate = createPublicKey(mine.RS256.pem).export({ type: 'spki', format: 'der' }).toString('base64');
  const own = (more, key = mine.RS256) => forge(key, { alg: key.algorithm, kid: key.kid, ...more });
  const rows = ['local', 'remote'].flatMap((target) => [
    ['jku', { jku: `${evil.url}/keys` }], ['jku with a user part', { jku: `https://id.example@${evil.url.slice(7)}/keys` }],
    ['x5u', { x5u: `${evil.url}/certificate` }], ['jwk', { jwk: mine.RS256.jwk }], ['x5c', { x5c: [certificate] }], ['its own kid alone', {}],
  ].map(([name, more]) => [`${name}: the attacker's key, ${target}`, target, own(more)]));
  return [
    ...kids.map((kid) => [`kid ${JSON.stringify(kid).slice(0, 40)}, signed with nothing`, 'local', forge(empty, { alg: 'HS256', kid })]),
    ['kid a number', 'local', forge(keys.HS256, { alg: 'HS256', kid: 0 })],
    ['kid a list', 'local', forge(keys.HS256, { alg: 'HS256', kid: ['a'] })],
    ['a published kid, signed by the attacker', 'remote', own({ kid: 'one' })],
    ['a published kid of another kind of key', 'remote', own({ kid: 'one' }, mine.ES256)],
    ['HS256 with a published kid', 'remote', own({ kid: 'one' }, mine.HS256)],
    ...rows,
    ['jwk: a secret', 'local', own({ jwk: { kty: 'oct', k: base64(mine.HS256.secret) } }, mine.HS256)],
    ['jwk: ECDSA', 'local', own({ jwk: mine.ES256.jwk }, mine.ES256)],
    ['crit: exp', 'local', forge(keys.HS256, { alg: 'HS256', crit: ['exp'] })],
    ['crit: nothing', 'local', forge(keys.HS256, { alg: 'HS256', crit: [] })],
    ['crit: b64, payload not encoded', 'local', forge(keys.HS256, { alg: 'HS256', crit: ['b64'], b64: false })],
    ['crit: something private', 'local', forge(keys.RS256, { alg: 'RS256', crit: ['urn:x'], 'urn:x': true })],
    ...['logout+jwt', 'secevent+jwt', 'dpop+jwt', 'application/logout+jwt', 'JWT;x', ''].map((typ) => [`typ ${JSON.stringify(typ)}`, 'local', forge(keys.HS256, { alg: 'HS256', typ })]),
    ['typ a list', 'local', forge(keys.HS256, { alg: 'HS256', typ: ['JWT'] })],
  ];
}

/** Signatures that some library once took for good. */
function signatures({ keys, published }) {
  const text = (algorithm, kid) => `${base64({ alg: algorithm, kid })}.${base64(goodClaims())}`;
  const [es, ed, rs, hs] = ['ES256', 'EdDSA', 'RS256', 'HS256'].map((algorithm) => text(algorithm));
  const zero = Buffer.alloc(32);
  const order = bytes(P256_ORDER, 32);
  const genuine = signature(keys.ES256, es);
  const der = sign('sha256', Buffer.from(es), keys.ES256.private);
  const pairs = {
    'zeros (psychic)': [zero, zero], 'r is zero': [zero, genuine.subarray(32)], 's is zero': [genuine.subarray(0, 32), zero],
    'r and s the order': [order, order], 'r zero, s the order': [zero, order], 'r the order, s zero': [order, zero], ones: [bytes(1n, 32), bytes(1n, 32)],
    'all bits set': [Buffer.alloc(32, 255), Buffer.alloc(32, 255)], 'r and s swapped': [genuine.subarray(32), genuine.subarray(0, 32)],
    DER: [der], 'a byte short': [genuine.subarray(0, 63)], 'a byte long': [genuine, Buffer.alloc(1)], 'zeros before': [Buffer.alloc(2), genuine], none: [],
  };
  const rows = Object.entries(pairs).map(([name, parts]) => [`ES256, ${name}`, 'local', `${es}.${Buffer.concat(parts).toString('base64url')}`]);
  const remote = text('ES256', 'two');
  const good = signature(keys.EdDSA, ed);
  const scalar = number(Buffer.from(good.subarray(32)).reverse());
  const lifted = Buffer.concat([good.subarray(0, 32), bytes(scalar + ED25519_ORDER, 32).reverse()]);
  const identity = Buffer.concat([bytes(1n, 32).reverse(), zero]);
  const tag = signature(keys.HS256, hs);
  const pss = sign('sha256', Buffer.from(rs), { key: keys.RS256.private, padding: constants.RSA_PKCS1_PSS_PADDING });
  const others = [
    ['ES256 for a key set, zeros', 'remote', remote, Buffer.alloc(64)],
    ['ES256 for a key set, by the RSA key', 'remote', remote, signature(published[0], remote)],
    ['EdDSA, zeros', 'local', ed, Buffer.alloc(64)], ['EdDSA, the identity', 'local', ed, identity], ['EdDSA, s lifted by the order', 'local', ed, lifted],
    ['RS256, zeros', 'local', rs, Buffer.alloc(256)], ['RS256, one', 'local', rs, bytes(1n, 256)], ['RS256, all bits set', 'local', rs, Buffer.alloc(256, 255)],
    ['RS256, a PSS signature', 'local', rs, pss], ['RS256, none', 'local', rs, Buffer.alloc(0)],
    ['RS256, short of its leading byte', 'pinned', rs, signature(keys.RS256, rs).subarray(1)],
    ['HS256, zeros', 'local', hs, Buffer.alloc(32)], ['HS256, none', 'local', hs, Buffer.alloc(0)], ['HS256, a half', 'local', hs, tag.subarray(0, 16)],
    ['HS256, one byte', 'local', hs, tag.subarray(0, 1)], ['HS256, and more', 'local', hs, Buffer.concat([tag, tag])],
    ['HS256, a hash without a secret', 'local', hs, createHash('sha256').update(hs).digest()],
  ];
  return [...rows, ...others.map(([name, target, message, mark]) => [name, target, `${message}.${mark.toString('base64url')}`])];
}

/** Genuine tokens that say the wrong thing, or say it in a way that two readers would read differently. */
function claims({ keys }) {
  const with_ = (more, key = keys.HS256) => jwt(key, goodClaims(more));
  const written = (payload) => forge(keys.HS256, { alg: 'HS256' }, payload);
  const body = JSON.stringify(goodClaims()).slice(1, -1);
  const wrong = {
    'iss of another': { iss: 'https://evil.example' }, 'no iss': { iss: undefined }, 'iss in a list': { iss: [ISSUER] }, 'iss with a slash': { iss: `${ISSUER}/` }, 'iss in capitals': { iss: ISSUER.toUpperCase() },
    'iss a prefix': { iss: ISSUER.slice(0, -1) }, 'iss null': { iss: null }, 'aud of another': { aud: 'other' }, 'no aud': { aud: undefined }, 'aud empty': { aud: [] }, 'aud in a list in a list': { aud: [[AUDIENCE]] },
    'aud a prefix': { aud: 'des' }, 'aud and more': { aud: 'desk,other' }, 'aud an object': { aud: { desk: true } }, 'no exp': { exp: undefined }, 'exp over': { exp: now() - 1 }, 'exp now': { exp: now() }, 'exp at the epoch': { exp: 0 },
    'exp negative': { exp: -1 }, 'exp in text': { exp: `${now() + 60}` }, 'exp null': { exp: null }, 'exp true': { exp: true }, 'exp in a list': { exp: [now() + 60] }, 'nbf to come': { nbf: now() + 60 }, 'nbf in text': { nbf: '0' },
    'iat to come': { iat: now() + 60 }, 'iat an object': { iat: {} }, 'no sub': { sub: undefined }, 'sub empty': { sub: '' },
  };
  return [
    ...Object.entries(wrong).map(([name, more]) => [name, 'local', with_(more)]),
    ['exp over, RS256', 'pinned', with_({ exp: now() - 1 }, keys.RS256)],
    ['sub twice', 'local', written(`{"sub":"u1",${body}}`)],
    ['sub twice, escaped', 'local', written(`{${body},"s\\u0075b":"admin"}`)],
    ['exp twice', 'local', written(`{"exp":1,${body}}`)],
    ['a name twice, deep inside', 'local', written(`{${body},"a":[{"b":1,"b":2}]}`)],
    ['exp infinite', 'local', written(`{${body.replace(/"exp":\d+/, '"exp":1e999')}}`)],
    ['claims and more', 'local', written(`{${body}}{}`)], ['claims in a list', 'local', written(`[{${body}}]`)], ['claims in a string', 'local', written(JSON.stringify(`{${body}}`))],
    ['claims behind a byte order mark', 'local', written(`\ufeff{${body}}`)], ['claims with a comment', 'local', written(`{/**/${body}}`)], ['claims with a trailing comma', 'local', written(`{${body},}`)],
    ['a lone surrogate', 'local', written(`{${body},"x":"\\ud800"}`)], ['nested 5,000 deep', 'local', written(`{${body},"x":${'['.repeat(5000)}${']'.repeat(5000)}}`)],
  ];
}

/** Bytes that are not quite a token: size, white space, other ways to write base64, other serialisations. */
function shapes({ keys }) {
  const good = jwt(keys.HS256, goodClaims());
  const [head, payload, mark] = good.split('.');
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  /** The same bytes with an unused bit set: 43 digits carry 256 bits and 2 more. */
  const loose = (text) => text.slice(0, -1) + alphabet[alphabet.indexOf(text.at(-1)) | 1];
  const resigned = (header, body) => `${header}.${body}.${signature(keys.HS256, `${header}.${body}`).toString('base64url')}`;
  const spaced = base64('{"alg":"HS256"} '); // 16 bytes: 22 digits carry 4 bits more
  const json = { payload, protected: head, signature: mark };
  const rows = {
    '1 MB': 'a'.repeat(1_000_000), '900 KB, genuine': jwt(keys.HS256, goodClaims({ pad: 'x'.repeat(600_000) })), '20 KB, genuine': jwt(keys.HS256, goodClaims({ pad: 'x'.repeat(15_000) })),
    'dots only': '..', 'many dots': '.'.repeat(10_000), 'a space before': ` ${good}`, 'a space behind': `${good} `, 'a newline behind': `${good}\n`, 'a newline inside': `${head}.\n${payload}.${mark}`, 'a tab inside': `${head}.${payload}\t.${mark}`,
    'NUL behind': `${good}\0`, 'a soft hyphen inside': `${head}.\u00ad${payload}.${mark}`, 'Bearer before': `Bearer ${good}`, 'padded signature': `${good}=`, 'padded header': resigned(`${head}==`, payload), 'unused bits set in the signature': `${head}.${payload}.${loose(mark)}`,
    'unused bits set in the header': resigned(loose(spaced), payload), 'standard base64': resigned(head, `${Buffer.from(`{"a":"\u00ff\u00fe??>>",${JSON.stringify(goodClaims()).slice(1)}`).toString('base64').replaceAll('=', '')}`), 'percent-encoded dots': good.replaceAll('.', '%2E'),
    'two parts': `${head}.${payload}`, 'four parts': `${good}.x`, 'an empty part before': `.${good}`, 'no payload': `${head}..${mark}`, 'header and payload swapped': `${payload}.${head}.${mark}`, 'the payload of another': `${head}.${base64(goodClaims({ sub: 'u2' }))}.${mark}`,
    'JSON, flattened': JSON.stringify(json), 'JSON, general': JSON.stringify({ payload, signatures: [{ protected: head, signature: mark }] }), 'a token in a token': forge(keys.HS256, { alg: 'HS256', cty: 'JWT' }, good), 'header a list': forge(keys.HS256, '["HS256"]'),
    'header no JSON': forge(keys.HS256, 'HS256'), 'in UTF-16': Buffer.from(good, 'utf16le').toString('latin1'), 'claims alone': JSON.stringify(goodClaims()), 'an object': { sub: 'root' }, 'a list': [good], 'a number': 7, true: true,
  };
  return Object.entries(rows).map(([name, token]) => [name, 'local', token]);
}

/** Encrypted sessions that were cut up and put together again, or made with another key. */
async function sessions() {
  const make = (more = {}, options = {}) => encode({ token: goodClaims(more), secret: AUTH_SECRET, salt: COOKIE, ...options });
  const [one, two] = [(await make()).split('.'), (await make({ sub: 'u2' })).split('.')];
  const put = (...parts) => parts.join('.');
  const flip = (text) => { const changed = Buffer.from(text, 'base64url'); changed[0] ^= 1; return changed.toString('base64url'); };
  const enc = 'A256CBC-HS512';
  const header = (fields) => put(base64(fields), '', ...one.slice(2));
  const rows = {
    'the tag of another': put(...one.slice(0, 4), two[4]), 'the text of another': put(...one.slice(0, 3), two[3], one[4]), 'the start of another': put(one[0], '', two[2], one[3], one[4]), 'a tag of zeros': put(...one.slice(0, 4), base64('\0'.repeat(32))),
    'half a tag': put(...one.slice(0, 4), one[4].slice(0, 22)), 'no tag': put(...one.slice(0, 4), ''), 'one bit of the tag': put(...one.slice(0, 4), flip(one[4])), 'one bit of the text': put(one[0], '', one[2], flip(one[3]), one[4]), 'one bit of the start': put(one[0], '', flip(one[2]), one[3], one[4]),
    'text cut by a block': put(one[0], '', one[2], one[3].slice(0, 64), one[4]), 'no text': put(one[0], '', one[2], '', one[4]), 'a wrapped key': put(one[0], 'AAAA', ...one.slice(2)), 'six parts': put(...one, 'x'), 'its header without kid': header({ alg: 'dir', enc }),
    'RSA-OAEP': header({ alg: 'RSA-OAEP', enc }), 'a thousand million rounds of PBES2': header({ alg: 'PBES2-HS256+A128KW', enc, p2c: 1e9, p2s: 'AAAA' }), compressed: header({ alg: 'dir', enc, zip: 'DEF' }), critical: header({ alg: 'dir', enc, crit: ['exp'] }),
    'GCM over CBC': header({ alg: 'dir', enc: 'A256GCM' }), 'another secret': await make({}, { secret: 'x'.repeat(40) }), 'no secret': await make({}, { secret: '\0' }), 'another cookie': await make({}, { salt: 'other' }), over: await make({}, { maxAge: -60 }),
    'signed with its secret': forge({ algorithm: 'HS256', secret: AUTH_SECRET }, { alg: 'HS256', typ: 'JWT' }),
  };
  return Object.entries(rows).map(([name, token]) => [`session: ${name}`, 'sessions', token]);
}

/** Tokens that are good elsewhere. */
async function elsewhere(w) {
  const good = await honest(w, 'root');
  const other = generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey;
  const curve = { algorithm: 'ES256', private: createPrivateKey(other.export({ type: 'pkcs8', format: 'pem' })) };
  return [
    ['of one app at another: HMAC', 'remote', good.local], ['of one app at another: a published key', 'local', good.remote],
    ['of one app at another: a session', 'local', good.sessions], ['of one app at another: not a session', 'sessions', good.local],
    ['HMAC where RS256 is pinned', 'pinned', good.local], ['a signature on another curve', 'local', forge(curve, { alg: 'ES256' })],
  ];
}

/** Every attack on this world: `[name, app, token]`. */
export async function attacks(w) {
  return [...algorithms(w), ...confusion(w), ...headers(w), ...signatures(w), ...claims(w), ...shapes(w), ...(await sessions()), ...(await elsewhere(w))];
}

/** Shows a token in the CONNECT packet of a session of its own: the packet that answers, or what the connection said. */
export function connectWith(server, target, token) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`${server.ws}/socket.io/?EIO=4&transport=websocket`);
    const end = (outcome) => { clearTimeout(timer); resolve(outcome); socket.terminate(); };
    const timer = setTimeout(() => { socket.terminate(); reject(new Error(`no answer to ${JSON.stringify(token).slice(0, 200)}`)); }, 5000);
    socket.on('message', (data) => {
      const text = String(data);
      if (text.startsWith('0')) socket.send(`40/${target},${JSON.stringify({ token })}`);
      else if (text.startsWith(`40/${target},`)) end('accepted');
      else if (text.startsWith(`44/${target},`)) end('refused');
    });
    socket.on('close', (code) => end(`closed ${code}`));
    socket.on('error', reject);
  });
}

/** Shows a token in the query of a plain WebSocket; `undefined`: a query cannot hold it. */
export function queryWith(server, target, token) {
  if (typeof token !== 'string' || token.length > 8000) return undefined;
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`${server.ws}/ws?${target}=${encodeURIComponent(token)}`);
    socket.on('open', () => { resolve('accepted'); socket.terminate(); });
    socket.on('unexpected-response', (request, { statusCode }) => { resolve(statusCode === 401 ? 'refused' : `status ${statusCode}`); request.destroy(); });
    socket.on('error', reject);
  });
}

/** Shows a token as the refresh of a session that is open; `undefined`: its size alone would end the session. */
export async function refreshWith(socket, token) {
  if (token.length > 900_000) return undefined;
  const answer = await socket.timeout(5000).emitWithAck('auth:refresh', { token });
  return answer.code ? 'refused' : 'accepted';
}
