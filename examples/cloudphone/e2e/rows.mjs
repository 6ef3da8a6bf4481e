// What notification-service pushes for each event of the platform: the rows of seeds/004 and of the real consumers.
// `user` is pushed to `user:{userId}`, `admin` to the room `admin`, `all` to everybody; each is [event, payload].

const AT = '2026-11-21T02:00:00.000Z';
const typed = (type, data, more = {}) => ['notification', { type, ...more, data }];
/** The stored notification that the service pushes beside the typed one. */
const entity = (userId, type, title, data) => ['notification', {
  id: '0b9c8f5e-8a55-4a43-a8f4-7b9d6c0c2f11', userId, type, status: 'pending', title, message: `${title}。`, data,
  channels: ['websocket'], sentAt: null, readAt: null, createdAt: AT, updatedAt: AT,
}];
const quota = (userId, type, more = {}) => ({ userId, quotaId: 'q1', type, limits: { devices: 10 }, usage: { devices: 8 }, ...more, timestamp: AT });
const status = (oldStatus, newStatus) => typed('device.status.changed', { deviceId: 'd1', deviceName: 'phone-1', oldStatus, newStatus, timestamp: AT });
const app = { appId: 'a1', appName: '微信', deviceId: 'd1', deviceName: 'phone-1' };
const notice = (type, title, data) => ['notification', { type, title, message: `${title}：详情`, data, timestamp: AT }];

/** `(userId) => rows` */
export const rows = (u) => [
  { key: 'quota.updated', user: [typed('quota.updated', quota(u, 'updated'))], admin: [['message', { type: 'quota.updated', data: quota(u, 'updated') }]] },
  { key: 'quota.alert (warning)', user: [typed('quota.alert', quota(u, 'alert', { usagePercent: 85, alertLevel: 'warning' }))] },
  {
    key: 'quota.alert (critical)',
    user: [typed('quota.alert', quota(u, 'alert', { usagePercent: 97.5, alertLevel: 'critical' }))],
    admin: [notice('critical', '配额严重告警', quota(u, 'alert', { usagePercent: 97.5, alertLevel: 'critical' }))],
  },
  { key: 'quota.exceeded', user: [typed('quota.exceeded', quota(u, 'exceeded', { usagePercent: 101 }))], admin: [notice('error', '配额超额', quota(u, 'exceeded'))] },
  { key: 'quota.renewed', user: [typed('quota.renewed', quota(u, 'renewed', { extensionDays: 30 }))] },
  { key: 'device.created', user: [entity(u, 'device', '设备已创建', { deviceId: 'd1' })] },
  { key: 'device.creation_failed', user: [entity(u, 'device', '设备创建失败', { reason: 'no capacity' })] },
  { key: 'device.error', user: [entity(u, 'device', '设备错误', { deviceId: 'd1', errorType: 'boot' })] },
  { key: 'device.connection_lost', user: [entity(u, 'device', '设备连接丢失', { deviceId: 'd1', lostAt: AT })] },
  { key: 'device.deleted', user: [entity(u, 'device', '设备已删除', { deviceId: 'd1' })] },
  { key: 'device.started', user: [entity(u, 'device', '设备已启动', { deviceId: 'd1' }), status('stopped', 'running')] },
  { key: 'device.stopped', user: [entity(u, 'device', '设备已停止', { deviceId: 'd1' }), status('running', 'stopped')] },
  { key: 'user.registered', user: [entity(u, 'user', '欢迎', { username: 'z' })] },
  { key: 'user.password_changed', user: [entity(u, 'user', '密码已修改', {})] },
  { key: 'user.two_factor_enabled', user: [entity(u, 'user', '双因素认证已启用', {})] },
  { key: 'app.installed', user: [entity(u, 'app', '应用安装成功', app), typed('app.installed', { userId: u, ...app, version: '8.0', installedAt: AT })] },
  { key: 'app.install_failed', user: [entity(u, 'app', '应用安装失败', app), typed('app.install_failed', { userId: u, ...app, reason: 'disk', failedAt: AT })] },
  { key: 'app.updated', user: [entity(u, 'app', '应用已更新', app), typed('app.updated', { userId: u, ...app, oldVersion: '8.0', newVersion: '8.1', updatedAt: AT })] },
  {
    key: 'billing.low_balance',
    user: [entity(u, 'billing', '余额不足', {}), typed('billing.low_balance', { userId: u, balance: 9.5, threshold: 10, daysRemaining: 3, detectedAt: AT })],
    admin: [notice('warning', '用户余额不足', { userId: u, balance: 9.5 })],
  },
  { key: 'billing.payment_success', user: [typed('billing.payment_success', { userId: u, amount: 100, orderId: 'o1', paymentId: 'p1', paymentMethod: 'alipay', newBalance: 109.5, paidAt: AT })] },
  { key: 'billing.invoice_generated', user: [typed('billing.invoice_generated', { userId: u, invoiceId: 'i1', amount: 100, month: '2026-11', dueDate: AT, generatedAt: AT })] },
  {
    key: 'proxy.cost_alert',
    user: [typed('proxy.cost_alert', { alertTitle: '成本告警', providerName: 'p', alertType: 'daily', currentCost: 12, threshold: 10, period: 'day', detectedAt: AT }, { severity: 'critical' })],
    admin: [notice('error', '成本告警', { providerName: 'p' })],
  },
  { key: 'proxy.usage_stopped', user: [typed('proxy.usage_stopped', { providerName: 'p', reason: 'budget', reasonText: '超出预算', stoppedAt: AT }, { severity: 'critical' })], admin: [notice('error', '代理服务已停止', {})] },
  { key: 'proxy.alert_triggered', admin: [notice('warning', '代理告警: 延迟', { ruleName: '延迟' })] },
  { key: 'proxy.alert_resolved', admin: [notice('success', '告警已解除: 延迟', { resolvedBy: 'ops' })] },
  { key: 'sms.number.expired', user: [typed('sms.number_expired', { phoneNumber: '138****0000', country: 'CN', provider: 's', expiredAt: AT, renewalAvailable: true }, { severity: 'warning' })] },
  { key: 'sms.number.from_pool', user: [typed('sms.number_assigned', { phoneNumber: '138****0000', assignedAt: AT, expiresAt: AT }, { severity: 'info' })] },
  { key: 'sms.message.received', user: [typed('sms.message_received', { phoneNumber: '138****0000', sender: '10086', message: '验证码 1234', verificationCode: '1234', receivedAt: AT }, { severity: 'info', priority: 'high' })] },
  { key: 'media.file_uploaded', user: [entity(u, 'system', '文件上传完成', { fileId: 'f1' })] },
  { key: 'system.error.critical', admin: [entity('admin-1', 'alert', '系统错误', { errorCode: 'DATABASE_CONNECTION_FAILED' })] },
  { key: 'system.maintenance', all: [notice('system', '系统维护', { startTime: AT, endTime: AT, duration: 30, affectedServices: ['device-service'] })] },
  { key: 'consul.service.changed (方案 A)', admin: [['message', { type: 'consul.service.changed', data: { serviceName: 'user-service', oldStatus: 'passing', newStatus: 'critical', timestamp: AT } }]] },
  { key: 'consul.services.updated (方案 B)', admin: [['message', { type: 'consul.services.updated', data: [{ service: 'user-service', healthyCount: 2, unhealthyCount: 0 }] }]] },
  // The document and earlier clients listen to bare names; the user site to kebab-case ones that nothing ever emitted.
  { key: 'bare quota.updated of the document', user: [['quota.updated', quota(u, 'updated')]] },
  { key: 'bare quota.alert of the document', user: [['quota.alert', { quotaId: 'q1', usagePercent: 85 }]] },
  { key: 'bare device.status.changed of the document', user: [['device.status.changed', { deviceId: 'd1', oldStatus: 'stopped', newStatus: 'running' }]] },
  { key: 'bare billing.low_balance of useRealtimeBilling', user: [['billing.low_balance', { userId: u, balance: 1 }]] },
  { key: 'bare app.installed of useRealtimeApp', user: [['app.installed', app]] },
  { key: 'device-status-changed of the user site', user: [['device-status-changed', { deviceId: 'd1', deviceName: 'phone-1', status: 'running' }]] },
  { key: 'order-status-changed of the user site', user: [['order-status-changed', { orderNo: 'o1', status: 'paid' }]] },
  { key: 'payment-success of the user site', user: [['payment-success', { amount: 100 }]] },
];
