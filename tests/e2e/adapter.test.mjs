// The formats of Socket.IO's servers on Redis: what the installed packages write is what is recorded in
// `tests/transcripts/adapter`, which Oyez's own codec reads and writes to the byte (`crates/protocol/src/adapter/tests`).
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { file, record, text } from '../transcripts/adapter/record.mjs';

for (const [format, steps] of Object.entries(await record())) {
  test(`what is recorded of the ${format} format is what the packages write`, () => {
    assert.ok(steps.length > 0);
    assert.equal(text(steps), readFileSync(file(format), 'utf8'), 'node tests/transcripts/adapter/record.mjs records it again');
  });
}
