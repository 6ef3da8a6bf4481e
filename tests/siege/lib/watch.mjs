// What a process is made of while it is under siege, and what its figures say.
import { readFileSync, readdirSync } from 'node:fs';

/** Resident memory in bytes. */
export const memory = (pid) => Number(readFileSync(`/proc/${pid}/status`, 'utf8').match(/VmRSS:\s+(\d+)/)[1]) * 1024;

/** Open file descriptors. */
export const descriptors = (pid) => readdirSync(`/proc/${pid}/fd`).length;

/** The sum of a metric over its labels; nothing when there is no such metric. */
export async function metric(server, name) {
  const lines = (await server.api('/metrics', { token: '' })).text.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
  return lines.length ? lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0) : undefined;
}

/** The value below which `part` of the values are. */
export function quantile(values, part) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))];
}

/** The slope of the line through points `[x, y]` that fits best. */
export function slope(points) {
  const mean = (pick) => points.reduce((sum, point) => sum + pick(point), 0) / points.length;
  const [x, y] = [mean(([at]) => at), mean(([, value]) => value)];
  const [up, across] = points.reduce(([a, b], [at, value]) => [a + (at - x) * (value - y), b + (at - x) ** 2], [0, 0]);
  return up / across;
}

/** Prints figures and remembers promises: `say('what', value, unit)`, `promise(holds, words)`; `end()` leaves with 1 if one is broken. */
export function report() {
  const broken = [];
  return {
    say: (what, value, unit = '') => console.log(`${what}: ${typeof value === 'number' ? Number(value.toFixed(3)) : value}${unit && ` ${unit}`}`),
    promise: (holds, words) => { if (!holds) { broken.push(words); console.log(`BROKEN: ${words}`); } },
    end: () => process.exit(broken.length ? 1 : 0),
  };
}
