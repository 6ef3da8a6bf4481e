// The API's documentation, drawn from its OpenAPI description: operations, schemas, and a form to try each.
import { both, element } from './page.js';

const TAGS = {
  publish: '发布', channels: '频道', presence: '在线状态', connections: '连接', tokens: '令牌', users: '用户自己的请求', probes: '探针',
};
const SUMMARIES = {
  publish: '发布事件', batch: '按顺序执行多条命令', 'channels': '列出有成员的频道', 'channels/{channel}': '统计频道成员数',
  'channels/{channel}/presence': '列出频道内的用户', online: '统计在线人数', 'users/{user}/presence': '查询用户是否在线',
  connections: '列出连接', subscribe: '把连接加入频道', unsubscribe: '把连接移出频道', disconnect: '断开连接', revoke: '吊销令牌',
  '/api/websocket/test-notification': '发送测试通知（用户令牌）', '/api/websocket/status': '查询在线用户（用户令牌）',
  '/ws/stats': '统计连接、用户与房间（用户令牌）', '/ws/online-users': '列出在线用户（用户令牌）',
  '/ws/session/client/{client_id}': '向会话所有者展示其连接', '/healthz': '进程存活', '/readyz': '可接受连接', '/metrics': 'Prometheus 指标',
};
const zh = (path) => SUMMARIES[path.replace('/api/v1/', '')];
const key = document.querySelector('#key');
let document_;

/** A schema with its reference followed. */
const resolve = (schema) => {
  const name = schema?.$ref?.split('/').pop();
  return name ? { ...document_.components.schemas[name], title: name } : (schema ?? {});
};

/** A description, whose `code` is shown as such. */
const prose = (text = '') => element('span', {}, ...text.split('`').map((part, at) => (at % 2 ? element('code', {}, part) : part)));

function kind(schema) {
  const found = resolve(schema);
  const options = (found.oneOf ?? found.anyOf)?.map(kind);
  if (options) return [...new Set(options)].join(' | ');
  if (found.enum) return found.enum.map((value) => JSON.stringify(value)).join(' | ');
  if (found.type === 'array') return `[${kind(found.items)}]`;
  const types = [found.type ?? 'any'].flat();
  return types.join(' | ');
}

/** The fields of a schema, with those of the objects in it to a small depth. */
function* fields(schema, depth = 0) {
  const found = resolve(schema);
  for (const part of found.allOf ?? []) yield* fields(part, depth);
  for (const [name, field] of Object.entries(found.properties ?? {})) {
    const inner = resolve(field);
    const about = field.description ?? field.oneOf?.find((one) => one.description)?.description ?? inner.description;
    yield { name, about, type: kind(field), needed: found.required?.includes(name), depth };
    const nested = inner.type === 'array' ? inner.items : (inner.oneOf?.find((one) => one.$ref) ?? field);
    if (depth < 2) yield* fields(nested, depth + 1);
  }
}

function table(rows) {
  const line = ({ name, about, type, needed, depth }) => element('tr', { class: depth ? 'deeper' : undefined },
    element('td', {}, element('code', {}, name), needed ? ' *' : ''), element('td', {}, element('code', {}, type)), element('td', {}, prose(about)));
  return element('table', {}, element('tbody', {}, ...rows.map(line)));
}

async function send(operation, form, output) {
  const inputs = Object.fromEntries(new FormData(form));
  const query = new URLSearchParams();
  let { path } = operation;
  for (const { name, in: place } of operation.parameters ?? []) {
    if (place === 'path') path = path.replace(`{${name}}`, encodeURIComponent(inputs[name]));
    else if (inputs[name]) query.set(name, inputs[name]);
  }
  const url = query.size ? `${path}?${query}` : path;
  const headers = {};
  if (operation.security && key.value) headers.authorization = `Bearer ${key.value}`;
  if (inputs['·body'] !== undefined) headers['content-type'] = 'application/json';
  const start = performance.now();
  try {
    const response = await fetch(url, { method: operation.method.toUpperCase(), headers, body: inputs['·body'] });
    const text = await response.text();
    const took = (performance.now() - start).toFixed(1);
    output.textContent = `${response.status} ${response.statusText}  ${took} ms\n${pretty(text)}`;
  } catch (error) {
    output.textContent = `${error}`;
  }
}

function pretty(text) {
  try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
}

function tryIt(operation, id) {
  const body = operation.requestBody?.content['application/json'];
  const output = element('pre', { role: 'status', tabindex: '0', hidden: true });
  const inputs = (operation.parameters ?? []).flatMap(({ name, in: place, description }) => [
    element('label', { for: `${id}-${name}` }, element('code', {}, name), ' ', prose(description)),
    element('input', { id: `${id}-${name}`, name, required: place === 'path', autocomplete: 'off' }),
  ]);
  if (body) {
    inputs.push(element('label', { for: `${id}-body` }, 'JSON'));
    inputs.push(element('textarea', { id: `${id}-body`, name: '·body', spellcheck: 'false' }, JSON.stringify(body.example ?? {}, null, 2)));
  }
  const form = element('form', {}, ...inputs, element('p', {}, element('button', { class: 'main', type: 'submit' }, both('Send', '发送'))));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    output.hidden = false;
    send(operation, form, output);
  });
  return element('div', {}, element('h3', {}, both('Try it', '试一试')), form, output);
}

function section(operation, at) {
  const { method, path, summary, description, parameters, requestBody, responses } = operation;
  const body = requestBody?.content['application/json']?.schema;
  const answer = responses['200']?.content?.['application/json']?.schema;
  const parts = [description && element('p', {}, prose(description))];
  if (parameters?.length) {
    const rows = parameters.map(({ name, schema, required, description: about }) => ({ name, type: kind(schema), needed: required, about, depth: 0 }));
    parts.push(element('h3', {}, both('Parameters', '参数')), table(rows));
  }
  if (body) parts.push(element('h3', {}, both('Body', '请求体')), table([...fields(body)]));
  if (answer) parts.push(element('h3', {}, both('Answer', '响应')), table([...fields(answer)]));
  parts.push(tryIt(operation, `operation-${at}`));
  const title = element('summary', {}, element('span', { class: 'method' }, method.toUpperCase()), element('code', {}, path), ' ', both(prose(summary), zh(path)));
  return element('details', { class: 'operation', 'data-path': path }, title, element('div', {}, ...parts));
}

async function start() {
  document_ = await (await fetch('/api/openapi.json')).json();
  document.querySelector('#about').append(both(prose(document_.info.description), '向浏览器、手机和服务发布消息；查询谁在听；结束该结束的连接。拒绝时统一返回 {"error": {"code", "message"}}。'));
  const operations = Object.entries(document_.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => ({ ...operation, path, method })));
  const place = document.querySelector('#operations');
  let at = 0;
  for (const tag of document_.tags) {
    place.append(element('h2', { id: tag.name }, both(`${tag.name}: ${tag.description}`, TAGS[tag.name] ?? tag.name)));
    place.append(...operations.filter(({ tags }) => tags.includes(tag.name)).map((operation) => section(operation, (at += 1))));
  }
}

start().catch((error) => { document.querySelector('#about').append(element('span', { class: 'error' }, `${error}`)); });
