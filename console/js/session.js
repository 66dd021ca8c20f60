// The token of `http.token`, where the daemon has one: asked for once, kept until the tab is closed.

import { byId } from './dom.js';

const STORED = 'console.token';

let asking = null;

export const headers = () => {
  const token = sessionStorage.getItem(STORED);
  return token ? { Authorization: `Bearer ${token}` } : {};
};

/**
 * Asks for a token; true when there is a new one to try. `refused` is what the daemon did not take: if another
 * one has come meanwhile, nobody is asked.
 */
export function ask(refused) {
  if (headers().Authorization !== refused.Authorization) return Promise.resolve(true);
  asking ??= prompt(refused.Authorization !== undefined).finally(() => { asking = null; });
  return asking;
}

function prompt(wasWrong) {
  const dialog = byId('token-dialog');
  const input = byId('token');
  byId('token-problem').hidden = !wasWrong;
  input.value = '';
  return new Promise((resolve) => {
    const finish = (given) => {
      form.removeEventListener('submit', submit);
      dialog.removeEventListener('cancel', cancel);
      byId('token-cancel').removeEventListener('click', cancel);
      dialog.close();
      resolve(given);
    };
    const submit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(STORED, input.value.trim());
      finish(true);
    };
    const cancel = (event) => {
      event.preventDefault();
      finish(false);
    };
    const form = byId('token-form');
    form.addEventListener('submit', submit);
    dialog.addEventListener('cancel', cancel);
    byId('token-cancel').addEventListener('click', cancel);
    dialog.showModal();
    input.focus();
  });
}
