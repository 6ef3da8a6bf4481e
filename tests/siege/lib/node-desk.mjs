// One server of a cluster of Node's, which does what the app of desk.mjs does: rooms, echoes, and what backends post.
// `node node-desk.mjs REDIS-URL`
import { createServer } from 'node:http';
import { createAdapter } from '@socket.io/redis-adapter';
import { Redis } from 'ioredis';
import { Server } from 'socket.io';

const server = createServer({ noDelay: true }, (request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    const { to, event, data } = JSON.parse(Buffer.concat(chunks));
    io.to(to).emit(event, data);
    response.end('{}');
  });
});
server.keepAliveTimeout = 0;

const io = new Server(server, { serveClient: false, transports: ['websocket'], adapter: createAdapter(new Redis(process.argv[2]), new Redis(process.argv[2])) });
io.engine.on('connection', (connection) => { connection.request = null; });
io.on('connection', (socket) => {
  socket.on('join', (room) => socket.join(`room:${room}`));
  socket.on('echo', (data, answer) => answer(data));
});
server.listen(0, '127.0.0.1', () => console.log(`Listening on http://127.0.0.1:${server.address().port}`));
