// A Consul that does not exist: /v1/health/state/any with true blocking semantics, as recorded from Consul 1.8.7 (what it
// answers, when, with which index and headers). There is no Consul to install.
import { createServer } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

const WAIT_MS = 5 * 60_000;

/** `10s`, `5m`, `100ms` in milliseconds; NaN of what is none. */
function duration(text) {
  const [, number, unit] = /^(\d+)(ms|s|m|h)$/.exec(text) ?? [];
  return Number(number) * { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[unit];
}

/**
 * A Consul that is not started yet: {address, start, stop, set, remove, touch, restore, unindexed, refuse, asked}. It is gone after
 * `t`. With `token`, only who shows it is answered.
 */
export async function consul(t, { token } = {}) {
  /** Checks by node, service id and check. */
  const checks = new Map();
  let index = 10;
  let waiting = new Set();
  let refusal;
  let zero = false;
  let server;
  let port = 0;
  const asked = [];

  const wake = () => { for (const go of waiting) go(); waiting = new Set(); };
  const changed = (at = index + 1) => { if (!zero) index = at; wake(); };
  const answer = (response) => {
    response.writeHead(200, {
      'Content-Type': 'application/json', 'X-Consul-Effective-Consistency': 'leader', 'X-Consul-Index': index,
      'X-Consul-Knownleader': 'true', 'X-Consul-Lastcontact': 0,
    });
    response.end(`${JSON.stringify([...checks.values()], null, 4)}\n`);
  };
  const say = (response, status, text) => { response.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8' }); response.end(text); };

  async function handle(request, response) {
    const url = new URL(request.url, 'http://consul');
    asked.push(`${url.pathname}${url.search}`);
    if (refusal) return say(response, ...refusal);
    if (token && request.headers['x-consul-token'] !== token) return say(response, 403, 'Permission denied');
    if (url.pathname !== '/v1/health/state/any') return say(response, 404, '');
    const after = Number(url.searchParams.get('index') ?? 0);
    const wait = url.searchParams.has('wait') ? duration(url.searchParams.get('wait')) : WAIT_MS;
    if (!Number.isInteger(after)) return say(response, 400, 'Invalid index');
    if (Number.isNaN(wait)) return say(response, 400, 'Invalid wait time');
    // One that is ahead waits, too, and is told the lesser index then.
    if (!zero && after > 0 && after >= index) {
      const over = new AbortController();
      const woken = new Promise((resolve) => waiting.add(resolve));
      response.on('close', () => over.abort());
      const time = delay(wait + Math.random() * (wait / 16), undefined, { signal: over.signal }).catch(() => {});
      await Promise.race([woken, time]);
      over.abort();
    }
    if (!response.destroyed) answer(response);
  }

  const fake = {
    asked,
    get address() { return `127.0.0.1:${port}`; },
    async start() {
      server = createServer(handle);
      await new Promise((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve));
      ({ port } = server.address());
    },
    async stop() {
      const ended = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await ended;
    },
    /** A check of an instance, or of a node where `service` is empty. */
    set(service, id, status, node = 'n1') {
      checks.set(`${node}/${id}`, {
        Node: node, CheckID: `${id || 'serfHealth'}`, Name: 'check', Status: status, Notes: '', Output: 'a secret output', ServiceID: id,
        ServiceName: service, ServiceTags: ['v1'], Type: 'ttl', Definition: {}, CreateIndex: index + 1, ModifyIndex: index + 1,
      });
      changed();
    },
    remove(id, node = 'n1') { checks.delete(`${node}/${id}`); changed(); },
    /** Something changes that is not the services' status: an output, for instance. */
    touch() { changed(); },
    /** It begins anew, from a copy: the index is an earlier one. */
    restore(at) { changed(at); },
    /** Every answer says index 0 and comes at once, as of what stands in front of a Consul and knows of no waiting. */
    unindexed() { index = 0; zero = true; wake(); },
    /** It answers everything with this status and text, or as usual again. */
    refuse(...how) { refusal = how.length > 0 ? how : undefined; wake(); },
  };
  t.after(() => fake.stop().catch(() => {}));
  return fake;
}
