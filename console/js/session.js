// The token of `http.token`, where the daemon has one: asked for once, kept until the tab is closed.

import { byId } from './dom.js';

const STORED = 'console.token';

let asking = null;
let isDeclined = false;
let whenGiven = () => {};

export const headers = () => {
  const token = sessionStorage.getItem(STORED);
  return token ? { Authorization: `Bearer ${token}` } : {};
};

/** Calls back when a token was given. */
export const onToken = (callback) => { whenGiven = callback; };

/** Who did not want to give a token now wants something that needs it. */
export const askAgain = () => { isDeclined = false; };

/**
 * Asks for a token; true when there is a new one to try. `refused` is what the daemon did not take: if another
 * one has come meanwhile, nobody is asked.
 */
export async function ask(refused) {
  if (headers().Authorization !== refused.Authorization) return true;
  if (isDeclined) return false;
  asking ??= prompt(refused.Authorization !== undefined).finally(() => { asking = null; });
  const isGiven = await asking;
  isDeclined = !isGiven;
  return isGiven;
}

function prompt(wasWrong) {
  const dialog = byId('token-dialog');
  const input = byId('token');
  byId('token-problem').hidden = !wasWrong;
  input.value = '';
  return new Promise((resolve) => {
    const listening = new AbortController();
    const { signal } = listening;
    const finish = (event, isGiven) => {
      event.preventDefault();
      listening.abort();
      dialog.close();
      resolve(isGiven);
    };
    byId('token-form').addEventListener('submit', (event) => {
      sessionStorage.setItem(STORED, input.value);
      finish(event, true);
      whenGiven();
    }, { signal });
    byId('token-cancel').addEventListener('click', (event) => finish(event, false), { signal });
    dialog.addEventListener('cancel', (event) => finish(event, false), { signal });
    dialog.showModal();
    input.focus();
  });
}
