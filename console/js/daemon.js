// The daemon: whether it is ready, what waits, what it can do and with which models.

import { ApiError, getJson, readiness } from './api.js';
import { present, tryNow, watch } from './connection.js';
import { byId, h } from './dom.js';
import { bytes, count, languageName, list, retell, say, t, whole, word } from './i18n.js';

const EVERY_MS = 3000;
/** Languages of a model that are named. */
const MODEL_LANGUAGES = 8;

export class Daemon {
  #isGone = false;
  #ready = null;
  #offered = null;

  /** `onOffer` is told what the daemon can hear, translate and speak. */
  constructor(onOffer) {
    this.onOffer = onOffer;
    this.notice = h('div.notice', { hidden: true });
    byId('notices').append(this.notice);
    watch((state) => this.#connection(state));
    say(byId('state-text'), 'text', () => this.#state());
  }

  async run() {
    for (;;) {
      await present();
      if (!document.hidden) await this.#look();
      await new Promise((resolve) => { setTimeout(resolve, EVERY_MS); });
    }
  }

  async #look() {
    const wasReady = this.#ready?.status === 'ready';
    this.#ready = await readiness();
    this.#showState();
    try {
      if (!this.#offered || (!wasReady && this.#ready?.status === 'ready')) await this.#learn();
      this.#showQueues(await getJson('queues'));
    } catch (error) {
      // Without an answer the notice says so; without a token there is nothing to show.
      if (!(error instanceof ApiError)) throw error;
    }
  }

  /** What changes only with the models. */
  async #learn() {
    const [offered, { models }] = await Promise.all([getJson('languages'), getJson('models')]);
    this.#offered = offered;
    this.#showLanguages(offered);
    this.#showModels(models);
    this.onOffer(offered);
  }

  #connection({ isGone, nextTry }) {
    this.#isGone = isGone;
    this.#showState();
    clearInterval(this.countdown);
    if (!isGone) return;
    const seconds = () => Math.max(0, Math.ceil((nextTry - Date.now()) / 1000));
    const text = h('span', { text: () => t('gone-next', { seconds: seconds() }), 'aria-live': 'off' });
    this.#notify(h('b', { text: () => t('gone') }), text,
      h('button.button.small', { type: 'button', onclick: tryNow, text: () => t('try-now') }));
    this.countdown = setInterval(() => retell(this.notice), 1000);
  }

  #notify(...children) {
    this.notice.replaceChildren(...children);
    this.notice.hidden = false;
  }

  #showState() {
    const isReady = this.#ready?.status === 'ready';
    const state = this.#isGone ? 'gone' : !this.#ready ? 'waiting' : isReady ? 'ready' : 'loading';
    byId('state').dataset.state = state;
    say(byId('state-text'), 'text', () => this.#state());
    if (this.#isGone) return;
    if (!this.#ready || isReady) {
      this.notice.hidden = true;
    } else if (this.shown !== this.#ready.message || this.notice.hidden) {
      this.shown = this.#ready.message;
      this.#notify(h('b', { text: () => t('not-ready') }), h('span', { text: () => t('not-ready-advice') }));
    }
  }

  #state() {
    if (this.#isGone) return t('state.gone');
    if (!this.#ready) return t('state.waiting');
    return t(this.#ready.status === 'ready' ? 'state.ready' : 'state.loading');
  }

  #showQueues({ lanes, engines }) {
    const busy = lanes.filter(({ waiting, running }) => waiting + running > 0);
    byId('queues').replaceChildren(busy.length > 0 ? queueTable(busy) : h('p.hint', { text: () => t('queue.idle') }));
    byId('engines').replaceChildren(...engines.map(({ engine, status, device, memory_bytes: memory }) => {
      const facts = () => [word('engine-status', status), device, memory ? bytes(memory) : null];
      return h('li', { 'data-status': status.split(':')[0] }, h('span.dot', { 'aria-hidden': 'true' }),
        h('span', { text: () => word('engine', engine) }), h('span.hint', { text: () => told(facts()) }));
    }));
  }

  #showLanguages({ transcription, translation, speech }) {
    const cloned = speech.filter(({ voice }) => voice === 'cloned').map(({ language }) => language);
    const base = speech.filter(({ voice }) => voice !== 'cloned').map(({ language }) => language);
    const names = (codes) => list(codes.map(languageName).sort());
    say(byId('voices'), 'text', () => t(cloned.length > 0 ? 'clones' : speech.length > 0 ? 'clones-not' : 'speaks-not'));
    say(byId('languages-summary'), 'text', () => count('pairs', translation.length));
    const sources = [...new Set(translation.map(({ source }) => source))];
    const lines = [
      ['hears', () => names(transcription), transcription],
      ['speaks-cloned', () => names(cloned), cloned],
      ['speaks-base', () => names(base), base],
    ].filter(([, , codes]) => codes.length > 0);
    const pairs = sources.map((source) => [() => t('from', { language: languageName(source) }), () => list(translation
      .filter((pair) => pair.source === source)
      .map(({ target, via }) => (via ? t('via', { target: languageName(target), via: languageName(via) }) : languageName(target))).sort())]);
    byId('languages').replaceChildren(h('dl', {},
      lines.map(([key, text]) => [h('dt', { text: () => t(key) }), h('dd', { text })]),
      pairs.map(([from, text]) => [h('dt', { text: from }), h('dd', { text })])));
  }

  #showModels(models) {
    say(byId('models-summary'), 'text', () => count('models', models.length));
    byId('models').replaceChildren(...models.map((model) => {
      const { kind, languages, size_bytes: size, licence, status, device } = model;
      const facts = () => [kind, languages.slice(0, MODEL_LANGUAGES).join(' '), bytes(size), licence,
        word('engine-status', status), device];
      return h('li', {}, h('b', { text: model.id }), h('span.hint', { text: () => told(facts()) }));
    }));
  }
}

const told = (facts) => facts.filter(Boolean).join(' · ');

function queueTable(lanes) {
  const columns = ['lane', 'waiting', 'running', 'size'].map((name) => (
    h('th', { scope: 'col', text: () => t(`queue.${name}`) })));
  const rows = lanes.map(({ lane, waiting, running, bytes: size }) => h('tr', {},
    h('th', { scope: 'row', text: () => word('lane', lane) }), h('td', { text: () => whole(waiting) }),
    h('td', { text: () => whole(running) }), h('td', { text: () => (size ? bytes(size) : '–') })));
  return h('table', {}, h('thead', {}, h('tr', {}, columns)), h('tbody', {}, rows));
}
