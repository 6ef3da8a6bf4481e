// A throw-away certificate authority for this machine, by openssl.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const EC = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

/**
 * A new authority in a folder of its own: `home` (the folder), `ca` (its certificate, also the file ca.pem), `issue(NAME)`
 * (a certificate for this machine as NAME.pem and NAME.key), `file(NAME)` (a path in the folder), `end()`.
 */
export function authority() {
  const home = mkdtempSync(join(tmpdir(), 'oyez-tls-'));
  const openssl = (...args) => execFileSync('openssl', args, { cwd: home, stdio: 'pipe' });
  const file = (name) => join(home, name);
  openssl('req', '-x509', ...EC, '-days', '2', '-subj', '/CN=throw-away', '-keyout', 'ca.key', '-out', 'ca.pem');
  writeFileSync(file('san'), 'subjectAltName=IP:127.0.0.1,DNS:localhost\n');
  return {
    home,
    file,
    ca: readFileSync(file('ca.pem')),
    issue(name) {
      openssl('req', ...EC, '-subj', `/CN=${name}`, '-keyout', `${name}.key`, '-out', `${name}.csr`);
      openssl('x509', '-req', '-in', `${name}.csr`, '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-extfile', 'san', '-out', `${name}.pem`);
    },
    end: () => rmSync(home, { recursive: true }),
  };
}
