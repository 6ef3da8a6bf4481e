// Socket.IO on Bun with the engine that its makers wrote for it.
import { Server as Engine } from '@socket.io/bun-engine';
import { Server } from 'socket.io';
import { publish, serveDesk } from './desk.mjs';

const [hostname, port] = (process.argv[2] ?? '127.0.0.1:0').split(':');

const io = new Server({ serveClient: false });
const engine = new Engine({ path: '/socket.io/' });
io.bind(engine);
serveDesk(io);

const { websocket } = engine.handler();
const server = Bun.serve({
  hostname,
  port: Number(port),
  idleTimeout: 0, // a publisher may be silent while others are measured
  websocket,
  async fetch(request, server) {
    if (new URL(request.url).pathname === '/socket.io/') return engine.handleRequest(request, server);
    if (request.method === 'POST') publish(io, await request.text());
    return new Response();
  },
});
console.log(`Listening on http://${hostname}:${server.port}`);
