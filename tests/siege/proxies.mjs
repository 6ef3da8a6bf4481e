// Real forwarders in front: haproxy and nginx, over TCP and over HTTP, alone and one behind the other, with TLS on either
// side. Every client has an address of its own (127.0.1.N) and lies about it in every header it can think of; the server
// must see the true one, by every transport, and lose nothing on the way.
import { spawn, spawnSync } from 'node:child_process';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import { readFileSync, writeFileSync } from 'node:fs';
import { WebSocket } from 'ws';
import { authority } from '../e2e/authority.mjs';
import { API_KEY, connect, connected, token } from '../e2e/harness.mjs';
import { serving } from '../e2e/stage.mjs';
import { Inbox, eventually } from '../e2e/waiting.mjs';

const CLIENTS = 20; // of each way
const LIE = '6.6.6.6';
const LIES = { 'x-forwarded-for': LIE, forwarded: `for=${LIE}`, 'x-real-ip': LIE, 'x-client-ip': LIE, 'true-client-ip': LIE };
const CONFIG = (lines) => `${lines}
[key.backend]
secret = { env = "OYEZ_API_KEY" }
[app.desk]
origins = ["https://desk.example"]
[app.desk.socketio]
[app.desk.websocket]
[app.desk.auth]
from = ["auth.token", "query.token"]
[app.desk.auth.jwt]
algorithms = ["HS256"]
secret = { env = "JWT_SECRET" }
[app.desk.identity]
user = "claims.sub"
[[app.desk.channel]]
name = "user:{id}"
subscribe = "id == user.id"
[app.desk.connect]
join = "user:{user.id}"
reply = { event = "welcome", data = "{'address': session.address}" }
`;

const undo = [];
const suite = { after: (step) => undo.unshift(step) };
const ended = (child) => new Promise((resolve) => child.once('exit', resolve));

async function freePort() {
  const socket = net.createServer();
  await new Promise((resolve) => socket.listen(0, '127.0.0.1', resolve));
  const { port } = socket.address();
  await new Promise((resolve) => socket.close(resolve));
  return port;
}

/** Runs a forwarder until the end, and waits until it listens there. */
async function start(command, args, ports) {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (bytes) => { said += bytes; });
  const over = ended(child);
  undo.unshift(async () => { child.kill('SIGTERM'); await over; });
  const listens = (port) => new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true); });
    socket.on('error', () => resolve(false));
  });
  for (const port of ports) {
    await eventually(() => { if (child.exitCode !== null) throw new Error(`${command}: ${said}`); return listens(port); }, `${command} listens`, 10_000);
  }
}

for (const command of ['haproxy', 'nginx']) {
  if (spawnSync(command, ['-v']).error) {
    console.error(`${command} is not here: apt-get install haproxy nginx`);
    process.exit(1);
  }
}

const paper = authority();
undo.push(paper.end);
paper.issue('one');
writeFileSync(paper.file('both.pem'), Buffer.concat(['one.pem', 'one.key'].map((name) => readFileSync(paper.file(name)))));
const files = { 'one.pem': readFileSync(paper.file('one.pem')), 'one.key': readFileSync(paper.file('one.key')) };
const TRUSTED = '[server.proxy]\ntrusted = "127.0.0.1"\n';
const [announced, encrypted, headed, forwarded] = await Promise.all([
  serving(suite, CONFIG(`${TRUSTED}protocol = true\n`)),
  serving(suite, CONFIG(`[server.tls]\ncertificate = "one.pem"\nkey = "one.key"\n${TRUSTED}protocol = true\n`), { files }),
  serving(suite, CONFIG(TRUSTED)),
  serving(suite, CONFIG(`${TRUSTED}header = "Forwarded"\n`)),
]);

const ways = [
  { name: 'haproxy, tcp, send-proxy', to: announced, server: 'send-proxy', mode: 'tcp' },
  { name: 'haproxy, tcp, send-proxy-v2', to: announced, server: 'send-proxy-v2', mode: 'tcp' },
  { name: 'haproxy, tcp, send-proxy-v2 with a checksum and what it knows of TLS', to: announced, server: 'send-proxy-v2 proxy-v2-options crc32c,ssl,unique-id', mode: 'tcp' },
  { name: 'haproxy, tcp, send-proxy-v2, TLS by the server', to: encrypted, server: 'send-proxy-v2', mode: 'tcp', secure: true },
  { name: 'haproxy, http, X-Forwarded-For', to: headed, mode: 'http', lines: 'option forwardfor' },
  { name: 'haproxy, http, X-Forwarded-For, TLS by haproxy', to: headed, mode: 'http', lines: 'option forwardfor', secure: true, bind: `ssl crt ${paper.file('both.pem')}` },
  { name: 'haproxy, http, Forwarded', to: forwarded, mode: 'http', lines: 'http-request add-header Forwarded for=%[src];proto=http' },
  { name: 'nginx, X-Forwarded-For', to: headed, nginx: true },
  { name: 'nginx, X-Forwarded-For, TLS by nginx', to: headed, nginx: true, secure: true },
];
for (const way of ways) way.port = await freePort();
// One behind the other: the second adds the first's address, which is trusted.
ways.push({ name: 'nginx behind haproxy', to: { port: ways[7].port }, mode: 'http', lines: 'option forwardfor', port: await freePort() });
ways.push({ name: 'haproxy behind nginx', to: { port: ways[4].port }, nginx: true, port: await freePort() });

const proxied = ways.filter((way) => !way.nginx).map((way, index) => `
listen way${index}
  mode ${way.mode}
  bind 127.0.0.1:${way.port} ${way.bind ?? ''}
  ${way.lines ?? ''}
  server it 127.0.0.1:${way.to.port} ${way.server ?? ''} check inter 200ms`);
writeFileSync(paper.file('haproxy.cfg'), `global
  log stderr format raw daemon warning
  maxconn 2000
defaults
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 60s
${proxied.join('\n')}\n`);
const reversed = ways.filter((way) => way.nginx).map((way) => `
  server {
    listen 127.0.0.1:${way.port} ${way.secure ? 'ssl' : ''};
    ssl_certificate one.pem;
    ssl_certificate_key one.key;
    location / {
      proxy_pass http://127.0.0.1:${way.to.port};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_buffering off;
    }
  }`);
writeFileSync(paper.file('nginx.conf'), `daemon off;
pid nginx.pid;
error_log stderr error;
events { worker_connections 2000; }
http {
  access_log off;
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${name};`).join(' ')}
  ${reversed.join('\n')}
}\n`);
await start('haproxy', ['-db', '-f', paper.file('haproxy.cfg')], ways.filter((way) => !way.nginx).map((way) => way.port));
await start('nginx', ['-p', paper.home, '-c', paper.file('nginx.conf'), '-e', 'stderr'], ways.filter((way) => way.nginx).map((way) => way.port));

/** A client of its own address; gives what the server takes for it, and a promise of what is published to it. */
async function client(way, number) {
  const mine = `127.0.1.${number + 1}`;
  const user = `${way.port}-${number}`;
  const scheme = way.secure ? 'https' : 'http';
  const own = { ca: paper.ca, localAddress: mine };
  if (number % 4 === 3) {
    const url = `${way.secure ? 'wss' : 'ws'}://127.0.0.1:${way.port}/ws?token=${token({ sub: user })}`;
    const socket = new WebSocket(url, { ...own, headers: LIES });
    const heard = new Inbox();
    socket.on('message', (bytes) => { const frame = JSON.parse(bytes); heard.put(frame.type, frame.data); });
    const { address } = await heard.take('welcome', undefined, 10_000);
    return { mine, user, address, news: () => heard.take('news', undefined, 10_000), close: () => socket.terminate() };
  }
  const transports = [['polling'], ['websocket'], ['polling', 'websocket']][number % 4];
  const agent = new (way.secure ? https : http).Agent(own);
  const socket = connect(`${scheme}://127.0.0.1:${way.port}`, { ...own, agent, transports, extraHeaders: LIES, auth: { token: token({ sub: user }) } });
  const heard = Inbox.of(socket);
  const upgraded = transports.length < 2 || new Promise((resolve) => socket.io.engine.once('upgrade', resolve));
  await connected(socket, 10_000);
  await upgraded;
  const { address } = await heard.take('welcome', undefined, 10_000);
  return { mine, user, address, news: () => heard.take('news', undefined, 10_000), close: () => { socket.disconnect(); agent.destroy(); } };
}

/** Publishes by the way that the clients come. */
function publish(way, user) {
  const body = JSON.stringify({ to: `user:${user}`, event: 'news', data: { n: 1 } });
  const headers = { authorization: `Bearer ${API_KEY}`, 'content-type': 'application/json' };
  return new Promise((resolve, reject) => {
    const asked = (way.secure ? https : http).request({ host: '127.0.0.1', port: way.port, path: '/api/v1/publish', method: 'POST', headers, ca: paper.ca }, (answer) => {
      answer.resume();
      if (answer.statusCode === 200) resolve();
      else reject(new Error(`publish ${answer.statusCode}`));
    });
    asked.on('error', reject);
    asked.end(body);
  });
}

const total = { clients: 0, addresses: 0, lies: 0, deliveries: 0 };
for (const way of ways) {
  const clients = await Promise.all(Array.from({ length: CLIENTS }, (_, number) => client(way, number)));
  const addresses = clients.filter((one) => one.address === one.mine).length;
  const lies = clients.filter((one) => one.address === LIE).length;
  let deliveries = 0;
  for (const one of clients) {
    await publish(way, one.user);
    deliveries += (await one.news()).n;
  }
  clients.forEach((one) => one.close());
  console.log(`${way.name}: ${addresses} of ${clients.length} addresses, ${lies} lies believed, ${deliveries} deliveries`);
  for (const [name, count] of Object.entries({ clients: clients.length, addresses, lies, deliveries })) total[name] += count;
}
// The checks of haproxy's are connections, too: with a header that speaks of itself, and with none of a request.
const refused = [announced, encrypted, headed, forwarded].flatMap((server) => server.logs).filter((line) => line.includes('proxy_header_refused') || line.includes('tls_failed'));
console.log(`ways: ${ways.length}`);
console.log(`addresses seen: ${total.addresses} of ${total.clients}`);
console.log(`lies believed: ${total.lies}`);
console.log(`deliveries: ${total.deliveries} of ${total.clients}`);
console.log(`health checks refused: ${refused.length}`);
for (const step of undo) await step();
process.exit(total.addresses === total.clients && total.lies === 0 && total.deliveries === total.clients && refused.length === 0 ? 0 : 1);
