// What tests of sources look at: the figures of a source, and what the log says of it.
import { eventually } from './waiting.mjs';

/** A figure of /metrics of the source of an app. */
export async function figure(server, name, source, { app = 'desk', reason } = {}) {
  const { text } = await server.api('/metrics');
  const labels = `app="${app}",source="${source}"${reason ? `,reason="${reason}"` : ''}`;
  const line = text.split('\n').find((line) => [name, `${name}_total`].some((name) => line.startsWith(`oyez_source_${name}{${labels}}`)));
  return line === undefined ? undefined : Number(line.split(' ').at(-1));
}

/** Waits until that figure is what is expected. */
export const counted = (server, name, source, expect, of) => eventually(
  async () => await figure(server, name, source, of) === expect,
  `oyez_source_${name} ${expect}`, 15_000,
);

/** Waits until the source is connected. */
export const working = (server, source) => eventually(
  async () => await figure(server, 'working', source) === 1,
  `${source} is connected`, 30_000,
);

/** Waits for a line of the log, from line `after` on, that has all these parts, and returns it. */
export const logged = (server, after, ...parts) => eventually(
  () => server.logs.slice(after).find((line) => parts.every((part) => line.includes(part))),
  `a line with ${parts.join(', ')}`, 30_000,
);
