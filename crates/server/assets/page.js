// What all pages share: language and theme, remembered in this browser, and making elements without markup in strings.
const root = document.documentElement;
const remembered = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
const remember = (name, value) => { try { localStorage.setItem(name, value); } catch { /* private windows forget */ } };

/** An element with attributes and children; texts are texts, whatever they hold. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, '');
    else if (value !== false && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== undefined && child !== null));
  return made;
}

/** A text or an element in both languages; the style sheet shows one. */
export const both = (en, zh) => {
  const made = document.createDocumentFragment();
  made.append(element('span', { lang: 'en' }, en), element('span', { lang: 'zh' }, zh ?? en.cloneNode?.(true) ?? en));
  return made;
};

function speak(language) {
  root.lang = language;
  remember('oyez.language', language);
}

function shine(theme) {
  root.dataset.theme = theme;
  remember('oyez.theme', theme);
}

speak(remembered('oyez.language') ?? (navigator.language.startsWith('zh') ? 'zh' : 'en'));
const dark = matchMedia('(prefers-color-scheme: dark)').matches;
root.dataset.theme = remembered('oyez.theme') ?? (dark ? 'dark' : 'light');

document.querySelector('#language')?.addEventListener('click', () => speak(root.lang === 'zh' ? 'en' : 'zh'));
document.querySelector('#theme')?.addEventListener('click', () => shine(root.dataset.theme === 'dark' ? 'light' : 'dark'));
