// Makes pages livelier. Everything works without it.
'use strict';
(() => {
  const root = document.documentElement;
  root.classList.add('js');

  // Ages go on by themselves.
  const unit = (s) => {
    if (s < 90) return `${s} s`;
    if (s < 5400) return `${Math.round(s / 60)} min`;
    if (s < 172800) return `${Math.round(s / 3600)} h`;
    const days = Math.round(s / 86400);
    if (s < 5184000) return days === 1 ? '1 day' : `${days} days`;
    const months = Math.floor(s / 2592000);
    return months === 1 ? '1 month' : `${months} months`;
  };
  const age = (then) => {
    const past = Math.round((Date.now() - then) / 1000);
    if (Math.abs(past) < 2) return 'just now';
    return past > 0 ? `${unit(past)} ago` : `in ${unit(-past)}`;
  };
  // A machine whose clock is wrong must not show wrong ages: the server's stand then.
  const stamp = document.querySelector('[data-age]');
  let trusted = Boolean(stamp);
  const tick = () => {
    if (!trusted) return;
    for (const node of document.querySelectorAll('[data-age]')) {
      const then = Date.parse(node.dataset.age);
      if (Number.isNaN(then)) continue;
      const text = age(then);
      if (node.textContent !== text) node.textContent = text;
    }
  };
  const served = document.querySelector('meta[name="served-at"]');
  if (served && Math.abs(Date.now() - Date.parse(served.content)) > 120000) trusted = false;
  setInterval(tick, 1000);

  // Colours change at once, and are kept by the same form.
  const themes = document.querySelector('[data-theme-form]');
  if (themes) {
    themes.addEventListener('submit', (event) => {
      const button = event.submitter;
      if (!button) return;
      event.preventDefault();
      root.dataset.theme = button.value;
      for (const other of themes.querySelectorAll('button')) {
        other.setAttribute('aria-pressed', String(other === button));
      }
      const body = new URLSearchParams({ theme: button.value, return_to: '/' });
      fetch(themes.action, { method: 'POST', body, redirect: 'manual' });
    });
  }

  document.addEventListener('submit', (event) => {
    const button = event.submitter;
    if (button && button.dataset.confirm && !window.confirm(button.dataset.confirm)) event.preventDefault();
  });

  document.addEventListener('click', async (event) => {
    const button = event.target.closest('[data-copy]');
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    const label = button.querySelector('span');
    try {
      await navigator.clipboard.writeText(source.textContent);
      label.textContent = 'Copied';
    } catch {
      const range = document.createRange();
      range.selectNodeContents(source);
      const selection = window.getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
      label.textContent = 'Selected';
    }
    setTimeout(() => { label.textContent = 'Copy'; }, 2000);
  });

  // Rules are put in order by dragging their grip; the buttons of each row do the same.
  const table = document.querySelector('[data-sortable]');
  if (table) {
    const rows = [...table.querySelectorAll('tr[data-rule]')];
    const clear = () => rows.forEach((row) => row.classList.remove('drop-before', 'drop-after', 'dragging'));
    // The row that the pointer is over, and on which side of its middle.
    const target = (y) => {
      for (const row of rows) {
        const box = row.getBoundingClientRect();
        if (y < box.top + box.height / 2) return { row, side: 'before' };
        if (y < box.bottom) return { row, side: 'after' };
      }
      return { row: rows.at(-1), side: 'after' };
    };
    const move = (dragged, to) => {
      const form = document.createElement('form');
      form.method = 'post';
      form.action = dragged.dataset.act;
      for (const [name, value] of [['revision', table.dataset.revision], ['to', to]]) {
        const input = document.createElement('input');
        input.type = 'hidden';
        input.name = name;
        input.value = value;
        form.append(input);
      }
      document.body.append(form);
      form.submit();
    };
    for (const dragged of rows) {
      const grip = dragged.querySelector('.grip');
      const place = (y) => {
        const { row, side } = target(y);
        const rest = rows.filter((other) => other !== dragged);
        const index = row === dragged ? rows.indexOf(dragged) : rest.indexOf(row) + (side === 'after' ? 1 : 0);
        return index + 1;
      };
      grip.addEventListener('pointerdown', (event) => {
        event.preventDefault();
        grip.setPointerCapture(event.pointerId);
        dragged.classList.add('dragging');
      });
      grip.addEventListener('pointermove', (event) => {
        if (!grip.hasPointerCapture(event.pointerId)) return;
        rows.forEach((row) => row.classList.remove('drop-before', 'drop-after'));
        const { row, side } = target(event.clientY);
        if (row !== dragged) row.classList.add(`drop-${side}`);
      });
      grip.addEventListener('pointercancel', clear);
      grip.addEventListener('pointerup', (event) => {
        clear();
        const to = place(event.clientY);
        if (to !== rows.indexOf(dragged) + 1) move(dragged, to);
      });
    }
  }
})();
