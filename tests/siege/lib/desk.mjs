// The server under siege: one app, with the limits that would spare it taken away.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { ROOT, serve, token } from '../../e2e/harness.mjs';

/** One app without a past. */
export const PLAIN = `
[key.backend]
secret = { env = "OYEZ_API_KEY" }
[app.desk]
origins = "*"
[app.desk.auth.jwt]
algorithms = ["HS256"]
secret = { env = "JWT_SECRET" }
[app.desk.identity]
user = "claims.sub"
[app.desk.limits]
connections_per_user = 1000000
connections_per_address = 1000000
connects_per_second = 1000000
events_per_second = 1000000
[[app.desk.channel]]
name = "room:{id}"
subscribe = true
publish = true
[[app.desk.channel]]
name = "user:{id}"
subscribe = "id == user.id"
[app.desk.connect]
join = "user:{user.id}"
reply = { event = "hello" }
[[app.desk.on]]
event = "join"
join = "room:{data}"
[[app.desk.on]]
event = "leave"
leave = "room:{data}"
[[app.desk.on]]
event = "say"
publish = { to = "room:{data.room}", event = "said", data = "data" }
[[app.desk.on]]
event = "echo"
ack = "data"
`;

/** The same with a past: rooms are remembered for who is cut off. */
export const REMEMBERING = PLAIN.replace('name = "room:{id}"', '$&\nhistory = 10_000').concat('[app.desk.recovery]\n');

/** Starts it, quiet. */
export async function desk(config = PLAIN) {
  const folder = mkdtempSync(join(tmpdir(), 'oyez-siege-'));
  const path = join(folder, 'oyez.toml');
  writeFileSync(path, config);
  const server = await serve(relative(ROOT, path), { env: { OYEZ_LOG: 'warn' } });
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  return server;
}

/** A token of one of a thousand users. */
export const user = (index) => token({ sub: `user-${index % 1000}` });
