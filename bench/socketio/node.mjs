// Socket.IO on Node with ws. As its performance guide says: bufferutil, no compression, the first request forgotten.
import { createServer } from 'node:http';
import { Server } from 'socket.io';
import { publish, serveDesk } from './desk.mjs';

const [hostname, port] = (process.argv[2] ?? '127.0.0.1:0').split(':');

const server = createServer({ noDelay: true }, (request, response) => {
  if (request.method !== 'POST') return void response.end();
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    publish(io, Buffer.concat(chunks).toString());
    response.end();
  });
});
server.keepAliveTimeout = 0; // a publisher may be silent while others are measured

const io = new Server(server, { serveClient: false, httpCompression: false });
io.engine.on('connection', (connection) => { connection.request = null; });
serveDesk(io);

server.listen({ host: hostname, port: Number(port), backlog: 4096 }, () => console.log(`Listening on http://${hostname}:${server.address().port}`));
