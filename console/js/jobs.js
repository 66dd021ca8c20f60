// The jobs of late, as they go on.

import { ApiError, cancelJob, follow } from './api.js';
import { byId, h } from './dom.js';
import { explainJob } from './errors.js';
import { ago, retell, say, span, t, word } from './i18n.js';
import { STAGES, isEnded, note, spans, stageName } from './stages.js';

const SHOWN = 15;
const TICK_MS = 500;
/** Jobs that came over HTTP have a uuid, and can be asked for their texts. */
const IS_OURS = /^[0-9a-f]{8}-/;

export class Jobs {
  #rows = new Map();
  #stop = null;

  /** `onOpen` takes the job that is to be shown. */
  constructor(onOpen) {
    this.onOpen = onOpen;
    byId('legend').replaceChildren(...['waiting', ...STAGES].map((stage) => h('li', { 'data-stage': stage },
      h('span.swatch', { 'aria-hidden': 'true' }), h('span', { text: () => stageName(stage) }))));
    // A hidden page needs no stream, and a browser has six connections for all its pages together.
    document.addEventListener('visibilitychange', () => (document.hidden ? this.#pause() : this.start()));
    setInterval(() => this.#tick(), TICK_MS);
  }

  async start() {
    if (this.#stop) return;
    const stop = new AbortController();
    this.#stop = stop;
    try {
      // It begins with the newest jobs.
      await follow('jobs/events', (name, data) => {
        if (name === 'job') this.#update(data);
        if (name === 'stage') this.#stage(data);
      }, stop.signal);
    } catch (error) {
      // The notices say that nobody answers, or that a token is missing.
      if (!(error instanceof ApiError)) throw error;
    }
    if (this.#stop === stop) this.#stop = null;
  }

  #pause() {
    this.#stop?.abort();
    this.#stop = null;
  }

  #update(job) {
    const row = this.#rows.get(job.id) ?? this.#added(job);
    row.job = job;
    row.show();
  }

  #stage(event) {
    const row = this.#rows.get(event.id);
    if (!row) return;
    note(row.job.stages, event);
    row.show();
  }

  #added(job) {
    const row = new Row(job, this.onOpen);
    const next = this.#newestFirst().find(({ created }) => created <= row.created);
    byId('job-list').insertBefore(row.element, next?.element ?? null);
    this.#rows.set(job.id, row);
    while (this.#rows.size > SHOWN) {
      const oldest = this.#newestFirst().at(-1);
      oldest.element.remove();
      this.#rows.delete(oldest.job.id);
    }
    byId('jobs-empty').hidden = true;
    return row;
  }

  #newestFirst() {
    return [...this.#rows.values()].sort((one, other) => other.created - one.created);
  }

  #tick() {
    for (const row of this.#rows.values()) {
      if (!isEnded(row.job)) row.show();
    }
    retell(byId('job-list'));
  }
}

class Row {
  constructor(job, onOpen) {
    this.job = job;
    this.created = Date.parse(job.created_at);
    const kind = () => word('kind', this.job.kind);
    const name = IS_OURS.test(job.id)
      ? h('button.job-name', { type: 'button', onclick: () => onOpen(this.job), text: kind })
      : h('span.job-name', { text: kind, title: () => t('of-gateway') });
    this.badge = h('span.badge');
    this.time = h('span.job-time');
    this.cancel = h('button.button.quiet.small', {
      type: 'button', onclick: () => this.#cancel(), text: () => t('cancel'), 'aria-label': () => t('cancel-job', { kind: kind() }),
    });
    this.bar = h('div.job-bar', { role: 'img', 'aria-label': () => this.#told() });
    this.error = h('p.job-error', { hidden: true });
    this.element = h('li.job', {},
      h('div.job-head', {}, name, h('span.hint', { text: () => ago(this.created) }), this.badge, this.time, this.cancel),
      this.bar, this.error);
  }

  show() {
    const { status, error } = this.job;
    this.element.dataset.status = status;
    this.badge.className = `badge ${{ completed: 'ok', failed: 'bad', running: 'own' }[status] ?? 'plain'}`;
    say(this.badge, 'text', () => t(`status.${status}`));
    say(this.time, 'text', () => (this.#end() > this.created ? span(this.#end() - this.created) : ''));
    this.cancel.hidden = isEnded(this.job) || !IS_OURS.test(this.job.id);
    this.error.hidden = !error || status === 'cancelled';
    if (error) say(this.error, 'text', () => [explainJob(error).title, error.detail, `(${error.reason})`].filter(Boolean).join(' '));
    this.#showBar();
    say(this.bar, 'aria-label', () => this.#told());
  }

  #end() {
    return this.job.completed_at ? Date.parse(this.job.completed_at) : Date.now();
  }

  /** The wait, and then each stage as long as it took. */
  #parts() {
    const begun = this.job.started_at ? Date.parse(this.job.started_at) : this.#end();
    const wait = { stage: 'waiting', status: 'done', begin: this.created, end: begun };
    return [wait, ...spans(this.job.stages ?? [], this.#end())].filter(({ begin, end }) => end > begin);
  }

  #showBar() {
    const parts = this.#parts();
    while (this.bar.children.length > parts.length) this.bar.lastChild.remove();
    parts.forEach(({ stage, status, begin, end }, index) => {
      const part = this.bar.children[index] ?? this.bar.appendChild(h('span'));
      part.dataset.stage = stage;
      part.dataset.status = status;
      part.style.flexGrow = end - begin;
      part.title = `${stageName(stage)} ${span(end - begin)}`;
    });
  }

  #told() {
    return this.#parts().map(({ stage, begin, end }) => `${stageName(stage)} ${span(end - begin)}`).join(', ');
  }

  async #cancel() {
    this.cancel.disabled = true;
    try {
      await cancelJob(this.job.id);
    } catch (error) {
      // It has ended meanwhile, or nobody answers, which the notices say.
      if (!(error instanceof ApiError)) throw error;
    }
    this.cancel.disabled = false;
  }
}
