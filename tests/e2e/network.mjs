// Machines with a network between them that can be cut without a word: network namespaces inside a namespace of the test's
// own, which needs no administrator and is gone with the test, however it ends.
//
// Each machine has two connections, as in a data centre: one at the front, by which clients come (10.1.0.N), and one at the
// back, where the broker is and nodes reach each other (10.2.0.N). The test itself is 1 on both, and the broker with it.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { API_KEY, SECRET, attach, binary } from './harness.mjs';

const APART = ['--user', '--map-root-user', '--net', '--mount', '--pid', '--fork', '--mount-proc', '--kill-child'];
export const BACK = '10.2.0.1';

const sh = (words) => execFileSync('sh', ['-ec', words], { stdio: ['ignore', 'pipe', 'pipe'] });

/** Why there can be no such network here; `false`: there can. */
export function networkFails() {
  const words = 'ip link add near type veth peer name far && ip link add middle type bridge && ip link set near master middle && bridge link set dev near isolated on && mount -t tmpfs none /run';
  const { status, stderr } = spawnSync('unshare', [...APART, 'sh', '-ec', words]);
  return status === 0 ? false : `no network namespaces here (unshare, ip, bridge: ${stderr ?? 'not found'})`;
}

/** True where the test runs in a namespace of its own. Elsewhere, it has the file run there, as one test. */
export function isApart(file) {
  if (process.env.OYEZ_APART) return true;
  test('on machines of their own', { skip: networkFails() }, async (t) => {
    const child = spawn('unshare', [...APART, process.execPath, '--test-reporter=spec', file], { env: { ...process.env, NODE_TEST_CONTEXT: undefined, OYEZ_APART: '1' }, stdio: ['ignore', 'pipe', 'pipe'] });
    const lines = [];
    for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream }).on('line', (line) => { lines.push(line); t.diagnostic(line); });
    const code = await new Promise((resolve) => child.once('close', resolve));
    assert.equal(code, 0, lines.join('\n'));
  });
  return false;
}

/** The two networks, and what can happen to them. */
export function network() {
  sh('mount -t tmpfs none /run; mkdir -p /run/netns; ip link set lo up');
  for (const [at, name] of ['front', 'back'].entries()) {
    sh(`ip link add ${name} type bridge; ip addr add 10.${at + 1}.0.1/24 dev ${name}; ip link set ${name} up`);
  }
}

/** A machine on both: {name, serve, cut, mend}. `number` is from 2 on. */
export function machine(number) {
  const name = `m${number}`;
  sh(`ip netns add ${name}; nsenter --net=/run/netns/${name} ip link set lo up`);
  for (const [at, net] of ['front', 'back'].entries()) {
    sh(`ip link add ${net}${number} type veth peer name ${net} netns ${name}
      ip link set ${net}${number} master ${net} up
      nsenter --net=/run/netns/${name} ip addr add 10.${at + 1}.0.${number}/24 dev ${net}
      nsenter --net=/run/netns/${name} ip link set ${net} up`);
  }
  // Else they would notice that nobody says any more where the other one is.
  const inside = `nsenter --net=/run/netns/${name}`;
  const hardware = (where) => String(sh(`${where} ip -o link show back`)).match(/link\/ether (\S+)/)[1];
  sh(`${inside} ip neigh replace ${BACK} lladdr ${hardware('')} dev back nud permanent; ip neigh replace 10.2.0.${number} lladdr ${hardware(inside)} dev back nud permanent`);
  return {
    name,
    /** `oyez serve` there, at the front. */
    serve: (config, ...args) => attach(spawn('nsenter', [`--net=/run/netns/${name}`, binary(), 'serve', '--config', config, '--listen', `10.1.0.${number}:0`, ...args], {
      env: { ...process.env, JWT_SECRET: SECRET, OYEZ_API_KEY: API_KEY }, stdio: ['ignore', 'pipe', 'pipe'],
    })),
    /** Nothing of its own arrives at the back any more, and nothing comes to it; nobody is told. */
    cut: () => sh(`bridge link set dev back${number} state 0`),
    mend: () => sh(`bridge link set dev back${number} state 3`),
    /** The same between it and others that are apart; the broker is reached. */
    part: (apart) => sh(`bridge link set dev back${number} isolated ${apart ? 'on' : 'off'}`),
  };
}

export const apart = (machines, are) => machines.forEach(({ part }) => part(are));
