// Calls of the daemon.

import { at } from './dom.js';
import { answers, lost, present } from './connection.js';
import { ask, askAgain, headers } from './session.js';

/** The stream is cut and begun anew when nothing came for so long: the daemon sends a comment each 15 s. */
const SILENCE_MS = 45_000;

/** Status of a request that the daemon did not answer. */
export const GONE = 0;
/** Status of an upload that broke off although the daemon lives. */
export const CUT = -1;

/** What the daemon answered instead of what was asked for. */
export class ApiError extends Error {
  constructor(status, detail, retryAfter) {
    super(detail);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** The explanation in an error's body: a text, a list of fields, or the flags of `/ready`. */
function detailOf(body) {
  try {
    const { detail } = JSON.parse(body);
    if (Array.isArray(detail)) {
      return detail.map((field) => `${(field.loc ?? []).slice(1).join('.')}: ${field.msg}`).join('; ');
    }
    return typeof detail === 'string' ? detail : detail?.message ?? '';
  } catch {
    return '';
  }
}

const errorOf = (status, body, retryAfter) => new ApiError(status, detailOf(body), Number(retryAfter) || null);

/** Does a request, and once more for each token that is given. */
async function authorized(send) {
  for (;;) {
    const shown = headers();
    const answer = await send(shown);
    if (answer.status !== 401 || !(await ask(shown))) return answer;
  }
}

async function request(path, options = {}) {
  const send = (shown) => fetch(at(path), { cache: 'no-store', ...options, headers: { ...options.headers, ...shown } });
  let response;
  try {
    response = await authorized(send);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    lost();
    throw new ApiError(GONE, '');
  }
  if (response.ok) return response;
  throw errorOf(response.status, await response.text(), response.headers.get('retry-after'));
}

export const getJson = async (path) => (await request(path)).json();
export const getBlob = async (path, signal) => (await request(path, { signal })).blob();
export const cancelJob = (id) => request(`jobs/${encodeURIComponent(id)}`, { method: 'DELETE' });

/** Health as `/ready` tells it, which answers 503 with the same body when it is not. */
export async function readiness() {
  try {
    const response = await fetch(at('ready'), { cache: 'no-store' });
    const body = await response.json();
    return response.ok ? body : body.detail;
  } catch {
    lost();
    return null;
  }
}

/** Sends a voice message; the answer is a job. `onProgress` is told the share that was sent. */
export async function submitMessage(form, onProgress, signal) {
  askAgain();
  const answer = await authorized((shown) => upload('audio/process-message', form, shown, onProgress, signal));
  if (answer.status >= 200 && answer.status < 300) return JSON.parse(answer.body);
  if (answer.status !== 0) throw errorOf(answer.status, answer.body, answer.retryAfter);
  if (!(await answers())) {
    lost();
    throw new ApiError(GONE, '');
  }
  throw new ApiError(CUT, '');
}

/** `fetch` does not tell how much was sent, `XMLHttpRequest` does. */
function upload(path, form, shown, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const call = new XMLHttpRequest();
    call.open('POST', at(path));
    call.setRequestHeader('Prefer', 'respond-async');
    for (const [name, value] of Object.entries(shown)) call.setRequestHeader(name, value);
    call.upload.onprogress = ({ loaded, total }) => onProgress(total ? loaded / total : 0);
    call.onloadend = () => resolve({
      status: call.status, body: call.responseText, retryAfter: call.getResponseHeader('retry-after'),
    });
    call.onabort = () => reject(new DOMException('cancelled', 'AbortError'));
    signal.addEventListener('abort', () => call.abort());
    call.send(form);
  });
}

/**
 * Follows a stream of events, calling `onEvent(name, data)`, and begins anew when it breaks: a new stream tells
 * everything again. Ends with the stream when `isOver()`, when the signal aborts, or with an ApiError that another
 * try would not mend.
 */
export async function follow(path, onEvent, signal, isOver = () => false) {
  while (!signal.aborted) {
    await present();
    try {
      await readOnce(path, onEvent, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError && isFinal(error.status)) throw error;
    }
    if (isOver()) return;
    if (!(await answers())) lost();
    await new Promise((resolve) => { setTimeout(resolve, 1000); });
  }
}

/** True for a refusal that stays; that nobody answers, or that too much is going on, passes. */
const isFinal = (status) => status > GONE && status < 500 && status !== 429;

async function readOnce(path, onEvent, signal) {
  const cut = new AbortController();
  const response = await request(path, {
    headers: { Accept: 'text/event-stream' }, signal: AbortSignal.any([signal, cut.signal]),
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const watchdog = setTimeout(() => cut.abort(), SILENCE_MS);
    const { value, done } = await reader.read().finally(() => clearTimeout(watchdog));
    if (done) return;
    const blocks = (rest + value).replaceAll('\r\n', '\n').split('\n\n');
    rest = blocks.pop();
    for (const block of blocks) {
      const event = parse(block);
      if (event) onEvent(event.name, event.data);
    }
  }
}

/** One event of a stream, or nothing for a comment. */
function parse(block) {
  let name = 'message';
  const data = [];
  for (const line of block.split('\n')) {
    const [, field, text] = /^(\w+): ?(.*)$/.exec(line) ?? [];
    if (field === 'event') name = text;
    if (field === 'data') data.push(text);
  }
  return data.length === 0 ? null : { name, data: JSON.parse(data.join('\n')) };
}
