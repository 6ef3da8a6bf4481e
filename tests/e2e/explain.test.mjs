// What the command line says about a configuration: every mistake with its place and remedy, and who may do what.
import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { API_KEY, ROOT, SECRET } from './harness.mjs';
import { folder, run } from './stage.mjs';

const ENV = { JWT_SECRET: SECRET, AUTH_SECRET: SECRET, OYEZ_API_KEY: API_KEY };
const EXAMPLES = ['erp', 'ticketing', 'concrete-plant', 'ginforge', 'cloudphone'];
const example = (name) => join(ROOT, 'examples', name, 'oyez.toml');

const GOOD = `[server]
listen = ["127.0.0.1:0"]

[key.backend]
secret = { env = "OYEZ_API_KEY" }

[app.desk]
origins = ["https://desk.example.com"]

[app.desk.auth]
from = ["auth.token", "bearer"]

[app.desk.auth.jwt]
algorithms = ["HS256"]
secret = { env = "JWT_SECRET" }
leeway = "5s"

[app.desk.identity]
user = "claims.sub"
roles = "claims.roles"
attributes = { sites = "claims.siteId" }

[[app.desk.channel]]
name = "site:{siteId}"
subscribe = "siteId in user.sites || user.admin"
publish = "member && event.startsWith('chat:')"

[[app.desk.channel]]
name = "ticket:{id}"
subscribe = { ask = "https://desk.example.com/may" }

[[app.desk.on]]
event = "subscribe"
join = "site:{data.siteId}"
reply = { event = "subscribed", data = "{'siteId': data.siteId}" }
`;
/** Writes a file with these replacements and returns its path. */
function file(t, ...edits) {
  const text = edits.reduce((text, [from, to]) => {
    assert.ok(text.includes(from), from);
    return text.replace(from, to);
  }, GOOD);
  return join(folder(t, { 'oyez.toml': text }), 'oyez.toml');
}

describe('oyez check', () => {
  test('of the five examples and of a good file is content', async (t) => {
    for (const path of [...EXAMPLES.map(example), file(t)]) {
      const { code, stdout, stderr } = await run(['check', path], ENV);
      assert.deepEqual([code, stderr], [0, ''], path);
      assert.ok(stdout.startsWith(`${path} is good.`), stdout);
    }
  });

  // Each: a mistake, the line that it is on, what is said about it, and the remedy.
  const MISTAKES = [
    ['"127.0.0.1:0"', '"here"', 2, '`here` is no address to listen on', 'write "127.0.0.1:3001"'],
    ['"OYEZ_API_KEY"', '"NOT_SET"', 5, 'key.backend.secret comes from the environment variable NOT_SET, which is not set', 'export NOT_SET=… before starting'],
    ['https://desk.example.com"]', 'desk.example.com"]', 8, '`desk.example.com` is no origin', 'an origin is scheme, host and port: "https://desk.example.com"'],
    ['"bearer"', '"header"', 11, 'a token cannot stand in `header`', 'one of auth.FIELD, query.NAME, cookie.NAME, bearer, subprotocol'],
    ['"HS256"', '"HS265"', 14, 'app.desk.auth.jwt.algorithms does not know `HS265`', 'did you mean `HS256`?'],
    ['{ env = "JWT_SECRET" }', '{ file = "absent.key" }', 15, 'app.desk.auth.jwt.secret comes from the file absent.key: ', 'a relative path starts where this file is; it must be readable'],
    ['"5s"', '"5"', 16, 'app.desk.auth.jwt.leeway must be a duration', 'for instance leeway = "0s"'],
    ['claims.sub', 'claim.sub', 19, '`claim` is not known here', 'did you mean `claims`?'],
    ['subscribe = "siteId', 'subscibe = "siteId', 25, 'unknown key `subscibe` in [app.desk.channel]', 'did you mean `subscribe`?'],
    ['member && event', 'membr && event', 26, '`membr` is not known here', 'did you mean `member`?'],
    ['https://desk.example.com/may', 'desk', 30, '`desk` is no URL', ''],
    ['"site:{data', '"sites:{data', 34, 'no channel fits `sites:{data.siteId}`', 'describe it: [[app.NAME.channel]] name = "sites:{id}"'],
    ["{'siteId': data.siteId}", "{'siteId': joind}", 35, '`joind` is not known here', 'did you mean `joined`?'],
  ];

  test('of a file full of mistakes names each, with line, column and remedy', async (t) => {
    const path = file(t, ...MISTAKES.map(([from, to]) => [from, to]));
    const { code, stdout, stderr } = await run(['check', path], ENV);
    assert.equal(code, 1);
    assert.equal(stdout, '');
    const told = [...stderr.matchAll(/^(.*\.toml):(\d+):(\d+): (.*)\n {4}help: (.*)$/gm)].map(([, at, line, column, message, help]) => ({ at, line: Number(line), column: Number(column), message, help }));
    assert.equal(told.length, MISTAKES.length, stderr);
    MISTAKES.forEach(([, , line, message, help], index) => {
      assert.deepEqual([told[index].at, told[index].line], [path, line], message);
      assert.ok(told[index].column >= 1 && told[index].message.startsWith(message), told[index].message);
      assert.ok(help ? told[index].help === help : told[index].help.length > 0, told[index].help);
    });
    assert.match(stderr, /13 mistakes\n$/);
    assert.ok(!stderr.includes(SECRET));

    const machine = await run(['check', path, '--json'], ENV);
    const { good, problems } = JSON.parse(machine.stdout);
    assert.deepEqual([machine.code, good, problems.length], [1, false, MISTAKES.length]);
    assert.deepEqual(problems.map(({ line, message, help }) => ({ line, message, help })), told.map(({ line, message, help }) => ({ line, message, help })));
  });

  for (const [from, to, line, message] of MISTAKES) {
    test(`of one mistake tells it alone: ${message}`, async (t) => {
      const { code, stderr } = await run(['check', file(t, [from, to])], ENV);
      assert.equal(code, 1);
      assert.match(stderr, new RegExp(`oyez\\.toml:${line}:\\d+: `));
      assert.match(stderr, /\n {4}help: .+/);
      if (from !== 'subscribe = "siteId') assert.match(stderr, /\n1 mistake\n$/);
    });
  }

  const KEYS = [
    ['a PEM text as a secret', ['{ env = "JWT_SECRET" }', '"-----BEGIN PUBLIC KEY-----"'], /the secret is a PEM text; give it as a public key instead/],
    ['an algorithm without its key', ['["HS256"]', '["HS256", "RS256"]'], /algorithm RS256 is allowed, but no key fits it/],
    ['a key that is none', ['secret = { env = "JWT_SECRET" }', 'secret = { env = "JWT_SECRET" }\npublic_key = "rubbish"'], /the key cannot be used/],
    ['a key set without keys', ['secret = { env = "JWT_SECRET" }', 'jwks_keys = "{}"'], /the key set cannot be used: it has no `keys` list/],
    ['a leeway of a day', ['"5s"', '"1d"'], /leeway must be between 0 and 600, not 86400/],
  ];
  for (const [what, edit, words] of KEYS) {
    test(`of ${what}`, async (t) => {
      const { code, stderr } = await run(['check', file(t, edit)], ENV);
      assert.equal(code, 1);
      assert.match(stderr, /oyez\.toml:\d+:1: \[app\.desk\.auth\] cannot verify tokens: /);
      assert.match(stderr, words);
      assert.match(stderr, /\n {4}help: .+\n1 mistake\n$/);
    });
  }

  test('of broken TOML, of nothing, and of no file', async (t) => {
    const broken = await run(['check', file(t, ['[app.desk]', '[app.desk'])], ENV);
    assert.equal(broken.code, 1);
    assert.match(broken.stderr, /oyez\.toml:7:\d+: not TOML/);
    const path = join(folder(t, { 'oyez.toml': '' }), 'oyez.toml');
    const empty = await run(['check', path], ENV);
    assert.equal(empty.code, 1);
    assert.match(empty.stderr, /app is missing/);
    const absent = await run(['check', `${path}.not`], ENV);
    assert.equal(absent.code, 1);
    assert.match(absent.stderr, /cannot read .*oyez\.toml\.not/);
  });
});

describe('oyez explain', () => {
  const explain = (path, claims, ...args) => run(['explain', '--config', path, '--claims', JSON.stringify(claims), ...args], ENV);

  test('says which rule denies, and the value of each of its parts', async (t) => {
    const path = file(t);
    const { code, stdout } = await explain(path, { sub: 7, roles: ['clerk'], siteId: 2 }, 'subscribe', 'site:1');
    assert.equal(code, 0);
    assert.equal(stdout, `DENIED: subscribe site:1
  user "7", roles ["clerk"], sites ["2"]
  ${path}:25 channel "site:{siteId}": subscribe = siteId in user.sites || user.admin
    siteId in user.sites is false
      siteId = "1"
      user.sites = ["2"]
    user.admin is false
      user.roles = ["clerk"]
`);
  });

  const CASES = [
    ['one part suffices', { sub: 'u', siteId: 1 }, ['subscribe', 'site:1'], /^ALLOWED: subscribe site:1\n[^]*siteId in user\.sites is true/],
    ['an administrator', { sub: 'u', roles: 'admin' }, ['subscribe', 'site:1'], /^ALLOWED[^]*administrator[^]*user\.admin is true/],
    ['a member who chats', { sub: 'u' }, ['--member', '--event', 'chat:x', 'publish', 'site:1'], /^ALLOWED: publish site:1/],
    ['a member who does something else', { sub: 'u' }, ['--member', '--event', 'order', 'publish', 'site:1'], /^DENIED: publish site:1\n[^]*event = "order"\n      member = true\n$/],
    ['a stranger who chats', { sub: 'u' }, ['--event', 'chat:x', 'publish', 'site:1'], /^DENIED: publish site:1\n[^]*event = "chat:x"\n      member = false\n$/],
    ['a right that nobody wrote', { sub: 'u' }, ['publish', 'ticket:1'], /^DENIED: publish ticket:1\n.*\n {2}\S+ channel "ticket:\{id\}" does not write `publish`, so nobody may\n$/],
    ['a channel that nobody described', { sub: 'u', roles: 'admin' }, ['subscribe', 'sites'], /^DENIED: subscribe sites\n.*\n {2}there is no channel sites\n$/],
    ['a name that cannot be one', { sub: 'u', roles: 'admin' }, ['subscribe', 'site:*'], /^DENIED: subscribe site:\*\n.*\n {2}a channel's name may not contain \*\n$/],
    ['a right that the backend decides', { sub: 'u' }, ['subscribe', 'ticket:1'], /^ASKED of the app's backend: subscribe ticket:1\n/],
  ];
  for (const [what, claims, args, words] of CASES) {
    test(`of ${what}`, async (t) => {
      const { code, stdout, stderr } = await explain(file(t), claims, ...args);
      assert.deepEqual([code, stderr], [0, '']);
      assert.match(stdout, words);
    });
  }

  test('of the examples answers as the server does', async () => {
    const ticketing = ['--app', 'ticketing'];
    const denied = await explain(example('ticketing'), { userId: 7, roles: ['support'] }, ...ticketing, 'subscribe', 'role:admin');
    assert.match(denied.stdout, /^DENIED: subscribe role:admin\n[^]*role in user\.roles is false/);
    const allowed = await explain(example('ticketing'), { userId: 7, roles: ['support'] }, ...ticketing, 'subscribe', 'ticket:9');
    assert.match(allowed.stdout, /^ALLOWED: subscribe ticket:9/);
  });

  test('needs a user, JSON and an app that is there', async (t) => {
    const path = file(t);
    const nameless = await explain(path, { roles: ['x'] }, 'subscribe', 'site:1');
    assert.deepEqual([nameless.code, nameless.stdout], [1, '']);
    assert.match(nameless.stderr, /the token names no user: claims\.sub is missing/);
    const garbled = await run(['explain', '--config', path, '--claims', '{sub: 1}', 'subscribe', 'x'], ENV);
    assert.equal(garbled.code, 2);
    assert.match(garbled.stderr, /not a JSON object/);
    const elsewhere = await explain(path, { sub: 'u' }, '--app', 'dsk', 'subscribe', 'x');
    assert.equal(elsewhere.code, 1);
    assert.match(elsewhere.stderr, /there is no app `dsk`\n {4}help: the file has desk/);
  });
});

describe('oyez serve refuses to start', () => {
  const serve = (path, env) => run(['serve', '--config', path, '--listen', '127.0.0.1:0'], env);

  for (const name of EXAMPLES) {
    const secret = name === 'erp' ? 'AUTH_SECRET' : 'JWT_SECRET';
    for (const missing of [secret, 'OYEZ_API_KEY']) {
      for (const [how, value] of [['without', undefined], ['with an empty', '']]) {
        test(`${name} ${how} ${missing}, and names it with the fix`, async () => {
          const { [missing]: _, ...rest } = ENV;
          const { code, stdout, stderr } = await serve(example(name), value === undefined ? rest : { ...rest, [missing]: value });
          assert.deepEqual([code, stdout], [1, '']);
          assert.match(stderr, new RegExp(`oyez\\.toml:\\d+:\\d+: \\S+secret comes from the environment variable ${missing}, which is not set\\n    help: export ${missing}=… before starting\\n1 mistake\\n$`));
        });
      }
    }
  }

  const EDITS = [
    ['without origins', ['origins = ["https://desk.example.com"]', ''], /app\.desk\.origins is missing\n {4}help: write, for instance, origins = \["/],
    ['with an empty list of origins', ['["https://desk.example.com"]', '[]'], /app\.desk\.origins is empty, so no web page could connect\n {4}help: list the pages' origins/],
    ['without a key for its algorithms', ['secret = { env = "JWT_SECRET" }', ''], /app\.desk\.auth\.jwt has no key\n {4}help: write secret = \{ env = "JWT_SECRET" \}/],
    ['with a secret of no text', ['{ env = "JWT_SECRET" }', '""'], /app\.desk\.auth\.jwt\.secret is empty\n {4}help: fill the text/],
  ];
  for (const [how, edit, words] of EDITS) {
    test(how, async (t) => {
      const { code, stdout, stderr } = await serve(file(t, edit), ENV);
      assert.deepEqual([code, stdout], [1, '']);
      assert.match(stderr, words);
    });
  }
});
