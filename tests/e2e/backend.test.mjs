// What an app asks its own backend: may this user hear that, what does this event mean; and what the backend may ask of
// a publication: who among the members hears it.
import { after, before, beforeEach, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { fence, next } from './harness.mjs';
import { ask, heard, open, unique, until } from './steps.mjs';
import { jwt, newKey, raw, service, serving } from './stage.mjs';

const key = newKey('HS256');
const suite = { undo: [], after: (undo) => suite.undo.unshift(undo) };
let server;
let backend;
/** How the backend answers, by the channel or the event that it is asked about. */
const answers = new Map();

const config = () => `
[key.backend]
secret = { env = "OYEZ_API_KEY" }
[app.desk]
origins = "*"
[app.desk.socketio]
[app.desk.websocket]
[app.desk.auth]
from = ["auth.token", "query.token"]
[app.desk.auth.jwt]
algorithms = ["HS256"]
secret = "${key.secret}"
[app.desk.identity]
user = "claims.sub"
name = "claims.name"
roles = "claims.roles"
attributes = { departments = "claims.departments", sites = "claims.sites" }
[[app.desk.channel]]
name = "user:{id}"
subscribe = "id == user.id"
[[app.desk.channel]]
name = "all"
subscribe = true
[[app.desk.channel]]
name = "doc:{project}:{id}"
subscribe = { ask = "${backend.url}/may", token = "for-the-backend", cache = "30s", timeout = "300ms", private = true }
publish = { ask = "${backend.url}/may", cache = "0s", timeout = "300ms", private = true }
[[app.desk.channel]]
name = "open:{id}"
subscribe = { ask = "${backend.url}/may", cache = "1s", timeout = "300ms", default = true, private = true }
[app.desk.connect]
join = ["user:{user.id}", "all"]
reply = { event = "hello" }
[[app.desk.on]]
event = "subscribe"
join = "{data.channel}"
reply = { event = "subscribed", data = "{'channel': data.channel}" }
[[app.desk.on]]
event = "say"
publish = { to = "{data.channel}", event = "said", data = "{'from': user.id}" }
ack = "{'ok': true}"
[app.desk.forward]
url = "${backend.url}/event"
token = "for-the-backend"
timeout = "300ms"
private = true
`;

before(async () => {
  backend = await service(suite, ({ body }) => {
    const { channel, event } = JSON.parse(body);
    return answers.get(channel ?? event)?.() ?? { body: { allow: true } };
  });
  server = await serving(suite, config());
});
after(async () => { for (const undo of suite.undo) await undo(); });
beforeEach(() => { backend.calls.length = 0; });

const enter = (t, claims, options = {}) => open(t, server.url, { auth: { token: jwt(key, claims) }, ...options }, 'hello');
const asked = () => backend.calls.map(({ body }) => JSON.parse(body));
const may = (socket, channel) => ask(socket, 'subscribed', 'subscribe', { channel });
const mayNot = async (socket, channel) => {
  const error = await ask(socket, 'error', 'subscribe', { channel });
  assert.deepEqual(error, { code: 403, message: `not allowed to subscribe to ${channel}`, channel });
};

describe('a right that the backend decides', () => {
  test('is asked with all that the backend may want to know', async (t) => {
    const user = unique('u');
    const channel = `doc:p1:${user}:x`;
    const socket = await enter(t, { sub: user, roles: ['b', 'a', 'b'], departments: 7 });
    await may(socket, channel);
    const [call] = backend.calls;
    assert.deepEqual([call.method, call.url], ['POST', '/may']);
    assert.equal(call.headers['content-type'], 'application/json');
    assert.equal(call.headers.authorization, 'Bearer for-the-backend');
    assert.deepEqual(JSON.parse(call.body), {
      user, roles: ['a', 'b'], attributes: { departments: ['7'], sites: [] },
      action: 'subscribe', channel, captures: { project: 'p1', id: `${user}:x` },
    });
    await fence(server, socket, channel);
  });

  const ALLOWS = { '{"allow": true}': { body: { allow: true } }, 'an empty 204': { status: 204 }, 'an empty 200': { status: 200 } };
  const DENIES = {
    '{"allow": false}': { body: { allow: false } }, '403 of whatever body': { status: 403, body: 'no' },
    '500, which is no answer': { status: 500, body: { allow: true } }, 'a redirect': { status: 302 },
    'text, which is no answer': { body: 'yes' }, 'another shape': { body: { allowed: true } }, 'no answer in time': { status: 0 },
  };
  for (const [words, answer] of Object.entries(ALLOWS)) {
    test(`is given by ${words}`, async (t) => {
      const channel = `doc:p1:${unique('d')}`;
      answers.set(channel, () => answer);
      await may(await enter(t, { sub: unique('u') }), channel);
    });
  }
  for (const [words, answer] of Object.entries(DENIES)) {
    test(`is denied by ${words}`, async (t) => {
      const channel = `doc:p1:${unique('d')}`;
      answers.set(channel, () => answer);
      const socket = await enter(t, { sub: unique('u') });
      const begun = Date.now();
      await mayNot(socket, channel);
      assert.ok(Date.now() - begun < 1500);
      assert.equal(socket.connected, true);
    });
  }

  test('has its default where there is no answer, but not where the answer is no', async (t) => {
    const [silent, no] = [`open:${unique('o')}`, `open:${unique('o')}`];
    answers.set(silent, () => ({ status: 0 })).set(no, () => ({ status: 403 }));
    const socket = await enter(t, { sub: unique('u') });
    await may(socket, silent);
    await fence(server, socket, silent);
    await mayNot(socket, no);
  });

  test('is remembered by user, rights and channel; a missing answer is not', async (t) => {
    const [user, channel, broken] = [unique('u'), `doc:p1:${unique('d')}`, `doc:p1:${unique('d')}`];
    const sockets = await Promise.all([1, 2, 3].map(() => enter(t, { sub: user })));
    await Promise.all(sockets.map((socket) => may(socket, channel)));
    assert.equal(asked().length, 1, 'asked together, asked once');
    await may(await enter(t, { sub: user, roles: 'boss' }), channel);
    await may(await enter(t, { sub: unique('u') }), channel);
    assert.equal(asked().length, 3, 'other rights and other users are other questions');
    answers.set(broken, () => ({ status: 500 }));
    await mayNot(sockets[0], broken);
    answers.delete(broken);
    await may(sockets[0], broken);
  });

  test('is asked again when the answer is old', async (t) => {
    const [user, channel] = [unique('u'), `open:${unique('o')}`];
    answers.set(channel, () => ({ status: 403 }));
    const socket = await enter(t, { sub: user });
    await mayNot(socket, channel);
    answers.delete(channel);
    await until(() => {
      socket.emit('subscribe', { channel });
      assert.equal(heard(socket, 'subscribed').length > 0, true);
    });
    assert.ok(asked().length <= 3, 'not with every question');
  });

  test('to publish is asked too, and a slow answer holds up nobody else', async (t) => {
    const [user, other] = [unique('u'), unique('u')];
    const channel = `doc:p1:${unique('d')}`;
    const [socket, second] = [await enter(t, { sub: user }), await enter(t, { sub: other })];
    await may(socket, channel);
    const said = next(socket, 'said');
    assert.deepEqual(await socket.emitWithAck('say', { channel }), { ok: true });
    assert.deepEqual(await said, [{ from: user }]);
    assert.deepEqual(asked().map(({ action }) => action), ['subscribe', 'publish']);
    answers.set(channel, () => ({ status: 0 }));
    const slow = socket.emitWithAck('say', { channel });
    await until(() => assert.equal(asked().length, 3));
    await fence(server, second, `user:${other}`);
    await fence(server, socket, `user:${user}`);
    assert.equal((await slow).code, 403);
  });
});

describe('an event that no rule names', () => {
  test('goes to the backend, whose answer is the acknowledgement', async (t) => {
    const user = unique('u');
    answers.set('order:new', () => ({ body: { order: 7, lines: [1, null] } }));
    const socket = await enter(t, { sub: user, name: 'Li', roles: 'sales', sites: [3] });
    assert.deepEqual(await socket.emitWithAck('order:new', { item: 'x', from: 'admin' }), { order: 7, lines: [1, null] });
    const [call] = backend.calls;
    assert.deepEqual([call.url, call.headers.authorization], ['/event', 'Bearer for-the-backend']);
    const { id, ...words } = JSON.parse(call.body);
    assert.deepEqual([id.length, call.headers['webhook-id']], [36, id]);
    assert.deepEqual(words, {
      app: 'desk', event: 'order:new', data: { item: 'x', from: 'admin' }, args: [{ item: 'x', from: 'admin' }], session: socket.id,
      user: { id: user, name: 'Li', roles: ['sales'], attributes: { departments: [], sites: ['3'] } },
    });
    answers.set('empty', () => ({ status: 204 }));
    assert.equal(await socket.emitWithAck('empty'), null);
    assert.equal(asked().at(-1).data, null);
    socket.emit('unheeded', 1); // nobody waits for an answer
    await until(() => assert.equal(asked().at(-1).event, 'unheeded'));
  });

  test('keeps its order, and is refused aloud when the backend fails', async (t) => {
    const user = unique('u');
    const socket = await enter(t, { sub: user });
    const acks = await Promise.all([1, 2, 3].map((n) => socket.emitWithAck('step', n)));
    assert.deepEqual(acks, [{ allow: true }, { allow: true }, { allow: true }]);
    assert.deepEqual(asked().map(({ data }) => data), [1, 2, 3]);
    const failures = [
      ['refused', { status: 409, body: { secret: 'stack trace' } }, 'the backend refused', 502, 'backend_failed'],
      ['silent', { status: 0 }, 'the backend did not answer in time', 504, 'timeout'],
      ['odd', { body: '<html>' }, "the backend's answer is not JSON", 502, 'backend_failed'],
    ];
    for (const [event, answer, message, code, error] of failures) {
      answers.set(event, () => answer);
      const said = next(socket, 'error');
      assert.deepEqual(await socket.timeout(3000).emitWithAck(event), { code, message, channel: null, error });
      assert.equal((await said)[0].message, message);
    }
    await fence(server, socket, `user:${user}`);
  });

  test('of a raw WebSocket goes there as well, as the whole frame', async (t) => {
    const socket = await raw(t, `${server.ws}/ws?token=${jwt(key, { sub: unique('u') })}`).opened;
    await socket.heard.take('hello');
    socket.say({ type: 'order:new', item: 7 });
    await until(() => assert.deepEqual(asked().map(({ event, data }) => [event, data]), [['order:new', { type: 'order:new', item: 7 }]]));
    answers.set('refused', () => ({ status: 500 }));
    socket.say({ type: 'refused' });
    assert.equal((await socket.heard.take('error')).data.code, 502);
  });
});

describe('the audience of a publication', () => {
  const PEOPLE = {
    boss: { roles: ['manager'], departments: ['sales'], sites: ['1', '2'] },
    clerk: { roles: ['clerk'], departments: ['sales'], sites: ['1'] },
    smith: { roles: ['worker', 'clerk'], departments: [], sites: ['2'] },
  };
  const CASES = [
    [undefined, ['boss', 'clerk', 'smith']],
    [null, ['boss', 'clerk', 'smith']],
    [{ roles: ['manager'] }, ['boss']],
    [{ roles: 'clerk' }, ['clerk', 'smith']],
    [{ roles: ['manager', 'worker'] }, ['boss', 'smith']],
    [{ departments: ['sales'], sites: [2] }, ['boss']],
    [{ sites: ['2'] }, ['boss', 'smith']],
    [{ roles: ['nobody'] }, []],
    [{ roles: [] }, []],
    [{ expression: "'clerk' in user.roles && !('sales' in user.departments)" }, ['smith']],
    [{ sites: ['1'], expression: "'manager' in user.roles || 'worker' in user.roles" }, ['boss']],
    [{ expression: 'size(user.sites) > 1' }, ['boss']],
  ];
  for (const [audience, expected] of CASES) {
    test(`${JSON.stringify(audience)} is heard by ${expected.join(', ') || 'nobody'}`, async (t) => {
      const sockets = await Promise.all(Object.entries(PEOPLE).map(async ([name, rights]) => [name, await enter(t, { sub: unique(name), ...rights })]));
      const plain = await raw(t, `${server.ws}/ws?token=${jwt(key, { sub: unique('raw'), ...PEOPLE.boss })}`).opened;
      await plain.heard.take('hello');
      const event = unique('news');
      await server.publish(['all', '*'], event, { n: 1 }, { audience });
      for (const [, socket] of sockets) await fence(server, socket, 'all');
      const reached = sockets.filter(([, socket]) => heard(socket, event).length === 1).map(([name]) => name);
      assert.deepEqual(reached, expected);
      await server.publish('all', 'last', {});
      await plain.heard.take('last');
      assert.equal(plain.heard.all(event).length, expected.includes('boss') ? 1 : 0);
    });
  }

  const WRONG = [
    ['roles', /an audience is an object/],
    [['clerk'], /an audience is an object/],
    [{ role: ['clerk'] }, /users have no list `role`; there are roles, departments, sites, expression/],
    [{ id: ['u1'] }, /users have no list `id`/],
    [{ roles: { in: ['clerk'] } }, /roles must be a text or a list of texts/],
    [{ roles: ['clerk', null] }, /roles must be a text or a list of texts/],
    [{ expression: 7 }, /expression must be a text/],
    [{ expression: ['true'] }, /expression must be a text/],
    [{ expression: "user.id == 'u1'" }, /roles and attributes, not for one user/],
    [{ expression: "'x' in user.rols" }, /there is no `rols` here/],
    [{ expression: "'x' in" }, /not a CEL expression/],
    [{ expression: 'user.roles' }, /true or false is needed/],
    [{ expression: "data.x == 'y'" }, /`data` is not known here/],
  ];
  for (const [audience, words] of WRONG) {
    test(`${JSON.stringify(audience)} is refused`, async () => {
      const answer = await server.api('/api/v1/publish', { body: { to: 'all', event: 'e', audience } });
      assert.equal(answer.status, 400);
      assert.equal(answer.json.error.code, 'bad_request');
      assert.match(answer.json.error.message, /^`audience`: /);
      assert.match(answer.json.error.message, words);
    });
  }
});
