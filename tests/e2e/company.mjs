// Nodes on one Redis, for tests of what they do together.
import { serve } from './harness.mjs';
import { redis } from './redis.mjs';
import { eventually } from './waiting.mjs';

/** As `eventually`, for what takes nodes a while: a lease is 5 s. */
export const until = (look, what, ms = 15_000) => eventually(look, what, ms);

/** A figure of a node's. */
export const figure = async (node, name) => Number((await (await fetch(`${node.url}/metrics`)).text()).match(new RegExp(`^${name}(?:_total)? (\\S+)$`, 'm'))?.[1]);

/** So many nodes on one Redis, which know each other: {engine, nodes, know, start}. `args(n, engine)` are more of a
 * node's options. */
export async function cluster(t, count, { args = () => ['--store', 'memory'], config }) {
  const running = [];
  const last = [];
  t.after(async () => {
    await Promise.all(running.map((node) => node.child.exitCode ?? node.child.signalCode ?? node.stop()));
    for (const end of last) await end();
  });
  const engine = await redis({ after: (end) => last.push(end) });
  await engine.start();
  const start = async (at) => {
    const node = await serve(config, { args: ['--broker', engine.url, ...args(at, engine)] });
    running.push(node);
    return node;
  };
  const nodes = await Promise.all(Array.from({ length: count }, (_, at) => start(at)));
  const know = (these = nodes) => until(async () => (await Promise.all(these.map((node) => figure(node, 'oyez_cluster_others')))).every((others) => others === these.length - 1), 'they know each other');
  await know();
  return { engine, nodes, know, start };
}
