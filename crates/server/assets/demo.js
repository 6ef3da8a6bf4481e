// The demo: two stock clients in one page, and what each hears. Nothing that arrives is ever taken for markup.
import { both, element } from './page.js';

const KEPT = 100;
const now = () => performance.timeOrigin + performance.now();
const say = (place, en, zh) => place.replaceChildren(both(en, zh));
const problem = document.querySelector('#problem');

function complain(en, zh) {
  problem.hidden = false;
  say(problem, en, zh);
}

/** How long it took, in milliseconds: from the sender's clock, else from the server's, which is this machine's. */
function latency(data) {
  const sent = data?.data?.sent ?? Date.parse(data?.timestamp);
  const took = Math.max(0, now() - sent);
  return Number.isFinite(took) ? `${took.toFixed(1)} ms` : '';
}

/** What to show of an event: a message's text, else its data. */
function words(event, data) {
  if (event === 'message' && typeof data?.data?.text === 'string') return [`${data.from} → ${data.channel}`, data.data.text];
  return [event, JSON.stringify(data?.payload ?? data)];
}

class Pane {
  constructor(name, token) {
    this.root = document.querySelector(`#${name}`);
    this.heard = this.root.querySelector('.heard');
    this.channel = this.root.querySelector('[name=channel]');
    this.socket = io({ auth: { token }, forceNew: true });
    this.watch();
    this.root.querySelector('.join').addEventListener('submit', (event) => {
      event.preventDefault();
      this.socket.emit(event.submitter?.value ?? 'subscribe', { channels: [this.channel.value] });
    });
    this.root.querySelector('.say').addEventListener('submit', (event) => {
      event.preventDefault();
      const text = event.target.elements.text;
      this.socket.emit('publish', { channel: this.channel.value, data: { text: text.value, sent: now() } });
      text.value = '';
      text.focus();
    });
  }

  watch() {
    this.socket.on('connect', () => {
      this.state(true, 'connected', '已连接');
      this.socket.emit('subscribe', { channels: [this.channel.value] });
    });
    this.socket.on('disconnect', (reason) => this.state(false, `disconnected: ${reason}`, `已断开：${reason}`));
    this.socket.on('connect_error', ({ message }) => this.state(false, `not connected: ${message}`, `连接失败：${message}`));
    this.socket.on('connected', ({ user }) => { this.root.querySelector('.user').textContent = user; this.named?.(user); });
    this.socket.onAny((event, data) => { if (event !== 'connected') this.hear(event, data); });
  }

  state(good, en, zh) {
    const state = this.root.querySelector('.state');
    state.classList.toggle('good', good);
    say(state, en, zh);
  }

  hear(event, data) {
    const [title, text] = words(event, data);
    const what = element('span', { class: 'what' }, element('strong', {}, title), ' ', text);
    this.heard.prepend(element('li', { 'data-event': event }, what, element('span', { class: 'latency' }, latency(data))));
    while (this.heard.children.length > KEPT) this.heard.lastChild.remove();
  }
}

/** The line that delivers a notification to a user, for a POSIX shell. */
function curl(key, user) {
  const body = JSON.stringify({ to: `user:${user}`, event: 'notification', data: { title: 'Hello from curl' } });
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  return `curl ${location.origin}/api/v1/publish -H ${quoted(`Authorization: Bearer ${key}`)} -H 'Content-Type: application/json' -d ${quoted(body)}`;
}

async function start() {
  if (!globalThis.io) {
    return complain('This server was built without the browser client: install Node 20 with npm and build again.', '此服务器构建时缺少浏览器客户端：请安装 Node 20（含 npm）后重新构建。');
  }
  const answer = await fetch('/demo.json');
  const demo = await answer.json();
  if (!answer.ok) return complain(demo.error.message, '演示令牌只提供给本机：请用 127.0.0.1 或 localhost 打开。');
  const [a] = demo.tokens.map((token, at) => new Pane('ab'[at], token));
  const line = document.querySelector('#curl');
  a.named = (user) => { line.textContent = curl(demo.api_key, user); };
  document.querySelector('#copy').addEventListener('click', async () => {
    const copied = document.querySelector('#copied');
    try {
      await navigator.clipboard.writeText(line.textContent);
      say(copied, 'copied', '已复制');
    } catch {
      getSelection().selectAllChildren(line);
      say(copied, 'selected: copy it with your keyboard', '已选中，请用键盘复制');
    }
  });
}

start().catch((error) => complain(`${error}`, `${error}`));
