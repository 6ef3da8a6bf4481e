// A real RabbitMQ on ports of its own, with a data directory of its own, and its own port mapper: nothing of it is left.
import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import amqp from 'amqplib';

const START_MS = 90_000;
const exec = promisify(execFile);
// Debian's /usr/sbin has a wrapper that changes users; the scripts themselves lie here.
const folders = ['/usr/lib/rabbitmq/bin', ...(process.env.PATH ?? '').split(delimiter)];
const program = (name) => folders.map((folder) => join(folder, name)).find(existsSync);

const groups = new Set();
const end = (child, signal) => { try { process.kill(-child.pid, signal); } catch { /* it has ended */ } };
process.on('exit', () => groups.forEach((child) => end(child, 'SIGKILL')));

async function freePorts(count) {
  const servers = await Promise.all(Array.from({ length: count }, () => new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => resolve(server));
  })));
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

function start(command, args, env) {
  const child = spawn(command, args, { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  groups.add(child);
  child.gone = new Promise((resolve) => child.once('exit', () => { groups.delete(child); resolve(); }));
  return child;
}

/** Waits until a line of what it prints fits. */
function says(child, pattern) {
  const lines = [];
  return new Promise((resolve, reject) => {
    const fail = (why) => reject(new Error(`${why}:\n${lines.slice(-30).join('\n')}`));
    const timer = setTimeout(() => fail('RabbitMQ did not start'), START_MS);
    const settle = (done) => { clearTimeout(timer); done(); };
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        lines.push(line);
        if (pattern.test(line)) settle(resolve);
      });
    }
    child.gone.then(() => settle(() => fail('RabbitMQ ended')));
  });
}

/**
 * A broker that is not started yet: {url, start, stop, kill, ctl, connect}. Everything of it is gone after `t`. With
 * `tls`, {ca, certificate, key} as paths, it speaks TLS on `tlsPort`, too.
 */
export async function rabbitmq(t, { tls } = {}) {
  if (!program('rabbitmq-server')) throw new Error('no rabbitmq-server: apt-get install rabbitmq-server');
  const [port, dist, epmd, tlsPort] = await freePorts(4);
  const home = mkdtempSync(join(tmpdir(), 'oyez-rabbitmq-'));
  mkdirSync(join(home, 'log'));
  // Nothing but the broker itself; guest may come from here.
  const secure = tls ? `listeners.ssl.1 = 127.0.0.1:${tlsPort}
ssl_options.cacertfile = ${tls.ca}
ssl_options.certfile = ${tls.certificate}
ssl_options.keyfile = ${tls.key}
ssl_options.verify = verify_none
ssl_options.fail_if_no_peer_cert = false
` : '';
  writeFileSync(join(home, 'rabbitmq.conf'), `listeners.tcp.1 = 127.0.0.1:${port}\nlog.console = true\nlog.console.level = info\n${secure}`);
  writeFileSync(join(home, 'plugins'), '[].');
  const env = {
    PATH: process.env.PATH,
    LANG: 'C.UTF-8',
    HOME: home,
    ERL_EPMD_PORT: String(epmd),
    ERL_EPMD_ADDRESS: '127.0.0.1',
    RABBITMQ_NODENAME: `oyez-${port}@localhost`,
    RABBITMQ_DIST_PORT: String(dist),
    RABBITMQ_CONFIG_FILE: join(home, 'rabbitmq.conf'),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(home, 'plugins'),
    RABBITMQ_MNESIA_BASE: join(home, 'data'),
    RABBITMQ_LOG_BASE: join(home, 'log'),
    RABBITMQ_PID_FILE: join(home, 'pid'),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '+S 1:1 +sbwt none',
  };
  const mapper = start(program('epmd') ?? 'epmd', ['-port', String(epmd), '-address', '127.0.0.1'], env);
  let child;
  const broker = {
    port,
    tlsPort,
    url: `amqp://guest:guest@127.0.0.1:${port}`,
    async start() {
      child = start(program('rabbitmq-server'), [], env);
      await says(child, /completed with \d+ plugins/);
    },
    async kill(signal = 'SIGKILL') {
      end(child, signal);
      await child.gone;
    },
    /** `rabbitmqctl ARGS`; gives what it prints. */
    async ctl(...args) {
      const { stdout } = await exec(program('rabbitmqctl'), ['-q', '-n', env.RABBITMQ_NODENAME, ...args], { env });
      return stdout;
    },
    /** A stock publisher with confirmations: {connection, channel, publish}. */
    async connect(path = '') {
      const connection = await amqp.connect(broker.url + path);
      connection.on('error', () => {}); // the tests cut it
      const channel = await connection.createConfirmChannel();
      channel.on('error', () => {});
      const publish = async (exchange, key, body, options = {}) => {
        const bytes = Buffer.isBuffer(body) ? body : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
        channel.publish(exchange, key, bytes, { deliveryMode: 2, timestamp: Date.now(), ...options });
        await channel.waitForConfirms();
      };
      return { connection, channel, publish };
    },
  };
  t.after(async () => {
    if (child) { end(child, 'SIGKILL'); await child.gone; }
    end(mapper, 'SIGKILL');
    await mapper.gone;
    rmSync(home, { recursive: true, force: true });
  });
  return broker;
}
