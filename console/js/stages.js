// The stages of jobs, in the order of the work.

import { word } from './i18n.js';

/** Those that a voice message passes. */
export const STAGES = ['decode', 'transcribe', 'embed', 'translate', 'synthesize', 'encode'];

export const stageName = (stage) => word('stage', stage);

export const isEnded = (job) => ['completed', 'failed', 'cancelled'].includes(job.status);

/** Notes what a `stage` event tells in the stages of its job. */
export function note(stages, { stage, language = null, status, started_at, duration_ms = null }) {
  const told = { stage, language, status, started_at, duration_ms };
  const index = stages.findIndex((known) => known.stage === stage && known.language === language);
  if (index >= 0) stages[index] = told; else stages.push(told);
}

/**
 * One entry for each stage, whatever the number of languages: `{ stage, status, begin, end }` in milliseconds
 * since 1970, in the order of their begin.
 */
export function spans(stages, now) {
  const merged = new Map();
  for (const { stage, status, started_at, duration_ms } of stages) {
    const begin = Date.parse(started_at);
    const end = duration_ms === null ? now : begin + duration_ms;
    const other = merged.get(stage);
    merged.set(stage, other ? {
      stage, status: worst(other.status, status), begin: Math.min(other.begin, begin), end: Math.max(other.end, end),
    } : { stage, status, begin, end });
  }
  return [...merged.values()].sort((one, other) => one.begin - other.begin);
}

/** What is under way hides what is done, and a failure shows when nothing is under way. */
const worst = (one, other) => ['running', 'failed', 'done'].find((status) => [one, other].includes(status));
