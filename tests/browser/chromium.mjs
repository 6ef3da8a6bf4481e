// Starts the Chromium of this machine, headless, for tests of pages: playwright-core brings no browser of its own.
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { chromium } from 'playwright-core';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];

// A container's root has no sandbox and no GPU; the rest keeps the browser from talking to anybody but the test's server.
const ARGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
];

/** The browser to start: $OYEZ_CHROMIUM, else the first of the usual names on the path. */
export function executable() {
  if (process.env.OYEZ_CHROMIUM) return process.env.OYEZ_CHROMIUM;
  const folders = (process.env.PATH ?? '').split(delimiter);
  const found = NAMES.flatMap((name) => folders.map((folder) => join(folder, name))).find(runs);
  if (!found) throw new Error(`no Chromium: install one of ${NAMES.join(', ')}, or set OYEZ_CHROMIUM`);
  return found;
}

/** A headless browser; close it when done. `options` are playwright's launch options. */
export const launch = (options = {}) => chromium.launch({ executablePath: executable(), headless: true, args: ARGS, ...options });

function runs(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
