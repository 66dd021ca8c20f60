// Elements, made in one expression.

import { say } from './i18n.js';

export const byId = (id) => document.getElementById(id);

/**
 * An element: `h('button.primary', { type: 'button', onclick, text: () => t('record') }, child, …)`.
 * A function is a listener where the name begins with `on`, else a text that follows the language.
 */
export function h(name, properties = {}, ...children) {
  const [tag, ...classes] = name.split('.');
  const element = document.createElement(tag);
  if (classes.length > 0) element.className = classes.join(' ');
  for (const [property, value] of Object.entries(properties)) {
    set(element, property, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

function set(element, property, value) {
  if (property.startsWith('on')) {
    element.addEventListener(property.slice(2), value);
  } else if (typeof value === 'function') {
    say(element, property, value);
  } else if (property === 'text') {
    element.textContent = value;
  } else if (value === true) {
    element.setAttribute(property, '');
  } else if (value !== false && value !== null && value !== undefined) {
    element.setAttribute(property, value);
  }
}

export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
  svg.setAttribute('aria-hidden', 'true');
  use.setAttribute('href', `#i-${name}`);
  svg.append(use);
  return svg;
}

/** Shows one of several elements. */
export function showOnly(elements, shown) {
  for (const element of elements) {
    element.hidden = element !== shown;
  }
}

/** The value of a custom property of the style sheet, such as a colour. */
export const styled = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** What cannot be told with styles alone changes with the colour scheme. */
export function onColours(callback, signal) {
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', callback, { signal });
}

/** A URL that works where the page is, also behind a proxy that serves it below a path. */
export const at = (path) => new URL(path.replace(/^\//, ''), document.baseURI);
