// Writes the corpus: `node tests/corpus/generate.mjs`. Each table in `tables/` becomes a folder KIND with a file per case, and
// `KIND.json` says what must happen. The files are stored, so that whoever reads a finding has its bytes.
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const HOME = dirname(fileURLToPath(import.meta.url));

/** The cases of all tables: {kind: [{name, bytes, expect, why}]}. */
export async function tables() {
  const kinds = readdirSync(join(HOME, 'tables')).map((file) => file.replace('.mjs', '')).sort();
  const cases = await Promise.all(kinds.map(async (kind) => {
    const { default: rows } = await import(`./tables/${kind}.mjs`);
    return [kind, rows.map(([name, bytes, expect, why]) => ({ name, bytes: Buffer.from(bytes), expect, why }))];
  }));
  return Object.fromEntries(cases);
}

/** What `KIND.json` holds: a line per file. */
export function manifest(cases) {
  const lines = cases.map(({ name, expect, why }) => `  ${JSON.stringify(name)}: ${JSON.stringify([expect, why])}`);
  return `{\n${lines.join(',\n')}\n}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [kind, cases] of Object.entries(await tables())) {
    const folder = join(HOME, kind);
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    const twice = cases.map(({ name }) => name).find((name, index, names) => names.indexOf(name) !== index);
    if (twice) throw new Error(`${kind}/${twice} is there twice`);
    for (const { name, bytes } of cases) writeFileSync(join(folder, name), bytes);
    writeFileSync(join(HOME, `${kind}.json`), manifest(cases));
    console.log(`${kind}: ${cases.length}`);
  }
}
