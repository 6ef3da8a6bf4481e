// A network between one client and the server which is cut again and again, in the ways in which real ones are: both ends
// hear of it, or only one does and the other goes on talking to nobody.
import net from 'node:net';

/** How it may be cut: both are told (RST), the server is told too late, or the client is. */
export const WAYS = ['both are told', 'the server is told late', 'the client is told late'];

export class Network {
  #between;
  /** The connections through it, `[near, far]` each. */
  #open = new Set();
  /** Ends of cut connections that do not know yet. */
  #unaware = new Set();
  #whole = true;

  constructor(port) {
    this.#between = net.createServer((near) => {
      if (!this.#whole) return near.resetAndDestroy();
      const pair = [near, net.connect({ port, host: '127.0.0.1', noDelay: true })];
      this.#open.add(pair);
      pair.forEach((end, index) => {
        const other = pair[1 - index];
        end.on('error', () => {}).on('close', () => { if (this.#open.delete(pair)) other.destroy(); });
        end.pipe(other);
      });
      return undefined;
    });
  }

  /** Its address, once it is there. */
  async url() {
    await new Promise((resolve) => { this.#between.listen(0, '127.0.0.1', resolve); });
    return `http://127.0.0.1:${this.#between.address().port}`;
  }

  /** Cuts every connection, and lets nobody through until it is mended. What was on its way is lost. */
  cut(way) {
    this.#whole = false;
    const told = { 'both are told': [true, true], 'the server is told late': [true, false], 'the client is told late': [false, true] }[way];
    for (const pair of this.#open) {
      this.#open.delete(pair);
      pair.forEach((end, index) => {
        end.unpipe();
        if (told[index]) return end.resetAndDestroy();
        this.#unaware.add(end.pause());
        return end.on('close', () => this.#unaware.delete(end));
      });
    }
  }

  /** Lets connections through again. A client that was not told is told now; the server only by who comes back. */
  mend(way) {
    this.#whole = true;
    if (way === 'the client is told late') this.#unaware.forEach((end) => end.resetAndDestroy());
  }

  /** Tells whoever does not know yet. */
  tell() { this.#unaware.forEach((end) => end.resetAndDestroy()); }

  close() {
    this.#between.close();
    this.#open.forEach((pair) => pair.forEach((end) => end.destroy()));
    this.tell();
  }
}
