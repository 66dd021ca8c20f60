// Puts the page together.

import { byId } from './dom.js';
import { Composer } from './composer.js';
import { Daemon } from './daemon.js';
import { language, sayPage, speak } from './i18n.js';
import { Jobs } from './jobs.js';
import { Result } from './result.js';
import { onToken } from './session.js';

sayPage();

let result = null;

function show(work) {
  result?.close();
  const section = byId('result');
  section.classList.remove('ended');
  result = new Result(section, () => { composer.isBusy = false; });
  section.focus({ preventScroll: true });
  section.scrollIntoView({ block: 'start', behavior: 'smooth' });
  return work(result);
}

const composer = new Composer((message) => {
  composer.isBusy = true;
  show((shown) => shown.send(message));
});
const jobs = new Jobs((job) => {
  composer.isBusy = false;
  show((shown) => shown.open(job));
});
const daemon = new Daemon((offered) => composer.offer(offered));

const switches = document.querySelectorAll('[data-language]');

function markLanguage() {
  for (const button of switches) {
    button.setAttribute('aria-pressed', String(button.dataset.language === language()));
  }
}

markLanguage();
for (const button of switches) {
  button.addEventListener('click', () => {
    speak(button.dataset.language);
    composer.retell();
    markLanguage();
  });
}

onToken(() => jobs.start());
daemon.run();
jobs.start();
