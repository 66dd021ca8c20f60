// One language of a message: its text and its recording.

import { h, icon } from './dom.js';
import { languageName, percent, say, t } from './i18n.js';
import { Player } from './player.js';

const COPIED_MS = 2000;

export class Card {
  /** `language` is null for what was said, until it is known. */
  constructor(language) {
    this.isOriginal = language === null;
    this.language = language;
    this.name = h('h3', { text: () => this.#name() });
    this.badge = h('span.badge', { hidden: true });
    this.words = h('p.words.pending', { text: () => t('pending') });
    this.place = h('div.card-audio');
    this.note = h('p.hint', { hidden: true });
    this.copy = h('button.button.quiet', { type: 'button', hidden: true, onclick: () => this.#copy() },
      icon('copy'), h('span', { text: () => t('copy') }));
    this.save = h('a.button.quiet', { hidden: true }, icon('down'), h('span', { text: () => t('download') }));
    this.element = h(this.isOriginal ? 'article.voice.original' : 'article.voice', {},
      h('div.voice-head', {}, this.name, this.badge), this.place, this.words, this.note,
      h('div.voice-actions', {}, this.copy, this.save));
  }

  #name() {
    if (!this.isOriginal) return languageName(this.language);
    return this.language ? t('original-in', { language: languageName(this.language) }) : t('original');
  }

  /** Shows the words, and how sure the daemon is of them. */
  text(text, language, confidence) {
    this.language = language ?? this.language;
    this.written = text;
    this.words.classList.remove('pending');
    this.words.lang = this.language ?? '';
    this.words.dir = 'auto';
    say(this.words, 'text', () => text || t('no-speech'));
    say(this.name, 'text', () => this.#name());
    this.copy.hidden = !text;
    if (typeof confidence === 'number') this.#badge(() => t('sure', { share: percent(confidence) }), 'plain');
  }

  /** Takes the recording; `isCloned` is whether it is in the sender's voice. */
  async hear(blob, fileName, isCloned) {
    this.player?.close();
    this.player = new Player(() => this.#name());
    this.place.replaceChildren(this.player.element);
    if (isCloned !== undefined) {
      this.#badge(() => t(isCloned ? 'own-voice' : 'standard-voice'), isCloned ? 'own' : 'plain');
    }
    const isPlayable = this.player.load(blob);
    this.save.href = this.player.url;
    this.save.download = fileName;
    this.save.hidden = false;
    if (!(await isPlayable)) this.remark(() => t('not-playable'));
  }

  /** Says something about this language. */
  remark(make) {
    this.note.hidden = false;
    say(this.note, 'text', make);
  }

  /** Nothing more will come, of a message in the language `spoken`. */
  settle(spoken, hasFailed) {
    if (this.written === undefined) {
      this.element.hidden = hasFailed && !this.isOriginal;
      say(this.words, 'text', () => t(this.language === spoken && spoken ? 'same-language' : 'no-text'));
    } else if (!this.player && !this.source && !this.isOriginal) {
      this.remark(() => t('no-speech-made'));
    }
  }

  close() {
    this.player?.close();
  }

  #badge(make, kind) {
    this.badge.hidden = false;
    this.badge.className = `badge ${kind}`;
    say(this.badge, 'text', make);
  }

  async #copy() {
    const label = this.copy.lastChild;
    const isCopied = await copied(this.written);
    say(label, 'text', () => t(isCopied ? 'copied' : 'not-copied'));
    setTimeout(() => say(label, 'text', () => t('copy')), COPIED_MS);
  }
}

/** Puts a text on the clipboard; without HTTPS only the old way is open. */
async function copied(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch (error) {
      if (error.name !== 'NotAllowedError') throw error;
    }
  }
  const before = document.activeElement;
  const area = h('textarea.hidden', { readonly: true });
  area.value = text;
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand('copy');
  area.remove();
  before?.focus();
  return isCopied;
}
