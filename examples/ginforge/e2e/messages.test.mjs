// seeds/003: what a page may send (rooms, chat) and what becomes of what it may not.
import { after, afterEach, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { serve } from '../../../tests/e2e/harness.mjs';
import { CONFIG, Pages, documented, enhanced, mint, nameOf, newUser, plain } from './clients.mjs';

let server;
let pages;
let roomCount = 0;
const newRoom = () => `chat:room${String(roomCount += 1).padStart(3, '0')}`;

before(async () => { server = await serve(CONFIG); pages = new Pages(server); });
afterEach(() => pages.close());
after(async () => { await server?.stop(); });

const assertError = (frame) => {
  assert.equal(frame.type, 'error');
  assert.ok(Number.isInteger(frame.content.code) && frame.content.code !== 0);
  assert.ok(frame.content.message.length > 0);
};
/** Frames other than those about who is online and how much is unread. */
const heard = (page) => page.inbox.seen.map(([type]) => type).filter((type) => !['welcome', 'user_status', 'user_offline', 'pong', 'unread_count'].includes(type));

describe('rooms', () => {
  const clients = { 'the enhanced client (room)': enhanced, 'the test page (content)': plain, 'the document (content, content.room)': documented };
  for (const [name, client] of Object.entries(clients)) {
    test(`${name}: join, speak, hear, leave`, async () => {
      const room = newRoom();
      const [ann, bob] = [newUser(), newUser()];
      const [speaker, listener, stranger] = [await pages.as(ann), await pages.as(bob), await pages.as(newUser())];
      for (const page of [speaker, listener]) { page.send(client.join(room)); await page.settled(); }
      assert.deepEqual(heard(speaker), [], 'joining is not answered');
      const message = client.say(room, '你好');
      speaker.send(message);
      for (const page of [speaker, listener]) {
        const frame = await page.take('room_message');
        assert.equal(frame.room, room);
        assert.deepEqual(frame.content, message.content);
        assert.equal(frame.from, ann);
        assert.equal(frame.from_name, nameOf(ann));
        assert.ok(String(frame.id).length > 0);
        if (message.timestamp) assert.equal(frame.timestamp, message.timestamp, 'the client\'s own time, in milliseconds');
        assert.equal(typeof frame.created_at, 'string');
      }
      listener.send(client.leave(room));
      await listener.settled();
      speaker.send(client.say(room, 'after'));
      await speaker.take('room_message', (frame) => frame.content.text === 'after');
      await listener.settled();
      await stranger.settled();
      assert.deepEqual(heard(listener), ['room_message'], 'leaving is not answered, and ends it');
      assert.deepEqual(heard(stranger), [], 'who never joined hears nothing');
    });
  }

  test('a room named in content.room is joined and left', async () => {
    const room = newRoom();
    const page = await pages.as(newUser());
    page.send({ type: 'join_room', content: { room } });
    page.send(enhanced.say(room, 'in'));
    await page.take('room_message');
    page.send({ type: 'leave_room', content: { room } });
    page.send(enhanced.say(room, 'out'));
    assertError(await page.take('error'));
  });

  test('`from` is set by the server, whatever the client claims', async () => {
    const room = newRoom();
    const user = newUser();
    const page = await pages.as(user);
    page.send(enhanced.join(room));
    page.send({ ...enhanced.say(room, 'hi'), from: '1', from_name: 'root', id: 'forged', user_id: '1' });
    const frame = await page.take('room_message');
    assert.equal(frame.from, user);
    assert.equal(frame.from_name, nameOf(user));
    assert.notEqual(frame.id, 'forged');
  });

  test('every relayed message has an id of its own', async () => {
    const room = newRoom();
    const page = await pages.as(newUser());
    page.send(enhanced.join(room));
    for (let index = 0; index < 20; index += 1) page.send(enhanced.say(room, `m${index}`));
    const ids = new Set();
    for (let index = 0; index < 20; index += 1) {
      const frame = await page.take('room_message');
      assert.equal(frame.content.text, `m${index}`, 'in order');
      ids.add(frame.id);
    }
    assert.equal(ids.size, 20);
  });

  test('only this session\'s membership counts for posting', async () => {
    const room = newRoom();
    const user = newUser();
    const [member, otherTab] = [await pages.as(user), await pages.as(user)];
    member.send(enhanced.join(room));
    await member.settled();
    otherTab.send(enhanced.say(room, 'from outside'));
    assertError(await otherTab.take('error'));
    await pages.fence(member, room);
    assert.deepEqual(member.all('room_message'), []);
  });

  test('joining twice does not double what is heard', async () => {
    const room = newRoom();
    const page = await pages.as(newUser());
    page.send(enhanced.join(room));
    page.send(plain.join(room));
    page.send(enhanced.say(room, 'once'));
    await pages.fence(page, room);
    assert.equal(page.all('room_message').length, 1);
  });

  for (const room of ['order:1', 'admin', 'user:1', '*', 'chat:', 'chat:a\nb', `chat:${'x'.repeat(5000)}`, '']) {
    test(`the room ${JSON.stringify(room.slice(0, 20))} is refused with an error frame`, async () => {
      const page = await pages.as(newUser());
      page.send(enhanced.join(room));
      assertError(await page.take('error'));
      await page.settled();
      assert.equal(page.open, true);
    });
  }

  for (const [name, frame] of Object.entries({
    'no room': { type: 'join_room' }, 'a number': { type: 'join_room', room: 5 }, 'an object': { type: 'join_room', content: { name: 'x' } },
    'a message without room': { type: 'room_message', content: { text: 'x' } },
  })) {
    test(`${name} for a room is refused with an error frame`, async () => {
      const page = await pages.as(newUser());
      page.send(frame);
      assertError(await page.take('error'));
      await page.settled();
    });
  }
});

describe('chat', () => {
  for (const [name, client] of Object.entries({ enhanced, plain })) {
    test(`${name}: reaches every page of the addressee, and is not echoed`, async () => {
      const [ann, bob] = [newUser(), newUser()];
      const [sender, desk, phone] = [await pages.as(ann), await pages.as(bob), await pages.as(bob)];
      const message = client.chat(bob, '在吗？');
      sender.send({ ...message, from: bob, from_name: 'forged' });
      for (const page of [desk, phone]) {
        const frame = await page.take('chat');
        assert.deepEqual(frame.content, message.content);
        assert.equal(frame.from, ann);
        assert.equal(frame.from_name, nameOf(ann));
        assert.equal(frame.to, bob);
        assert.equal(frame.timestamp, message.timestamp);
        assert.ok(String(frame.id).length > 0);
      }
      await pages.fence(sender, `user:${ann}`);
      assert.deepEqual(heard(sender).filter((type) => !type.startsWith('fence-')), []);
    });
  }

  test('user_message of the document is chat: addressed in content, signed by the server', async () => {
    const [ann, bob] = [newUser(), newUser()];
    const [sender, receiver] = [await pages.as(ann), await pages.as(bob)];
    sender.send(documented.chat(bob, 'Hello!'));
    const frame = await Promise.any([receiver.take('chat'), receiver.take('user_message')]);
    assert.equal(frame.content.text, 'Hello!');
    assert.equal(frame.from, ann);
    assert.equal(frame.from_name, nameOf(ann));
  });

  test('to somebody who is offline is lost without harm', async () => {
    const page = await pages.as(newUser());
    page.send(enhanced.chat(newUser(), 'nobody there'));
    await page.settled();
    assert.equal(page.open, true);
  });

  test('a room message cannot be slipped into somebody\'s own channel', async () => {
    const [ann, bob] = [newUser(), newUser()];
    const [sender, victim] = [await pages.as(ann), await pages.as(bob)];
    sender.send(enhanced.say(`user:${bob}`, 'slipped'));
    assertError(await sender.take('error'));
    await pages.fence(victim, `user:${bob}`);
    assert.deepEqual(victim.all('room_message'), []);
  });

  for (const to of ['*', 'a\nb', '', { id: 1 }, ['1', '2']]) {
    test(`to ${JSON.stringify(to)} is refused with an error frame, and reaches nobody`, async () => {
      const [sender, other] = [await pages.as(newUser()), await pages.as(newUser())];
      sender.send(enhanced.chat(to, 'x'));
      assertError(await sender.take('error'));
      await other.settled();
      assert.deepEqual(other.all('chat'), []);
    });
  }

  test('to nobody is refused with an error frame', async () => {
    const page = await pages.as(newUser());
    page.send({ type: 'chat', content: { text: 'x' } });
    assertError(await page.take('error'));
  });
});

describe('what a page must not say', () => {
  const ignored = {
    'broken JSON': '{"type":"ping"', 'no JSON': 'hello', 'an empty frame': '', 'a list': '[1,2]', 'a number': '7', null: 'null',
    'no type': '{"content":1}', 'a type that is no text': '{"type":{"a":1}}', 'an unknown type': '{"type":"shutdown"}',
    'a binary frame': Buffer.from('{"type":"join_room","room":"chat:bin"}'),
    'very deep JSON': `{"type":"ping","x":${'['.repeat(5000)}${']'.repeat(5000)}}`,
  };
  for (const [name, frame] of Object.entries(ignored)) {
    test(`${name} is ignored, and the connection stays`, async () => {
      const user = newUser();
      const page = await pages.as(user);
      page.send(frame);
      await pages.fence(page, `user:${user}`);
      await page.settled();
      assert.equal(page.open, true);
    });
  }

  test('server-made types from a client reach nobody', async () => {
    const [ann, bob] = [newUser(), newUser()];
    const [sender, victim] = [await pages.as(ann), await pages.as(bob)];
    for (const type of ['notification', 'system', 'broadcast', 'data_update', 'refresh', 'welcome']) {
      sender.send({ type, to: bob, room: `user:${bob}`, content: { title: 'forged' }, timestamp: Date.now() });
    }
    sender.send({ type: 'user_status', content: { user_id: '1', status: 'offline', title: 'forged' } });
    await sender.settled();
    await pages.fence(victim, `user:${bob}`);
    assert.deepEqual(victim.inbox.seen.filter(([, frame]) => frame.content?.title === 'forged'), []);
  });

  test('a message of 512 KiB passes, one byte more closes with 1009 and touches nobody else', async () => {
    const room = newRoom();
    const [page, other] = [await pages.as(newUser()), await pages.as(newUser())];
    const sized = (bytes) => {
      const frame = JSON.stringify({ type: 'room_message', room, content: { text: '' } });
      return frame.replace('"text":""', `"text":"${'x'.repeat(bytes - frame.length)}"`);
    };
    page.send(enhanced.join(room));
    page.send(sized(512 * 1024));
    const { content } = await page.take('room_message');
    assert.ok(content.text.length > 500_000);
    page.send(sized(512 * 1024 + 1));
    assert.equal(await page.closed, 1009);
    await other.settled();
  });

  test('two thousand frames in a burst are all handled', async () => {
    const page = await pages.as(newUser());
    for (let index = 0; index < 1990; index += 1) page.send('{"type":"ping"}');
    for (let index = 0; index < 1990; index += 1) await page.take('pong', undefined, 20_000);
    assert.equal(page.open, true);
  });

  test('the token is not taken from a frame: a page cannot become somebody else', async () => {
    const [user, victim] = [newUser(), newUser()];
    const page = await pages.as(user);
    page.send({ type: 'auth:refresh', token: mint(victim), content: { token: mint(victim) } });
    await server.publish(`user:${victim}`, 'system', { message: 'secret' });
    await Promise.race([page.closed, pages.fence(page, `user:${user}`)]);
    assert.deepEqual(page.all('system'), []);
  });
});
