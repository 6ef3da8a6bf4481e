// Browsers' rules: which pages may connect, which may use the browser's cookies, what a preflight is told, and what every
// answer says of itself. Headers are written by hand, as a browser or somebody worse would.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import http from 'node:http';
import { join } from 'node:path';
import { folder, jwt, newKey, run, serving } from './stage.mjs';
import { eventually } from './waiting.mjs';

const PAGE = 'https://pages.example';
const LISTED = [PAGE, 'https://pages.example:8443', 'https://xn--mnchen-3ya.example', 'http://localhost:5173', 'http://localhost:80'];
const latin1 = (text) => Buffer.from(text).toString('latin1');

// Each: what a request says of the page that it is from, which is none of those that the app lists.
const HOSTILE = {
  'null': { origin: 'null' },
  'empty': { origin: '' },
  'any': { origin: '*' },
  'a suffix': { origin: 'https://pages.example.evil.example' },
  'a suffix without a dot': { origin: 'https://pages.examples' },
  'a prefix': { origin: 'https://evilpages.example' },
  'a subdomain': { origin: 'https://evil.pages.example' },
  'the domain above': { origin: 'https://example' },
  'a part of the name': { origin: 'https://pages.exampl' },
  'another scheme': { origin: 'http://pages.example' },
  'a websocket\'s scheme': { origin: 'wss://pages.example' },
  'no scheme': { origin: 'pages.example' },
  'another port': { origin: 'https://pages.example:444' },
  'the usual port': { origin: 'https://pages.example:443' },
  'a longer port': { origin: 'https://pages.example:84433' },
  'the host in capitals': { origin: 'https://PAGES.example' },
  'the scheme in capitals': { origin: 'HTTPS://pages.example' },
  'a dot behind': { origin: 'https://pages.example.' },
  'a slash behind': { origin: 'https://pages.example/' },
  'a path': { origin: 'https://pages.example/evil' },
  'a user': { origin: 'https://pages.example@evil.example' },
  'a fragment': { origin: 'https://evil.example#https://pages.example' },
  'a backslash': { origin: 'https://evil.example\\.pages.example' },
  'two in one': { origin: `${PAGE} https://evil.example` },
  'a list': { origin: `${PAGE}, https://evil.example` },
  'twice, the listed first': { origin: [PAGE, 'https://evil.example'] },
  'twice, the listed last': { origin: ['https://evil.example', PAGE] },
  'IDN in Unicode': { origin: latin1('https://münchen.example') },
  'IDN in Latin-1': { origin: 'https://m\u00fcnchen.example' },
  'IDN that looks alike': { origin: 'https://xn--pges-53d.example' },
  'bytes behind': { origin: `${PAGE}\u00ff` },
  'any port, as the file writes it': { origin: 'http://localhost:*' },
  'a port and a name': { origin: 'http://localhost:80.evil.example' },
  'a port of nothing': { origin: 'http://localhost:' },
  'a name and a port': { origin: 'http://localhost.evil.example:80' },
  'an extension': { origin: 'chrome-extension://abcdefghijklmnop' },
  'a file': { origin: 'file://' },
  'none, from another site': { 'sec-fetch-site': 'cross-site' },
  'none, from the same site': { 'sec-fetch-site': 'same-site' },
  'another, of its own origin': { origin: 'https://evil.example', 'sec-fetch-site': 'same-origin' },
};

const key = newKey('HS256');
const cookie = `theme=dark; sid=${jwt(key, { sub: 'u1' })}`;
const suite = { undo: [], after: (undo) => suite.undo.unshift(undo) };
let server;

const app = (name, origins, path, from) => `
[app.${name}]
origins = ${JSON.stringify(origins)}
[app.${name}.socketio]
path = "/${path}/"
[app.${name}.websocket]
path = "/${path}-raw"
[app.${name}.auth]
from = ${JSON.stringify(from)}
[app.${name}.auth.jwt]
algorithms = ["HS256"]
secret = "${key.secret}"
[app.${name}.identity]
user = "claims.sub"
[[app.${name}.channel]]
name = "{any}"
subscribe = true
[app.${name}.connect]
join = ["news"]
reply = { event = "hello", data = "{'user': user.id}" }
`;

before(async () => {
  const files = app('desk', [PAGE, 'https://pages.example:8443', 'https://xn--mnchen-3ya.example', 'http://localhost:*'], 'socket.io', ['auth.token', 'cookie.sid']);
  server = await serving(suite, `[key.backend]\nsecret = { env = "OYEZ_API_KEY" }\n${files}${app('open', '*', 'open', ['auth.token', 'query.token'])}`);
});
after(async () => { for (const undo of suite.undo) await undo(); });

/** One request with exactly these headers: {status, headers, text}; an upgrade that succeeds is a status of 101. */
function ask(path, headers = {}, { method = 'GET', body } = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request(`${server.url}${path}`, { method, headers, agent: false });
    request.on('upgrade', (response, socket) => { socket.destroy(); resolve({ status: 101, headers: response.headers, text: '' }); });
    request.on('response', (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part) => { text += part; }).on('end', () => resolve({ status: response.statusCode, headers: response.headers, text }));
    });
    request.on('error', reject);
    request.end(body);
  });
}

const UPGRADE = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' };
const POLLING = '?EIO=4&transport=polling';
const DOORS = {
  polling: (path, headers) => ask(`/${path}/${POLLING}`, headers),
  websocket: (path, headers) => ask(`/${path}/?EIO=4&transport=websocket`, { ...UPGRADE, ...headers }),
  'plain WebSocket': (path, headers) => ask(`/${path}-raw`, { ...UPGRADE, ...headers }),
};
const REFUSED = { polling: 403, websocket: 400, 'plain WebSocket': 403 };

/** Who a polling client with these headers is taken for: a user, or why it is nobody. */
async function who(path, headers) {
  const { sid } = JSON.parse((await ask(`/${path}/${POLLING}`, headers)).text.slice(1));
  const own = `/${path}/${POLLING}&sid=${sid}`;
  assert.equal((await ask(own, { ...headers, 'content-type': 'text/plain' }, { method: 'POST', body: '40' })).text, 'ok');
  const heard = [];
  for (;;) {
    heard.push(...(await ask(own, headers)).text.split('\x1e'));
    const refusal = heard.find((packet) => packet.startsWith('44'));
    if (refusal) return JSON.parse(refusal.slice(2)).message;
    const hello = heard.find((packet) => packet.startsWith('42["hello"'));
    if (hello) return JSON.parse(hello.slice(2))[1].user;
  }
}

describe('a page that no app lists', () => {
  for (const [door, knock] of Object.entries(DOORS)) {
    test(`is refused, with cookies and without: ${door}`, async () => {
      for (const [name, headers] of Object.entries(HOSTILE)) {
        for (const more of [{}, { cookie }]) {
          const { status, headers: said, text } = await knock('socket.io', { ...headers, ...more });
          assert.equal(status, REFUSED[door], `${name}: ${status} ${text}`);
          assert.doesNotMatch(text, /sid/, name);
          assert.equal(said['access-control-allow-origin'], undefined, name);
          assert.equal(said['access-control-allow-credentials'], undefined, name);
        }
      }
    });
  }

  test('cannot poll a session that it has heard of', async () => {
    const { sid } = JSON.parse((await ask(`/socket.io/${POLLING}`)).text.slice(1));
    for (const [name, headers] of Object.entries(HOSTILE)) {
      const { status } = await ask(`/socket.io/${POLLING}&sid=${sid}`, { ...headers, cookie }, { method: 'POST', body: '40' });
      assert.equal(status, 403, name);
    }
  });

  test('is told by a preflight that it may do nothing', async () => {
    const asked = { 'access-control-request-method': 'POST', 'access-control-request-headers': 'content-type' };
    for (const [name, headers] of Object.entries(HOSTILE)) {
      const { status, headers: said } = await ask(`/socket.io/${POLLING}`, { ...headers, ...asked }, { method: 'OPTIONS' });
      assert.deepEqual([status, said['access-control-allow-origin'], said['access-control-allow-credentials']], [204, undefined, undefined], name);
      assert.match(said.vary, /Origin/, name);
    }
  });

  test('is logged, and how much of its name is bounded', async () => {
    // After all the refusals above, only some of more get a line.
    const line = await eventually(async () => {
      await ask(`/socket.io/${POLLING}`, { origin: `https://${'x'.repeat(8000)}.example` });
      return server.logs.find((one) => one.includes('origin_refused') && one.includes('xxxx'));
    }, 'the refusal in the log');
    assert.ok(line.length < 1000, `${line.length} bytes`);
  });
});

describe('a page that the app lists', () => {
  for (const [door, knock] of Object.entries(DOORS)) {
    test(`connects: ${door}`, async () => {
      for (const origin of LISTED) {
        const { status, headers } = await knock('socket.io', { origin, cookie });
        assert.equal(status, door === 'polling' ? 200 : 101, origin);
        if (door !== 'polling') continue;
        assert.deepEqual([headers['access-control-allow-origin'], headers['access-control-allow-credentials'], headers.vary], [origin, 'true', 'Origin']);
      }
    });
  }

  test('may ask by a preflight for what it needs', async () => {
    const asked = { origin: PAGE, 'access-control-request-method': 'POST', 'access-control-request-headers': 'content-type, x-own' };
    const { status, headers } = await ask(`/socket.io/${POLLING}`, asked, { method: 'OPTIONS' });
    assert.equal(status, 204);
    assert.deepEqual([headers['access-control-allow-origin'], headers['access-control-allow-credentials'], headers['access-control-allow-headers']], [PAGE, 'true', 'content-type, x-own']);
    assert.match(headers['access-control-allow-methods'], /POST/);
    assert.equal(headers.vary, 'Access-Control-Request-Headers, Origin');
  });
});

describe('a cookie', () => {
  const nobody = 'Authentication error: no token';
  const CASES = [
    ['counts from a listed page', { origin: PAGE }, 'u1'],
    ['counts from a page of the same origin, whose browser sends no Origin', { 'sec-fetch-site': 'same-origin' }, 'u1'],
    ['does not count where nothing says whose page it is', {}, nobody],
    ['does not count of an address that was typed', { 'sec-fetch-site': 'none' }, nobody],
    ['does not count for the word of somebody else', { 'sec-fetch-site': 'same-origin, cross-site' }, nobody],
    ['does not count by Referer', { referer: `${PAGE}/` }, nobody],
    ['does not count by Host', { host: 'pages.example' }, nobody],
  ];
  for (const [name, headers, expect] of CASES) {
    test(name, async () => assert.equal(await who('socket.io', { ...headers, cookie }), expect));
  }
});

describe('an app for any page', () => {
  test('tells every page that it may read, and none that it may bring cookies', async () => {
    for (const [name, headers] of Object.entries(HOSTILE)) {
      const { status, headers: said } = await DOORS.polling('open', headers);
      assert.deepEqual([status, said['access-control-allow-origin'], said['access-control-allow-credentials']], [200, '*', undefined], name);
      assert.equal((await DOORS.websocket('open', headers)).status, 101, name);
    }
    assert.match(await who('open', { origin: PAGE, cookie }), /no token/);
  });

  test('and with cookies does not start', async (t) => {
    const path = join(folder(t, { 'oyez.toml': app('open', '*', 'open', ['auth.token', 'cookie.sid']) }), 'oyez.toml');
    for (const command of [['check', path], ['serve', '--config', path, '--listen', '127.0.0.1:0']]) {
      const { code, stderr } = await run(command);
      assert.equal(code, 1, stderr);
      assert.match(stderr, /oyez\.toml:3:11: app\.open\.origins is `\*`, and a token may stand in the cookie `sid`/);
      assert.match(stderr, /help: list the pages' origins, or take "cookie\.sid" out of `from` of \[app\.open\.auth\]/);
    }
  });
});

describe('what an answer says of itself', () => {
  const headers = (answer, names) => Object.fromEntries(names.map((name) => [name, answer.headers[name]]));

  test('a page runs nothing but this server\'s scripts, and has nothing inline', async () => {
    for (const path of ['/', '/api/docs']) {
      const page = await ask(path);
      assert.equal(page.status, 200);
      const policy = Object.fromEntries(page.headers['content-security-policy'].split(';').map((part) => part.trim().split(/ (.*)/s, 2)));
      assert.deepEqual(policy, {
        'default-src': "'none'", 'script-src': "'self'", 'style-src': "'self'", 'img-src': "'self'", 'connect-src': "'self'", 'base-uri': "'none'",
        'form-action': "'none'", 'frame-ancestors': "'none'", 'require-trusted-types-for': "'script'", 'trusted-types': "'none'",
      });
      assert.deepEqual(headers(page, ['x-frame-options', 'cross-origin-opener-policy']), { 'x-frame-options': 'DENY', 'cross-origin-opener-policy': 'same-origin' });
      assert.match(page.headers['permissions-policy'], /camera=\(\)/);
      for (const [tag] of page.text.matchAll(/<script[^>]*>/g)) assert.match(tag, / src="\/[^/]/);
      assert.doesNotMatch(page.text, /<style|\sstyle=|\son\w+=|javascript:/i);
    }
  });

  test('nothing is taken for what it is not, framed, or named to others', async () => {
    const paths = ['/', '/api/docs', '/assets/page.js', '/assets/oyez.css', '/assets/icon.svg', '/api/openapi.json', '/healthz', '/readyz', '/metrics', '/api/v1/channels', '/ws/stats', '/nothing', '/%3Cscript%3Ealert(1)%3C/script%3E'];
    for (const answer of [...await Promise.all(paths.map((path) => ask(path))), await ask('/', {}, { method: 'DELETE' }), await ask('/api/v1/publish')]) {
      assert.deepEqual(
        headers(answer, ['x-content-type-options', 'referrer-policy', 'x-frame-options', 'cross-origin-resource-policy', 'location']),
        { 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer', 'x-frame-options': 'DENY', 'cross-origin-resource-policy': 'same-origin', location: undefined },
      );
      assert.match(answer.headers['content-security-policy'], /default-src 'none'.*frame-ancestors 'none'/);
      assert.ok(answer.headers['cache-control'], 'says how long it may be kept');
    }
    const { headers: client } = await ask('/socket.io/socket.io.js');
    assert.equal(client['x-content-type-options'], 'nosniff');
  });

  test('a payload that looks like a page is text', async () => {
    const markup = '<!doctype html><script>alert(document.domain)</script>';
    const headers = { origin: PAGE };
    const { sid } = JSON.parse((await ask(`/socket.io/${POLLING}`, headers)).text.slice(1));
    const own = `/socket.io/${POLLING}&sid=${sid}`;
    await ask(own, headers, { method: 'POST', body: `40${JSON.stringify({ token: jwt(key, { sub: markup }) })}` });
    let answer = { text: '' };
    while (!answer.text.includes('hello')) answer = await ask(own, headers);
    await server.publish('news', 'markup', markup, { app: 'desk' });
    answer = await ask(own, headers);
    assert.ok(answer.text.includes(markup));
    assert.deepEqual([answer.headers['content-type'], answer.headers['x-content-type-options']], ['text/plain; charset=UTF-8', 'nosniff']);
    for (const odd of [`/socket.io/?EIO=${markup}`, `/socket.io/?EIO=4&transport=${markup}`, `/socket.io/${POLLING}&sid=${markup}`, `/socket.io-raw?token=${markup}`, `/${markup}`]) {
      const refusal = await ask(encodeURI(odd));
      assert.equal(refusal.headers['x-content-type-options'], 'nosniff', odd);
      assert.match(refusal.headers['content-type'], /^application\/json/, odd);
    }
  });
});
