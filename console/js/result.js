// One message: how far it is, its transcript, translations and recordings.

import { cancelJob, follow, getBlob, submitMessage } from './api.js';
import { h, icon } from './dom.js';
import { explain, explainJob } from './errors.js';
import { languageName, list, percent, say, span, t } from './i18n.js';
import { Card } from './card.js';
import { STAGES, isEnded, note, spans, stageName } from './stages.js';

const TICK_MS = 200;

export class Result {
  #cards = new Map();
  #stages = [];
  #job = null;
  #uploaded = null;
  #stop = new AbortController();
  #stopUpload = new AbortController();
  hasFailed = false;

  /** Shows itself in `section`; `onEnd` is called when there is nothing to wait for any more. */
  constructor(section, onEnd) {
    this.section = section;
    this.onEnd = onEnd;
    this.began = Date.now();
    this.title = h('h2', { id: 'result-title', text: () => this.#heading() });
    this.cancel = h('button.button.quiet', { type: 'button', onclick: () => this.#cancel(), text: () => t('cancel') });
    this.bar = h('div.progress', { role: 'progressbar', 'aria-valuemin': '0', 'aria-valuemax': '100', 'aria-label': () => t('progress') }, h('span'));
    this.track = h('ol.track', { 'aria-label': () => t('stages') });
    this.spoken = h('p.hidden', { role: 'status', 'aria-live': 'polite' });
    this.problem = h('div.failure', { role: 'alert', hidden: true });
    this.original = new Card(null);
    this.translations = h('div.translations');
    section.replaceChildren(h('div.card-head', {}, this.title, this.cancel),
      this.bar, this.track, this.spoken, this.problem,
      h('div.cards', {}, this.original.element, this.translations));
    section.hidden = false;
    this.timer = setInterval(() => this.#showTrack(), TICK_MS);
  }

  /** Sends a message and follows it. */
  async send({ file, source, targets, voice, clone }) {
    this.original.hear(file, file.name);
    targets.forEach((target) => this.#card(target));
    this.#uploaded = 0;
    this.#showTrack();
    const form = new FormData();
    const fields = {
      sender_id: voice, conversation_id: 'console', target_languages: targets.join(','),
      generate_voice_clone: String(clone), ...(source && { language: source }),
    };
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    form.append('audio', file, file.name);
    await this.#guarded(async () => {
      const job = await submitMessage(form, (share) => { this.#uploaded = share; }, this.#stopUpload.signal);
      this.#uploaded = 1;
      await this.#follow(job);
    });
  }

  /** Follows a job that somebody sent. */
  open(job) {
    return this.#guarded(() => this.#follow(job));
  }

  /** Shows nothing any more. What is on its way to the daemon goes on. */
  close() {
    this.#stop.abort();
    clearInterval(this.timer);
    [this.original, ...this.#cards.values()].forEach((card) => card.close());
  }

  async #guarded(work) {
    try {
      await work();
    } catch (error) {
      if (error.name !== 'AbortError') this.#fail(() => explain(error));
    }
    if (!this.#stop.signal.aborted) this.#end();
  }

  async #follow(job) {
    this.#update(job);
    const handlers = {
      job: (data) => this.#update(data),
      stage: (data) => this.#stage(data),
      transcribed: (data) => this.#transcribed(data),
      translated: ({ language, text }) => this.#translated(language, text),
      spoken: (data) => this.#spoken(data),
    };
    await follow(`jobs/${encodeURIComponent(job.id)}/events`, (name, data) => handlers[name]?.(data),
      this.#stop.signal, () => isEnded(this.#job));
  }

  #update(job) {
    this.#job = job;
    this.#stages = job.stages ?? [];
    for (const { language } of this.#stages) {
      if (language && job.kind === 'process_message') this.#card(language);
    }
    if (job.error && job.status !== 'cancelled') this.#fail(() => explainJob(job.error));
    if (job.result?.original) this.#show(job.result);
    this.#showTrack();
    say(this.title, 'text', () => this.#heading());
  }

  /** A whole result, as the last `job` has it. */
  #show({ original, translations }) {
    this.#transcribed({ ...original, text: original.transcription });
    for (const [language, translation] of Object.entries(translations ?? {})) {
      this.#translated(language, translation.text);
      if (translation.audio_url) this.#spoken({ ...translation, language });
    }
  }

  #stage(event) {
    note(this.#stages, event);
    if (event.language && this.#job.kind === 'process_message') this.#card(event.language);
    if (typeof event.progress === 'number') this.#job.progress = event.progress;
    this.#showTrack();
    const name = () => stageName(event.stage);
    const language = () => (event.language ? ` ${languageName(event.language)}` : '');
    say(this.spoken, 'text', () => `${name()}${language()}: ${t(`step.${event.status}`)}`);
  }

  #transcribed({ text, language, confidence }) {
    this.original.text(text, language, confidence);
  }

  #translated(language, text) {
    this.#card(language).text(text, language);
  }

  async #spoken({ language, audio_url: url, voice_cloned: isCloned }) {
    const card = this.#card(language);
    if (card.source === url) return;
    card.source = url;
    const extension = /\.(\w+)$/.exec(url)?.[1] ?? 'mp3';
    try {
      card.hear(await getBlob(url, this.#stop.signal), `${language}.${extension}`, isCloned);
    } catch (error) {
      if (error.name === 'AbortError') return;
      const { title, advice } = explain(error);
      card.remark(() => `${title} ${advice}`);
    }
  }

  #card(language) {
    if (!this.#cards.has(language)) {
      const card = new Card(language);
      this.#cards.set(language, card);
      this.translations.append(card.element);
    }
    return this.#cards.get(language);
  }

  async #cancel() {
    if (!this.#job) {
      this.#stopUpload.abort();
      this.#job = { kind: 'process_message', status: 'cancelled' };
      return;
    }
    this.cancel.disabled = true;
    try {
      await cancelJob(this.#job.id);
    } catch (error) {
      // It has ended meanwhile.
      if (error.status !== 409) this.#fail(() => explain(error));
    }
    this.cancel.disabled = false;
  }

  #fail(make) {
    this.hasFailed = true;
    const { detail } = make();
    this.problem.replaceChildren(
      h('p.failure-title', { text: () => make().title }), h('p', { text: () => make().advice }),
      ...(detail ? [h('p.failure-detail', { text: detail })] : []),
    );
    this.problem.hidden = false;
    say(this.title, 'text', () => this.#heading());
  }

  #end() {
    clearInterval(this.timer);
    this.cancel.hidden = true;
    for (const card of [this.original, ...this.#cards.values()]) card.settle(this.original.language, this.hasFailed);
    this.#showTrack();
    this.section.classList.add('ended');
    say(this.title, 'text', () => this.#heading());
    if (!this.hasFailed) say(this.spoken, 'text', () => this.#heading());
    this.onEnd();
  }

  #heading() {
    if (this.#job?.status === 'completed') return t('done-in', { time: span(this.#took()) });
    if (this.#job?.status === 'cancelled') return t('status.cancelled');
    if (this.hasFailed) return t('failed');
    if (!this.#job) return t('sending');
    const languages = [...this.#cards.keys()].map(languageName);
    return this.#job.status === 'queued' ? t('waiting-turn') : t('translating', { languages: list(languages) });
  }

  #took() {
    const begin = Date.parse(this.#job.started_at ?? this.#job.created_at);
    return Date.parse(this.#job.completed_at) - begin;
  }

  #showTrack() {
    const share = this.#share();
    this.bar.firstChild.style.width = `${share * 100}%`;
    this.bar.setAttribute('aria-valuenow', Math.round(share * 100));
    this.bar.setAttribute('aria-valuetext', percent(share));
    const told = new Map(spans(this.#stages, Date.now()).map((entry) => [entry.stage, entry]));
    const upload = this.#uploaded === null ? []
      : [{ stage: 'upload', status: this.#uploaded < 1 ? 'running' : 'done', share: this.#uploaded }];
    const others = [...told.keys()].filter((stage) => !STAGES.includes(stage));
    const usual = this.#job && this.#job.kind !== 'process_message' ? STAGES.filter((stage) => told.has(stage)) : STAGES;
    const steps = [...upload, ...[...usual, ...others].map((stage) => told.get(stage) ?? { stage, status: 'waiting' })];
    steps.forEach((step, index) => this.#showStep(index, step));
    while (this.track.children.length > steps.length) this.track.lastChild.remove();
  }

  /** Changes the step in place: making it anew five times a second would be read aloud. */
  #showStep(index, step) {
    const isOver = this.#job ? isEnded(this.#job) : this.hasFailed;
    const ended = { waiting: this.hasFailed ? 'unreached' : 'skipped', running: 'failed' };
    const status = (isOver && ended[step.status]) || step.status;
    const element = this.track.children[index] ?? this.track.appendChild(
      h('li.step', {}, h('span.step-mark', { 'aria-hidden': 'true' }), h('span.step-name'), h('span.step-time')),
    );
    const [mark, name, time] = element.children;
    if (element.dataset.status !== status) {
      const shown = { done: 'check', failed: 'cross' }[status];
      mark.replaceChildren(...(shown ? [icon(shown)] : []));
      element.dataset.status = status;
    }
    element.dataset.stage = step.stage;
    say(name, 'text', () => stageName(step.stage));
    say(time, 'text', () => (step.share === undefined || status === 'done'
      ? step.begin ? span(Math.max(0, step.end - step.begin)) : t(`step.${status}`)
      : percent(step.share)));
  }

  #share() {
    if (this.#job?.status === 'completed') return 1;
    return (this.#job?.progress ?? 0) / 100;
  }
}
