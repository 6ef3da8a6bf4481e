// seeds/004: the services publish to RabbitMQ as they always have, whatever they send; the sites hear of it. The bodies are
// those of the real publishers, where there is one.
import { after, afterEach, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { serve } from '../../../tests/e2e/harness.mjs';
import { rabbitmq } from '../../../tests/e2e/rabbitmq.mjs';
import { eventually } from '../../../tests/e2e/waiting.mjs';
import { ADMIN, CONFIG, Clients, newUser } from './clients.mjs';

const EXCHANGE = 'cloudphone.events';
const AT = '2026-11-21T02:00:00.000Z';
const SECRET = 'never-to-be-seen';

let server;
let clients;
let publisher;
const ends = [];

before(async () => {
  const broker = await rabbitmq({ after: (end) => ends.push(end) });
  await broker.start();
  await broker.ctl('add_vhost', 'cloudphone');
  await broker.ctl('set_permissions', '-p', 'cloudphone', 'guest', '.*', '.*', '.*');
  publisher = await broker.connect('/cloudphone');
  await publisher.channel.assertExchange(EXCHANGE, 'topic', { durable: true });
  server = await serve(CONFIG, { env: { RABBITMQ_URL: `${broker.url}/cloudphone` } });
  clients = new Clients(server);
  await eventually(() => server.logs.some((line) => line.includes('source_connected')), 'it is connected', 30_000);
});
afterEach(() => clients.close());
after(async () => {
  await server?.stop();
  for (const end of ends.reverse()) await end();
});

const send = (key, body, options) => publisher.publish(EXCHANGE, key, { ...body, _trace: { traceparent: '00-ab' } }, options);
/** As `createEvent` of the shared schemas wraps a payload. */
const envelope = (payload) => ({ eventId: newUser(), eventType: 'x', version: '1.0.0', timestamp: AT, source: 'service', payload });
const figure = async (name) => {
  const { text } = await server.api('/metrics');
  return Number(text.match(new RegExp(`^oyez_source_${name}\\{[^}]*source="events"\\} (\\d+)`, 'm'))[1]);
};

const typed = (type) => (data) => data.type === type;
const titled = (title) => (data) => data.title === title;
const message = { userId: undefined, appId: 'a1', appName: '微信', deviceId: 'd1' };

/** [key, body of a user, what the user hears, what administrators hear]; each heard one is [event, a test of its data]. */
const rows = (userId) => [
  ['quota.updated', { userId, quotaId: 'q1', type: 'updated', limits: { maxDevices: 10 }, usage: { currentDevices: 5 }, timestamp: AT },
    [['notification', (data) => data.type === 'quota.updated' && data.data.quotaId === 'q1'], ['quota.updated', (data) => data.usage.currentDevices === 5]],
    [['message', (data) => data.type === 'quota.updated' && data.data.userId === userId]]],
  ['quota.alert', { userId, quotaId: 'q1', planName: 'p', severity: 'critical', percentage: { devices: 97 }, warnings: [], timestamp: AT },
    [['notification', typed('quota.alert')], ['quota.alert', (data) => data.severity === 'critical']],
    [['notification', titled('配额严重告警')], ['message', typed('quota.alert')]]],
  ['quota.alert', { userId, quotaId: 'q1', type: 'alert', usagePercent: 97.5, alertLevel: 'warning', timestamp: AT },
    [['notification', typed('quota.alert')]], [['notification', titled('配额严重告警')]]],
  ['quota.exceeded', { userId, quotaId: 'q1', usagePercent: 101, timestamp: AT }, [['notification', typed('quota.exceeded')]], [['notification', titled('配额超额')]]],
  ['quota.renewed', { userId, quotaId: 'q1', validUntil: AT, extensionDays: 30, timestamp: AT }, [['quota.renewed', (data) => data.extensionDays === 30]]],
  ['device.created', { deviceId: 'd1', userId, deviceName: 'phone', status: 'creating', sagaId: 's', timestamp: AT }, [['notification', titled('设备已创建')]]],
  ['device.started', { deviceId: 'd1', userId, tenantId: 't', startedAt: AT, providerType: 'redroid' },
    [['notification', titled('设备已启动')], ['notification', (data) => data.type === 'device.status.changed' && data.data.newStatus === 'running'],
      ['device.status.changed', (data) => data.newStatus === 'running'], ['device-status-changed', (data) => data.status === 'running']]],
  ['device.stopped', { deviceId: 'd1', userId, stoppedAt: AT, duration: 60 }, [['notification', titled('设备已停止')], ['device-status-changed', (data) => data.status === 'stopped']]],
  ['device.error', envelope({ deviceId: 'd1', deviceName: 'phone', userId, errorType: 'boot', errorMessage: 'boom', occurredAt: AT }), [['notification', titled('设备错误')]]],
  ['user.registered', { type: 'user.registered', timestamp: AT, userId, username: 'z', email: 'z@example.com', quotaId: 'q' }, [['notification', titled('欢迎')]]],
  ['user.password_changed', envelope({ userId, username: 'z' }), [['notification', titled('密码已修改')]]],
  ['app.installed', { installationId: 'i1', applicationId: 'a1', deviceId: 'd1', userId, timestamp: AT },
    [['notification', titled('应用安装成功')], ['notification', typed('app.installed')], ['app.installed', (data) => data.installationId === 'i1']]],
  ['app.install_failed', envelope({ ...message, userId, reason: 'disk', failedAt: AT }), [['notification', titled('应用安装失败')]]],
  ['billing.low_balance', envelope({ userId, balance: 9.5, threshold: 10, detectedAt: AT }),
    [['notification', titled('余额不足')], ['notification', typed('billing.low_balance')], ['billing.low_balance', (data) => data.balance === 9.5]],
    [['notification', titled('用户余额不足')]]],
  ['billing.payment_success', envelope({ userId, amount: 100, orderId: 'o1', paymentId: 'p1' }), [['notification', titled('支付成功')], ['payment-success', (data) => data.amount === 100]]],
  ['billing.order.completed', { userId, orderId: 'o1' }, [['order-status-changed', (data) => data.orderNo === 'o1' && data.status === 'completed']]],
  ['proxy.cost_alert', { alertId: 'a', userId, deviceId: 'd1', alertType: 'exceeded', threshold: 1, currentSpending: 2, message: 'm', timestamp: AT },
    [['notification', typed('proxy.cost_alert')]], [['notification', titled('代理成本告警')]]],
  ['proxy.alert_resolved', { alertId: 'a', userId, alertTitle: '延迟', resolvedBy: 'ops' }, [], [['notification', titled('告警已解除')]]],
  ['sms.message.received', { messageId: 'm', userId, phoneNumber: '13800000000', verificationCode: '1234', messageText: '验证码 1234', receivedAt: AT },
    [['notification', (data) => data.type === 'sms.message_received' && data.data.verificationCode === '1234']]],
  ['sms.number.expired', { numberId: 'n', deviceId: 'd1', userId, phoneNumber: '13800000000', expiredAt: AT },
    [['notification', (data) => data.type === 'sms.number_expired' && !JSON.stringify(data).includes('138')]]],
  ['system.maintenance', envelope({ title: '系统维护', message: 'm', startTime: AT, endTime: AT, duration: 30, affectedServices: [] }), [['notification', titled('系统维护')]]],
  ['system.error.critical', { type: 'system.error.critical', errorCode: 'DATABASE_CONNECTION_FAILED', errorMessage: 'boom', serviceName: 'user-service', stackTrace: SECRET, timestamp: AT },
    [], [['notification', (data) => data.type === 'alert' && data.data.errorCode === 'DATABASE_CONNECTION_FAILED']]],
  ['media.file_uploaded', envelope({ userId, fileId: 'f1' }), [['notification', titled('文件上传完成')]]],
  ['notification.send', { userId, type: 'billing', title: '账单', message: 'm', priority: 'high', timestamp: AT }, [['notification', titled('账单')]]],
];

describe('every event of the platform, from RabbitMQ', () => {
  rows('u').forEach(([key], at) => test(`${key} (${at})`, async () => {
    const user = newUser();
    const [, body, toUser, toAdmin = []] = rows(user)[at];
    const [site, admin] = [await clients.as(user), await clients.as(newUser(), ADMIN)];
    await send(key, body);
    for (const [event, fits] of toUser) assert.ok(await site.inbox.take(event, fits));
    for (const [event, fits] of toAdmin) assert.ok(await admin.inbox.take(event, fits));
    for (const { inbox } of [site, admin]) {
      const heard = JSON.stringify(inbox.seen);
      assert.ok(!heard.includes('_trace') && !heard.includes(SECRET), heard);
    }
  }));

  test('secrets are pushed to nobody', async () => {
    const user = newUser();
    const [site, admin] = [await clients.as(user), await clients.as(newUser(), ADMIN)];
    const before = await figure('received_total');
    await send('user.password_reset_requested', envelope({ userId: user, resetToken: SECRET }));
    await send('user.password_reset_sms_requested', envelope({ userId: user, resetCode: SECRET }));
    await send('user.login_failed', { userId: user, password: SECRET, attempts: 3 });
    await site.inbox.take('notification', titled('登录失败'));
    assert.equal(await figure('received_total'), before + 3);
    for (const { inbox } of [site, admin]) assert.ok(!JSON.stringify(inbox.seen).includes(SECRET));
  });

  test('an outbox that repeats itself is heard once, by one who was away, too', async () => {
    const user = newUser();
    for (let n = 0; n < 3; n++) await send('device.started', { deviceId: `d-${user}`, userId: user, startedAt: AT });
    await send('device.stopped', { deviceId: `d-${user}`, userId: user, stoppedAt: AT });
    await eventually(async () => (await server.api(`/api/v1/inbox/unread?user=${user}`)).json?.count === 2, 'two are kept');
    const site = await clients.as(user);
    await site.inbox.take('notification', titled('设备已停止'));
    assert.deepEqual(site.inbox.all('notification').map((data) => data.title), ['设备已启动', '设备已停止']);
  });

  test('events of the same thing are different events, and each that is repeated is one', async () => {
    const [user, other] = [newUser(), newUser()];
    const thing = newUser();
    const events = [
      ['app.install_failed', { userId: user, installationId: thing, reason: 'no space' }],
      ['app.installed', { userId: user, installationId: thing }],
      ['app.updated', { userId: user, installationId: thing, updatedAt: AT }],
      ['app.updated', { userId: user, installationId: thing, updatedAt: '2026-11-22T02:00:00.000Z' }],
      ['billing.payment_success', { userId: user, paymentId: thing, amount: 1 }],
      ['billing.invoice_generated', { userId: user, paymentId: thing, invoiceId: `v-${thing}` }],
      ['billing.invoice_generated', { userId: user, paymentId: thing, invoiceId: `w-${thing}` }],
      ['media.file_uploaded', { userId: user, fileId: thing }],
      ['user.profile_updated', { userId: user }, { messageId: thing }],
      ['notification.send', { userId: user, title: '账单' }, { messageId: thing }],
      ['app.installed', { userId: other, installationId: thing }],
      ['media.file_uploaded', { userId: other, fileId: thing }],
      ['media.file_uploaded', { userId: other, fileId: 7 }],
      ['device.started', { userId: other, deviceId: 7, startedAt: 1 }],
    ];
    const nameless = ['app.updated', { userId: other, installationId: null }];
    const before = await figure('duplicates_total');
    for (let time = 0; time < 2; time++) for (const event of [nameless, ...events]) await send(...event);
    const kept = async (of) => (await server.api(`/api/v1/inbox?order=oldest&user=${of}`)).json.messages.map(({ data }) => data.title);
    await eventually(async () => await figure('duplicates_total') === before + events.length, 'each is heard of twice');
    assert.deepEqual(await kept(user), ['应用安装失败', '应用安装成功', '应用已更新', '应用已更新', '支付成功', '账单已生成', '账单已生成', '文件上传完成', '资料已更新', '账单']);
    assert.deepEqual(await kept(other), ['应用已更新', '应用安装成功', '文件上传完成', '文件上传完成', '设备已启动', '应用已更新']);
  });

  test('what nobody asked for is taken, and nothing went to the dead letters', async () => {
    const before = await figure('unmatched_total');
    await send('scheduler.task_completed', { taskId: 't' });
    await send('device.connection.failed', { deviceId: 'd1', eventType: 'x' });
    await eventually(async () => await figure('unmatched_total') === before + 2, 'both are counted');
    assert.equal(await figure('dead_letters_total'), 0);
  });
});
