// The ticket desk on Socket.IO: rooms by rights, tokens, and what backends publish. The same on Node and on Bun.
import jwt from 'jsonwebtoken';

const secret = process.env.JWT_SECRET;
const now = () => new Date().toISOString();

const RIGHTS = {
  user: (claims, id) => id === claims.userId,
  role: (claims, role) => claims.roles.includes(role),
  department: (claims, department) => claims.departments.includes(department),
  ticket: () => true,
};

function maySubscribe(claims, channel) {
  const colon = channel.indexOf(':');
  const right = RIGHTS[channel.slice(0, colon)];
  return right !== undefined && right(claims, channel.slice(colon + 1));
}

/** Puts the desk's rules onto a Socket.IO server. */
export function serveDesk(io) {
  io.use((socket, next) => {
    try {
      const { userId, roles = [], departments = [] } = jwt.verify(socket.handshake.auth.token, secret, { algorithms: ['HS256'] });
      socket.data = { userId, roles, departments };
      next();
    } catch {
      next(new Error('Authentication error'));
    }
  });
  io.on('connection', (socket) => {
    const claims = socket.data;
    socket.join(`user:${claims.userId}`);
    socket.on('subscribe', ({ channels }) => {
      const joined = channels.filter((channel) => maySubscribe(claims, channel));
      socket.join(joined);
      socket.emit('subscribed', { channels: joined, timestamp: now() });
    });
    socket.on('unsubscribe', ({ channels }) => {
      for (const channel of channels) socket.leave(channel);
      socket.emit('unsubscribed', { channels, timestamp: now() });
    });
    socket.on('heartbeat', () => socket.emit('heartbeat_ack', { timestamp: now(), clientId: socket.id }));
    socket.emit('connected', { message: '已连接到 YanYu Cloud³ 实时通知', clientId: socket.id, timestamp: now() });
  });
}

/** Emits what a backend has posted. */
export function publish(io, body) {
  const { channel, event, data } = JSON.parse(body);
  io.to(channel).emit(event, { type: event, payload: data, timestamp: now() });
}
