// A balancer that knows nobody: each request, and each upgrade, goes to the next node that lives.
import http from 'node:http';
import net from 'node:net';
import { once } from 'node:events';

/** Whether a node takes requests: its process runs, and it has not been asked to end (`node.leaves`). */
export const lives = ({ child, leaves }) => child.exitCode === null && child.signalCode === null && !leaves;

/** In front of `nodes`, which may change: {url, statuses}. */
export async function balancer(t, nodes) {
  let turn = 0;
  const statuses = [];
  const node = () => {
    const there = nodes.filter(lives);
    return there[(turn += 1) % there.length];
  };
  const server = http.createServer((request, response) => {
    const { method, url, headers } = request;
    const next = node();
    // At the end of a test all are gone, and clients try once more.
    if (!next) return response.writeHead(503).end();
    const onward = http.request({ host: '127.0.0.1', port: next.port, method, path: url, headers, agent: false }, (answer) => {
      statuses.push([answer.statusCode, method, url]);
      response.writeHead(answer.statusCode, answer.headers);
      answer.on('error', () => response.destroy());
      answer.pipe(response);
    });
    onward.on('error', () => { if (response.headersSent) response.destroy(); else { response.statusCode = 502; response.end(); } });
    response.on('close', () => onward.destroy());
    request.pipe(onward);
  });
  server.on('upgrade', (request, socket, head) => {
    const next = node();
    if (!next) return socket.destroy();
    const onward = net.connect(next.port, '127.0.0.1', () => {
      onward.write(`${request.method} ${request.url} HTTP/1.1\r\n${request.rawHeaders.reduce((text, word, at) => text + word + (at % 2 ? '\r\n' : ': '), '')}\r\n`);
      onward.write(head);
      socket.pipe(onward).pipe(socket);
    });
    for (const end of [socket, onward]) end.on('error', () => {}).on('close', () => { socket.destroy(); onward.destroy(); });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => { server.closeAllConnections(); server.close(); });
  return { url: `http://127.0.0.1:${server.address().port}`, statuses };
}
