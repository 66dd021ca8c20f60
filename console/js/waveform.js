// The shape of a recording, drawn as bars, which is also the slider of its player.

import { onColours, styled } from './dom.js';

/** Enough for a shape, and a sixth of the memory of 48 kHz. */
const SHAPE_RATE_HZ = 8000;
const BAR_PX = 3;
const GAP_PX = 2;
const SHAPE_POINTS = 1000;

/** Loudness over time, from 0 to 1, and the duration; null when this browser cannot decode it. */
export async function shapeOf(blob) {
  const bytes = await blob.arrayBuffer();
  try {
    const context = new OfflineAudioContext(1, 1, SHAPE_RATE_HZ);
    const audio = await context.decodeAudioData(bytes);
    return { points: loudness(audio.getChannelData(0)), seconds: audio.duration };
  } catch (error) {
    if (error instanceof DOMException) return null;
    throw error;
  }
}

function loudness(samples) {
  const count = Math.min(SHAPE_POINTS, samples.length);
  const points = new Float32Array(count);
  for (let point = 0; point < count; point += 1) {
    const begin = Math.floor((point * samples.length) / count);
    const end = Math.max(begin + 1, Math.floor(((point + 1) * samples.length) / count));
    let sum = 0;
    for (let index = begin; index < end; index += 1) sum += samples[index] ** 2;
    points[point] = Math.sqrt(sum / (end - begin));
  }
  const loudest = points.reduce((most, point) => Math.max(most, point), 1e-4);
  // The square root lifts what is quiet, as ears do.
  return points.map((point) => Math.sqrt(point / loudest));
}

/** The canvas that shows a shape, and how much of it was played. */
export class Waveform {
  #points = null;
  #share = 0;
  #end = new AbortController();

  constructor(canvas) {
    this.canvas = canvas;
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(canvas);
    onColours(() => this.draw(), this.#end.signal);
  }

  close() {
    this.observer.disconnect();
    this.#end.abort();
  }

  set points(points) {
    this.#points = points;
    this.draw();
  }

  set share(share) {
    this.#share = share;
    this.draw();
  }

  draw() {
    const { context, width, height } = prepared(this.canvas);
    const bars = Math.floor((width + GAP_PX) / (BAR_PX + GAP_PX));
    const [played, ahead] = [styled('--accent'), styled('--wave')];
    for (let bar = 0; bar < bars; bar += 1) {
      const share = bar / bars;
      context.fillStyle = share < this.#share ? played : ahead;
      drawBar(context, bar * (BAR_PX + GAP_PX), height, this.#loudest(share, (bar + 1) / bars));
    }
  }

  #loudest(begin, end) {
    if (!this.#points) return 0;
    const first = Math.floor(begin * this.#points.length);
    const last = Math.max(first + 1, Math.floor(end * this.#points.length));
    return this.#points.subarray(first, last).reduce((most, point) => Math.max(most, point), 0);
  }
}

/** A canvas of the screen's own pixels, cleared. */
export function prepared(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const scale = devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext('2d');
  context.scale(scale, scale);
  return { context, width, height };
}

export function drawBar(context, x, height, share) {
  const length = Math.max(BAR_PX, share * height);
  context.beginPath();
  context.roundRect(x, (height - length) / 2, BAR_PX, length, BAR_PX / 2);
  context.fill();
}

export const BAR_STEP_PX = BAR_PX + GAP_PX;
