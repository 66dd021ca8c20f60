// Whether the daemon answers. Who finds that it does not says so here; then it is asked again and again, ever more
// slowly, and all who wait go on when it is back.

import { at } from './dom.js';

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 15_000;
const PATIENCE_MS = 5000;

let isGone = false;
let nextTry = 0;
let hurry = () => {};
let waiting = [];
const watchers = [];

/** Calls back with `{ isGone, nextTry }`, now and at every change. */
export function watch(callback) {
  watchers.push(callback);
  callback({ isGone, nextTry });
}

/** Waits while the daemon is gone. */
export const present = () => (isGone ? new Promise((resolve) => { waiting.push(resolve); }) : Promise.resolve());

/** A request was not answered at all. */
export function lost() {
  if (isGone) return;
  isGone = true;
  probe();
}

/** Does not wait for the next try. */
export const tryNow = () => hurry();

async function probe() {
  for (let wait = FIRST_WAIT_MS; isGone; wait = Math.min(2 * wait, LONGEST_WAIT_MS)) {
    // Many pages must not come back in the same moment.
    const pause = wait * (0.75 + Math.random() / 2);
    nextTry = Date.now() + pause;
    tell();
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, pause);
      hurry = () => { clearTimeout(timer); resolve(); };
    });
    isGone = !(await answers());
  }
  const resumed = waiting;
  waiting = [];
  tell();
  resumed.forEach((resume) => resume());
}

/** True when the daemon lives. */
export async function answers() {
  try {
    const response = await fetch(at('live'), { cache: 'no-store', signal: AbortSignal.timeout(PATIENCE_MS) });
    return response.ok;
  } catch {
    return false;
  }
}

function tell() {
  watchers.forEach((callback) => callback({ isGone, nextTry }));
}
