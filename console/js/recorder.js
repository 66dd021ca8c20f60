// A message from the microphone.

import { styled } from './dom.js';
import { BAR_STEP_PX, drawBar, prepared } from './waveform.js';

const FORMATS = ['audio/webm;codecs=opus', 'audio/ogg;codecs=opus', 'audio/mp4'];
/** As long as the daemon takes by default. */
const LONGEST_MS = 30 * 60_000;
const LEVEL_EVERY_MS = 60;

/** Why recording did not begin: `insecure`, `denied`, `absent` or `unsupported`. */
export class MicrophoneError extends Error {}

function reasonOf(error) {
  if (error.name === 'NotAllowedError' || error.name === 'SecurityError') return 'denied';
  if (error.name === 'NotFoundError' || error.name === 'NotReadableError') return 'absent';
  return 'unsupported';
}

export class Recorder {
  #levels = [];

  /** `onTime` is told the milliseconds that were recorded. */
  constructor(canvas, onTime, onEnd) {
    this.canvas = canvas;
    this.onTime = onTime;
    this.onEnd = onEnd;
  }

  /** Begins; what was recorded goes to `onEnd` as a file. */
  async start() {
    if (!window.isSecureContext) throw new MicrophoneError('insecure');
    if (!navigator.mediaDevices || !window.MediaRecorder) throw new MicrophoneError('unsupported');
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
    } catch (error) {
      throw new MicrophoneError(reasonOf(error));
    }
    const mimeType = FORMATS.find((format) => MediaRecorder.isTypeSupported(format));
    const recorder = new MediaRecorder(stream, mimeType ? { mimeType } : {});
    const parts = [];
    recorder.ondataavailable = ({ data }) => parts.push(data);
    recorder.onstop = () => {
      this.#release(stream);
      if (this.isKept) this.onEnd(fileOf(parts, recorder.mimeType));
    };
    this.recorder = recorder;
    this.isKept = true;
    this.#meter(stream);
    recorder.start();
  }

  stop() {
    if (this.recorder?.state === 'recording') this.recorder.stop();
  }

  discard() {
    this.isKept = false;
    this.stop();
  }

  #meter(stream) {
    const began = Date.now();
    this.context = new AudioContext();
    const analyser = this.context.createAnalyser();
    analyser.fftSize = 1024;
    this.context.createMediaStreamSource(stream).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    this.#levels = [];
    this.timer = setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      const power = samples.reduce((sum, sample) => sum + sample ** 2, 0) / samples.length;
      this.#levels.push(Math.min(1, Math.sqrt(power) * 4));
      this.#draw();
      const passed = Date.now() - began;
      this.onTime(passed);
      if (passed >= LONGEST_MS) this.stop();
    }, LEVEL_EVERY_MS);
  }

  #draw() {
    const { context, width, height } = prepared(this.canvas);
    const shown = this.#levels.slice(-Math.floor(width / BAR_STEP_PX));
    this.#levels = shown;
    context.fillStyle = styled('--accent');
    const left = width - shown.length * BAR_STEP_PX;
    shown.forEach((level, bar) => drawBar(context, left + bar * BAR_STEP_PX, height, level));
  }

  #release(stream) {
    clearInterval(this.timer);
    stream.getTracks().forEach((track) => track.stop());
    this.context.close();
  }
}

function fileOf(parts, type) {
  const [container] = type.split(';');
  const extension = { 'audio/ogg': 'ogg', 'audio/mp4': 'm4a' }[container] ?? 'webm';
  return new File(parts, `message.${extension}`, { type: container });
}
