// Follows what goes on, over server-sent events. Without it, reloading shows the same.
'use strict';
(() => {
  // A part of a page that the server renders anew.
  for (const part of document.querySelectorAll('[data-live-part]')) {
    const source = new EventSource(part.dataset.livePart);
    // Not while somebody reads along in it: what the keyboard stands on, or what is marked, must not be torn away.
    let waiting = null;
    const inUse = () => {
      const selection = document.getSelection();
      const marked = selection && !selection.isCollapsed && part.contains(selection.anchorNode);
      return marked || part.contains(document.activeElement);
    };
    // One sentence of it is said aloud where it changes; all of it, each time, would be noise.
    const status = document.getElementById(part.dataset.status);
    const sentence = () => part.querySelector('[data-say]')?.textContent ?? '';
    let said = sentence();
    const show = () => {
      if (waiting === null || inUse()) return;
      part.innerHTML = waiting;
      waiting = null;
      if (status && sentence() !== said) {
        said = sentence();
        status.textContent = said;
      }
    };
    source.onmessage = (event) => { waiting = event.data; show(); };
    part.addEventListener('focusout', () => setTimeout(show));
    document.addEventListener('selectionchange', show);
  }

  // New rows at the top of a list.
  const button = document.querySelector('[data-live-rows]');
  if (!button) return;
  const body = document.getElementById(button.dataset.target);
  const status = document.getElementById('live-status');
  const label = button.querySelector('span');
  const ROWS_MAX = 200;
  let source = null;
  let from = button.dataset.liveRows;

  const stop = () => {
    if (source) source.close();
    source = null;
    button.setAttribute('aria-pressed', 'false');
    label.textContent = 'Live';
    button.querySelector('.pulse')?.replaceWith(button.icon);
  };
  const start = () => {
    source = new EventSource(from);
    source.onmessage = (event) => {
      if (event.lastEventId) {
        const next = new URL(from, location.href);
        next.searchParams.set('after', event.lastEventId);
        from = next.pathname + next.search;
      }
      document.getElementById('no-events')?.remove();
      const before = body.rows.length;
      body.insertAdjacentHTML('afterbegin', event.data);
      const added = body.rows.length - before;
      while (body.rows.length > ROWS_MAX) body.deleteRow(-1);
      status.textContent = `${added} new ${added === 1 ? 'event' : 'events'}`;
    };
    source.addEventListener('reload', () => location.reload());
    button.setAttribute('aria-pressed', 'true');
    label.textContent = 'Live: on';
    const pulse = document.createElement('i');
    pulse.className = 'pulse';
    button.icon = button.querySelector('svg');
    button.icon.replaceWith(pulse);
  };
  button.addEventListener('click', () => (source ? stop() : start()));
  document.addEventListener('visibilitychange', () => {
    if (document.hidden && source) { stop(); button.dataset.resume = '1'; }
    else if (!document.hidden && button.dataset.resume) { delete button.dataset.resume; start(); }
  });
  start();
})();
