// A recording that can be heard: a button, the waveform as its slider, and the time.

import { h, icon } from './dom.js';
import { clock, retell, t } from './i18n.js';
import { Waveform, shapeOf } from './waveform.js';

const STEP_SECONDS = 2;

/** The player that is heard; another one silences it. */
let heard = null;

export class Player {
  #url = null;
  #seconds = 0;

  /** `name` is a function that tells what is played. */
  constructor(name) {
    this.audio = new Audio();
    this.audio.preload = 'auto';
    this.button = h('button.play', {
      type: 'button', disabled: true, onclick: () => this.toggle(),
      'aria-label': () => t(this.audio.paused ? 'play' : 'pause', { name: name() }),
    }, icon('play'));
    this.canvas = h('canvas.wave', {
      role: 'slider', tabindex: '-1', 'aria-disabled': 'true', 'aria-label': () => t('position', { name: name() }),
      'aria-valuemin': '0', 'aria-valuetext': () => this.#told(),
      onpointerdown: (event) => this.#grab(event), onkeydown: (event) => this.#key(event),
    });
    this.time = h('span.time', { text: '' });
    this.element = h('div.player', {}, this.button, this.canvas, this.time);
    this.waveform = new Waveform(this.canvas);
    for (const event of ['play', 'pause', 'ended', 'timeupdate', 'seeked']) {
      this.audio.addEventListener(event, () => this.#show());
    }
  }

  /** Takes its recording; false when this browser cannot play it. */
  async load(blob) {
    this.#url = URL.createObjectURL(blob);
    this.audio.src = this.#url;
    const shape = await shapeOf(blob);
    // It may have been closed meanwhile.
    if (!this.#url) return true;
    if (!shape) return false;
    this.#seconds = shape.seconds;
    this.waveform.points = shape.points;
    this.button.disabled = false;
    this.canvas.tabIndex = 0;
    this.canvas.removeAttribute('aria-disabled');
    this.canvas.setAttribute('aria-valuemax', shape.seconds.toFixed(1));
    await mendDuration(this.audio);
    this.#show();
    return true;
  }

  get url() { return this.#url; }

  /** Gives the memory back. */
  close() {
    if (heard === this) heard = null;
    this.audio.pause();
    this.waveform.close();
    URL.revokeObjectURL(this.#url);
    this.#url = null;
  }

  async toggle() {
    if (!this.audio.paused) {
      this.audio.pause();
      return;
    }
    if (heard && heard !== this) heard.audio.pause();
    heard = this;
    try {
      await this.audio.play();
    } catch (error) {
      // Paused or closed before it began.
      if (error.name !== 'AbortError') throw error;
    }
  }

  #seek(seconds) {
    this.audio.currentTime = Math.min(Math.max(0, seconds), this.#seconds);
    this.#show();
  }

  #grab(event) {
    if (this.button.disabled) return;
    const seek = ({ clientX }) => {
      const { left, width } = this.canvas.getBoundingClientRect();
      this.#seek(((clientX - left) / width) * this.#seconds);
    };
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.onpointermove = seek;
    this.canvas.onpointerup = () => { this.canvas.onpointermove = null; };
    seek(event);
  }

  #key(event) {
    if (this.button.disabled) return;
    const now = this.audio.currentTime;
    const keys = {
      ArrowRight: () => this.#seek(now + STEP_SECONDS), ArrowUp: () => this.#seek(now + STEP_SECONDS),
      ArrowLeft: () => this.#seek(now - STEP_SECONDS), ArrowDown: () => this.#seek(now - STEP_SECONDS),
      Home: () => this.#seek(0), End: () => this.#seek(this.#seconds),
      ' ': () => this.toggle(), Enter: () => this.toggle(),
    };
    if (!(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  }

  #told() {
    return t('time-of', { now: clock(this.audio.currentTime), all: clock(this.#seconds) });
  }

  #show() {
    const now = this.audio.currentTime;
    this.button.replaceChildren(icon(this.audio.paused ? 'play' : 'pause'));
    this.element.classList.toggle('playing', !this.audio.paused);
    this.waveform.share = this.#seconds ? now / this.#seconds : 0;
    this.time.textContent = now > 0 ? `${clock(now)} / ${clock(this.#seconds)}` : clock(this.#seconds);
    this.canvas.setAttribute('aria-valuenow', now.toFixed(1));
    retell(this.element);
  }
}

/** Browsers record without a duration and then cannot seek, until the end was looked for once. */
async function mendDuration(audio) {
  if (audio.readyState < HTMLMediaElement.HAVE_METADATA) {
    await new Promise((resolve) => {
      audio.addEventListener('loadedmetadata', resolve, { once: true });
      audio.addEventListener('error', resolve, { once: true });
    });
  }
  if (audio.duration !== Infinity) return;
  await new Promise((resolve) => {
    audio.addEventListener('durationchange', resolve, { once: true });
    audio.currentTime = Number.MAX_SAFE_INTEGER;
  });
  audio.currentTime = 0;
}
