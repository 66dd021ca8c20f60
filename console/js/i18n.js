// Texts in the language of the reader, and names, numbers and times as that language writes them.

import en from '../lang/en.js';
import fr from '../lang/fr.js';

const TEXTS = { en, fr };
const STORED = 'console.language';

let current = chosenBefore() ?? firstOf(navigator.languages) ?? 'en';

function chosenBefore() {
  const stored = localStorage.getItem(STORED);
  return stored in TEXTS ? stored : undefined;
}

function firstOf(languages) {
  const bases = (languages ?? []).map((language) => language.split('-')[0].toLowerCase());
  return bases.find((base) => base in TEXTS);
}

export const language = () => current;

/** The text of a key, with `{name}` replaced by values; the key itself where a text is missing. */
export function t(key, values = {}) {
  const text = TEXTS[current][key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? '');
}

export const has = (key) => key in TEXTS[current];

/** The word for what the daemon calls `name`, else that name. */
export const word = (group, name) => (has(`${group}.${name}`) ? t(`${group}.${name}`) : name);

/** `t` of the key for this number of things: `key.one` or `key.other`. */
export function count(key, number) {
  const form = new Intl.PluralRules(current).select(number) === 'one' ? 'one' : 'other';
  return t(`${key}.${form}`, { count: whole(number) });
}

export function languageName(code) {
  if (!code) return t('unknown-language');
  try {
    const name = new Intl.DisplayNames([current], { type: 'language' }).of(code);
    return name.charAt(0).toLocaleUpperCase(current) + name.slice(1);
  } catch (error) {
    if (error instanceof RangeError) return code;
    throw error;
  }
}

export const list = (items) => new Intl.ListFormat(current, { type: 'conjunction' }).format(items);
export const whole = (number) => new Intl.NumberFormat(current).format(number);
export const percent = (share) => new Intl.NumberFormat(current, { style: 'percent' }).format(share);

/** A span of time as people say it: `340 ms`, `1.4 s`, `2 min 05 s`. */
export function span(milliseconds) {
  const number = (value, digits) => new Intl.NumberFormat(current, {
    minimumFractionDigits: digits, maximumFractionDigits: digits,
  }).format(value);
  if (milliseconds < 1000) return `${number(milliseconds, 0)}\u00a0ms`;
  if (milliseconds < 59_950) return `${number(milliseconds / 1000, 1)}\u00a0s`;
  const seconds = Math.round(milliseconds / 1000);
  const rest = String(seconds % 60).padStart(2, '0');
  return `${number(Math.floor(seconds / 60), 0)}\u00a0min ${rest}\u00a0s`;
}

/** Where a player is: `1:05`. */
export function clock(seconds) {
  const total = Number.isFinite(seconds) ? Math.max(0, Math.floor(seconds)) : 0;
  return `${Math.floor(total / 60)}:${String(total % 60).padStart(2, '0')}`;
}

export function bytes(size) {
  const units = ['kilobyte', 'megabyte', 'gigabyte'];
  const step = Math.min(units.length, Math.max(1, Math.floor(Math.log10(size) / 3)));
  return new Intl.NumberFormat(current, {
    style: 'unit', unit: units[step - 1], maximumFractionDigits: step === 1 ? 0 : 1,
  }).format(Math.max(1, size / 1000 ** step));
}

/** How long ago something was: `3 minutes ago`. */
export function ago(date) {
  const seconds = Math.min(0, (date - Date.now()) / 1000);
  const steps = [[60, 1, 'second'], [3600, 60, 'minute'], [86_400, 3600, 'hour'], [Infinity, 86_400, 'day']];
  const [, size, unit] = steps.find(([limit]) => -seconds < limit);
  const format = new Intl.RelativeTimeFormat(current, { numeric: 'auto' });
  return format.format(Math.round(seconds / size), unit);
}

const said = new WeakMap();
const MARK = 'data-said';

/** Gives an element a text or attribute that is made anew when the language changes. */
export function say(element, property, make) {
  const makers = said.get(element) ?? {};
  makers[property] = make;
  said.set(element, makers);
  element.setAttribute(MARK, '');
  write(element, property, make());
}

function write(element, property, text) {
  if (property !== 'text') {
    element.setAttribute(property, text);
  } else if (element.textContent !== text) {
    // The same text again would be read aloud again.
    element.textContent = text;
  }
}

/** Everything on the page in another language. */
export function speak(chosen) {
  current = chosen;
  localStorage.setItem(STORED, chosen);
  retell();
}

/** Makes all texts anew: the language, or what they tell of, has changed. */
export function retell(root = document) {
  document.documentElement.lang = current;
  for (const element of root.querySelectorAll(`[${MARK}]`)) {
    for (const [property, make] of Object.entries(said.get(element) ?? {})) {
      write(element, property, make());
    }
  }
}

/** The texts of the page as it was served: `data-say` and `data-say-<attribute>`. */
export function sayPage() {
  document.documentElement.lang = current;
  for (const element of document.querySelectorAll('[data-say]')) {
    say(element, 'text', () => t(element.dataset.say));
  }
  for (const element of document.querySelectorAll('[data-say-aria-label]')) {
    say(element, 'aria-label', () => t(element.dataset.sayAriaLabel));
  }
}
