// What went wrong and what to do next, in the words of the reader.

import { ApiError, CUT, GONE } from './api.js';
import { t } from './i18n.js';
import { MicrophoneError } from './recorder.js';

const OF_STATUS = {
  [GONE]: 'gone', [CUT]: 'cut', 400: 'invalid', 401: 'token', 404: 'unknown', 409: 'ended', 413: 'too-large',
  415: 'format', 422: 'invalid', 429: 'busy', 503: 'not-ready', 504: 'late', 507: 'disk',
};

/** Reasons of the daemon that need the same words as a status. */
const OF_REASON = {
  unsupported_codec: 'format', malformed_audio: 'damaged', audio_too_long: 'too-long', audio_too_large: 'too-large',
  audio_too_short: 'too-short', no_audio: 'no-audio', unsupported_language: 'no-language',
  model_unavailable: 'not-ready', deadline_exceeded: 'late', overloaded: 'busy', cancelled: 'cancelled',
  invalid_request: 'invalid', text_too_long: 'too-long', bad_output: 'no-result',
};

/** `{ title, advice }` of whatever was thrown. */
export function explain(error) {
  if (error instanceof MicrophoneError) return told(`microphone-${error.message}`, '');
  if (error instanceof ApiError) return told(OF_STATUS[error.status] ?? 'internal', error.message, error.retryAfter);
  throw error;
}

/** The same for the `error` of a job. */
export const explainJob = (error) => told(OF_REASON[error.reason] ?? 'internal', error.detail ?? '');

function told(kind, detail, seconds) {
  const advice = [t(`error.${kind}.advice`)];
  if (seconds) advice.push(t('error.again-in', { seconds }));
  return { title: t(`error.${kind}`), advice: advice.join(' '), detail };
}
