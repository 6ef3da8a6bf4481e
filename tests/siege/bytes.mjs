// Hostile bytes, counted: the corpus and the published vulnerabilities against the release build, and the fuzz targets.
import { spawn } from 'node:child_process';
import { ROOT } from '../e2e/harness.mjs';

/** Runs a program to its end and gives what it printed. */
async function run(program, args) {
  const child = spawn(program, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] });
  let out = '';
  child.stdout.on('data', (bytes) => { out += bytes; });
  const code = await new Promise((resolve) => child.on('close', resolve));
  if (code !== 0) {
    console.error(out);
    process.exitCode = 1;
  }
  return out;
}

const tests = (file) => run('node', ['--test', '--test-reporter=tap', `tests/e2e/${file}`]);
const sum = (text, pattern) => [...text.matchAll(pattern)].reduce((total, [, number]) => total + Number(number), 0);

console.log(`corpus files: ${sum(await tests('corpus.test.mjs'), /corpus files: (\d+)/g)}`);
console.log(`CVE regressions: ${[...(await tests('cves.test.mjs')).matchAll(/^ok \d+ - CVE-/gm)].length}`);
console.log(`fuzz executions: ${sum(await run('cargo', ['xtask', 'test', '--only', 'fuzz']), /fuzz executions: (\d+)/g)}`);
