// Starts `examples/embed/conformance`, the embedded server that the stock Socket.IO clients are tried against.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, attach } from './harness.mjs';

/** The conformance server: $OYEZ_CONFORMANCE_BIN, else the debug or release build of the example. */
export function conformanceBinary() {
  const candidates = [
    process.env.OYEZ_CONFORMANCE_BIN,
    join(ROOT, 'target/debug/examples/conformance'),
    join(ROOT, 'target/release/examples/conformance'),
  ];
  const found = candidates.find((path) => path && existsSync(path));
  if (!found) throw new Error('no conformance server: run `cargo build --examples` first, or set OYEZ_CONFORMANCE_BIN');
  return found;
}

/** Runs it on a random loopback port and waits until it listens; see `attach` for what comes back. */
export function serveConformance() {
  const child = spawn(conformanceBinary(), ['--listen', '127.0.0.1:0', '--ping-timeout', '5000'], { stdio: ['ignore', 'pipe', 'pipe'] });
  return attach(child);
}
