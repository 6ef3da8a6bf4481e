// Nodes on one broker, for tests of what they do together.
import { test } from 'node:test';
import { serve } from './harness.mjs';
import { nats } from './nats.mjs';
import { redis } from './redis.mjs';
import { eventually } from './waiting.mjs';

/** As `eventually`, for what takes nodes a while: a lease is 5 s. */
export const until = (look, what, ms = 15_000) => eventually(look, what, ms);

/** A figure of a node's. */
export const figure = async (node, name) => Number((await (await fetch(`${node.url}/metrics`)).text()).match(new RegExp(`^${name}(?:_total)? (\\S+)$`, 'm'))?.[1]);

/** Starts one of an engine, as a broker of nodes. */
export const begun = (engine) => async (t) => {
  const one = await engine(t);
  await one.start();
  return one;
};

const BROKERS = { Redis: begun(redis), NATS: begun(nats) };

/** The same test with each broker: `run` is called with the test, a `cluster` on that broker, and its name. */
export const onEachBroker = (title, run) => Object.entries(BROKERS).forEach(([name, broker]) => {
  test(`${title} (${name})`, (t) => run(t, (count, options) => cluster(t, count, { broker, ...options }), name));
});

/** So many nodes on one broker, which know each other: {engine, nodes, know, start}. `args(n, engine)` are more of a
 * node's options; `broker` starts what they share, a Redis of their own: it has a `url`. */
export async function cluster(t, count, { args = () => ['--store', 'memory'], config, env, broker = BROKERS.Redis }) {
  const running = [];
  const last = [];
  t.after(async () => {
    await Promise.all(running.map((node) => node.child.exitCode ?? node.child.signalCode ?? node.stop()));
    for (const end of last) await end();
  });
  const engine = await broker({ after: (end) => last.push(end) });
  const start = async (at) => {
    const node = await serve(config, { env, args: ['--broker', engine.url, ...args(at, engine)] });
    running.push(node);
    return node;
  };
  const nodes = await Promise.all(Array.from({ length: count }, (_, at) => start(at)));
  const know = (these = nodes) => until(async () => (await Promise.all(these.map((node) => figure(node, 'oyez_cluster_others')))).every((others) => others === these.length - 1), 'they know each other');
  await know();
  return { engine, nodes, know, start };
}
