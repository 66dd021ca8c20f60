// What is to be translated, and into what.

import { byId, h, icon, showOnly } from './dom.js';
import { explain } from './errors.js';
import { bytes, clock, language, languageName, list, say, t } from './i18n.js';
import { Player } from './player.js';
import { Recorder } from './recorder.js';

const TARGETS = 'console.targets';
const VOICE = 'console.voice';
/** So many languages are offered before the rest is asked for. */
const FIRST_CHIPS = 12;
const COMMON = ['en', 'fr', 'es'];

/** A name for the voice of whoever uses this browser, until another is given. */
function voiceOfBrowser() {
  const stored = localStorage.getItem(VOICE);
  if (stored) return stored;
  const bytesOfName = crypto.getRandomValues(new Uint8Array(4));
  const name = `console-${Array.from(bytesOfName, (byte) => byte.toString(16).padStart(2, '0')).join('')}`;
  localStorage.setItem(VOICE, name);
  return name;
}

export class Composer {
  #file = null;
  #player = null;
  #offered = { transcription: [], translation: [], speech: [] };
  #chosen = new Set(JSON.parse(localStorage.getItem(TARGETS) ?? '[]'));
  #first = new Set();
  #isUnfolded = false;
  #isBusy = false;

  /** `onSubmit` takes `{ file, source, targets, voice, clone }`. */
  constructor(onSubmit) {
    this.onSubmit = onSubmit;
    this.recorder = new Recorder(byId('level'), (passed) => { byId('recorded').textContent = clock(passed / 1000); },
      (file) => this.#take(file));
    byId('voice').value = voiceOfBrowser();
    this.#listen();
    say(byId('submit-hint'), 'text', () => this.#hint());
  }

  /** What the daemon can hear, translate and speak. */
  offer(offered) {
    this.#offered = offered;
    const reachable = new Set(offered.translation.map(({ target }) => target));
    this.#chosen = new Set([...this.#chosen].filter((code) => reachable.has(code)));
    if (this.#chosen.size === 0) {
      // Something to begin with that is likely not what is spoken.
      const own = navigator.languages.map((tag) => tag.split('-')[0]);
      const first = COMMON.find((code) => reachable.has(code) && !own.includes(code)) ?? [...reachable][0];
      if (first) this.#chosen.add(first);
    }
    this.#first = new Set(this.#chosen);
    this.#showSources();
    this.#showChips();
  }

  /** While a message is on its way no other can be sent. */
  set isBusy(isBusy) {
    this.#isBusy = isBusy;
    this.#showSubmit();
  }

  /** The languages are named, and sorted, anew. */
  retell() {
    this.#showSources();
    this.#showChips();
  }

  #listen() {
    const drop = byId('drop');
    byId('choose').onclick = () => byId('file').click();
    byId('file').onchange = ({ target }) => {
      if (target.files[0]) this.#take(target.files[0]);
      // The same file may be chosen again.
      target.value = '';
    };
    byId('record').onclick = () => this.#record();
    byId('stop').onclick = () => this.recorder.stop();
    byId('discard').onclick = () => {
      this.recorder.discard();
      this.#clear();
    };
    byId('translate').onclick = () => this.#submit();
    byId('source').onchange = () => this.#showChips();
    byId('voice').onchange = ({ target }) => {
      if (target.value.trim()) localStorage.setItem(VOICE, target.value.trim());
      target.value = voiceOfBrowser();
    };
    // A file that misses the zone must not replace the page.
    for (const event of ['dragover', 'drop']) {
      window.addEventListener(event, (dragged) => dragged.preventDefault());
    }
    drop.addEventListener('dragover', () => drop.classList.add('over'));
    drop.addEventListener('dragleave', ({ relatedTarget }) => {
      if (!drop.contains(relatedTarget)) drop.classList.remove('over');
    });
    drop.addEventListener('drop', ({ dataTransfer }) => {
      drop.classList.remove('over');
      if (dataTransfer.files[0]) this.#take(dataTransfer.files[0]);
    });
  }

  async #record() {
    this.#problem(null);
    try {
      await this.recorder.start();
    } catch (error) {
      const problem = explain(error);
      this.#problem(() => `${problem.title} ${problem.advice}`);
      return;
    }
    byId('recorded').textContent = clock(0);
    this.#show('drop-recording');
    byId('stop').focus();
  }

  async #take(file) {
    this.#problem(null);
    this.recorder.discard();
    this.#player?.close();
    if (file.size === 0) {
      this.#clear();
      this.#problem(() => t('empty-file'));
      return;
    }
    this.#file = file;
    this.#player = new Player(() => t('original'));
    const note = h('p.hint', { text: '' });
    const remove = h('button.button.quiet', { type: 'button', onclick: () => this.#clear() },
      icon('cross'), h('span', { text: () => t('remove') }));
    byId('drop-chosen').replaceChildren(
      h('div.chosen-head', {}, h('p.chosen-name', {}, h('b', { text: file.name }), ' ',
        h('span.hint', { text: () => bytes(file.size) })), remove),
      this.#player.element, note,
    );
    this.#show('drop-chosen');
    this.#showSubmit();
    byId('translate').focus({ preventScroll: true });
    if (!(await this.#player.load(file))) say(note, 'text', () => t('not-playable'));
  }

  #clear() {
    this.#player?.close();
    this.#player = null;
    this.#file = null;
    this.#show('drop-empty');
    this.#showSubmit();
    byId('record').focus({ preventScroll: true });
  }

  #show(id) {
    showOnly(['drop-empty', 'drop-recording', 'drop-chosen'].map(byId), byId(id));
    byId('drop').dataset.shows = id;
  }

  #problem(make) {
    const problem = byId('compose-problem');
    problem.hidden = !make;
    if (make) say(problem, 'text', make);
  }

  /** Languages that the chosen source can be translated into: those of last time first, then by name. */
  #targets() {
    const source = byId('source').value;
    const pairs = this.#offered.translation.filter((pair) => !source || pair.source === source);
    const codes = [...new Set(pairs.map(({ target }) => target))];
    const rank = (code) => (this.#first.has(code) ? 0 : 1);
    const before = (one, other) => rank(one) - rank(other)
      || languageName(one).localeCompare(languageName(other), language());
    return codes.sort(before);
  }

  #showSources() {
    const select = byId('source');
    const before = select.value;
    const codes = [...this.#offered.transcription];
    codes.sort((one, other) => languageName(one).localeCompare(languageName(other), language()));
    select.replaceChildren(h('option', { value: '', text: () => t('detected') }),
      ...codes.map((code) => h('option', { value: code, text: () => languageName(code) })));
    select.value = before;
  }

  #showChips() {
    const codes = this.#targets();
    const shown = this.#isUnfolded ? codes : codes.slice(0, Math.max(FIRST_CHIPS, this.#chosen.size));
    const spoken = new Set(this.#offered.speech.map((speech) => speech.language));
    const chips = shown.map((code) => this.#chip(code, spoken.has(code)));
    if (shown.length < codes.length) {
      chips.push(h('button.button.quiet', {
        type: 'button', onclick: () => this.#unfold(shown.length),
        text: () => t('more-languages', { count: codes.length - shown.length }),
      }));
    }
    if (codes.length === 0) chips.push(h('p.hint', { text: () => t('no-languages') }));
    byId('chips').replaceChildren(...chips);
    this.#showSubmit();
  }

  #unfold(shown) {
    this.#isUnfolded = true;
    this.#showChips();
    byId('chips').querySelectorAll('input')[shown].focus();
  }

  #chip(code, isSpoken) {
    const box = h('input', {
      type: 'checkbox', value: code, checked: this.#chosen.has(code),
      onchange: () => {
        if (box.checked) this.#chosen.add(code); else this.#chosen.delete(code);
        localStorage.setItem(TARGETS, JSON.stringify([...this.#chosen]));
        this.#showSubmit();
      },
    });
    const note = isSpoken ? null : h('small', { text: () => t('text-only') });
    return h('label.chip', {}, box, icon('check'), h('span', { text: () => languageName(code) }), note);
  }

  #wanted() {
    return this.#targets().filter((code) => this.#chosen.has(code));
  }

  #hint() {
    if (this.#isBusy) return t('one-at-a-time');
    if (!this.#file) return t('needs-message');
    const wanted = this.#wanted();
    if (wanted.length === 0) return t('needs-language');
    return t('will-be', { languages: list(wanted.map(languageName)) });
  }

  #showSubmit() {
    byId('translate').disabled = this.#isBusy || !this.#file || this.#wanted().length === 0;
    say(byId('submit-hint'), 'text', () => this.#hint());
  }

  #submit() {
    this.onSubmit({
      file: this.#file, source: byId('source').value, targets: this.#wanted(),
      voice: byId('voice').value.trim(), clone: byId('clone').checked,
    });
  }
}
