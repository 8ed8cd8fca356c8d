// Makes the editor of labels and rules livelier. Everything works without it.
'use strict';
(() => {
  // Another kind of label, with the name that was typed already.
  const kinds = document.querySelector('[data-change-kind]');
  if (kinds) {
    kinds.addEventListener('change', () => {
      const name = document.getElementById('name');
      const query = new URLSearchParams({ kind: kinds.value });
      if (name && name.value) query.set('name', name.value);
      window.location.assign(`${kinds.form.action}?${query}`);
    });
  }

  // The kinds and labels that fit what is typed; what is chosen stays.
  for (const filter of document.querySelectorAll('[data-filter]')) {
    filter.addEventListener('input', () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const node of document.querySelectorAll(filter.dataset.filter)) {
        const text = node.textContent.toLowerCase();
        node.hidden = !node.querySelector('input:checked') && !words.every((word) => text.includes(word));
      }
      for (const group of document.querySelectorAll('[data-filter-group]')) {
        group.hidden = !group.querySelector(`${filter.dataset.filter}:not([hidden])`);
      }
    });
  }

  // One more attribute goes into the lines at once.
  document.addEventListener('click', (event) => {
    const button = event.target.closest('[data-add-line]');
    if (!button) return;
    const lines = document.getElementById(button.dataset.addLine);
    const name = document.getElementById('attribute');
    const value = document.getElementById('attribute_value');
    if (!name.value.trim()) { name.focus(); return; }
    const before = lines.value.replace(/\s+$/, '');
    lines.value = `${before}${before ? '\n' : ''}${name.value.trim()}=${value.value.trim()}\n`;
    name.value = '';
    value.value = '';
    name.focus();
  });

  // Rows are put in order by dragging, and by Alt and the arrow keys; each row's own forms do the same. The page is
  // replaced in place, so that focus and scrolling stay.
  const main = document.getElementById('main');
  const send = async (action, fields) => {
    let response;
    try {
      response = await fetch(action, { method: 'POST', body: new URLSearchParams(fields) });
    } catch {
      window.location.reload();
      return;
    }
    const scroll = document.querySelector('.table-wrap');
    const left = scroll ? scroll.scrollLeft : 0;
    const next = new DOMParser().parseFromString(await response.text(), 'text/html');
    const fresh = next.getElementById('main');
    if (!fresh) { window.location.reload(); return; }
    main.replaceChildren(...fresh.childNodes);
    document.title = next.title;
    const table = document.querySelector('.table-wrap');
    if (table) table.scrollLeft = left;
    const flash = document.getElementById('flash');
    const alert = document.querySelector('h1');
    const announce = document.getElementById('announce');
    if (announce && flash) setTimeout(() => { announce.textContent = flash.textContent.trim(); }, 80);
    const wanted = main.querySelector('[autofocus]');
    if (wanted && !wanted.disabled) {
      wanted.focus({ preventScroll: true });
    } else if (wanted) {
      const other = [...wanted.form.querySelectorAll('button')].find((button) => !button.disabled);
      if (other) other.focus({ preventScroll: true });
    } else if (!response.ok && alert) {
      alert.tabIndex = -1;
      alert.focus();
    }
    const moved = main.querySelector('.moved-here');
    if (moved) moved.scrollIntoView({ block: 'nearest' });
  };
  const tableOf = (node) => node.closest('table[data-sortable]');
  const move = (row, to, by) => {
    const table = tableOf(row);
    const fields = { revision: table.dataset.revision, to: String(to), by };
    if (row.dataset.rule) fields.rule = row.dataset.rule; else fields.section = row.dataset.section;
    send(table.dataset.move, fields);
  };
  document.addEventListener('submit', (event) => {
    const form = event.target.closest('[data-move-form]');
    const button = event.submitter;
    if (!form || !button || !tableOf(form)) return;
    event.preventDefault();
    move(form.closest('tr'), button.value, button.dataset.by);
  });
  document.addEventListener('keydown', (event) => {
    if (!event.altKey || (event.key !== 'ArrowUp' && event.key !== 'ArrowDown')) return;
    const row = event.target.closest('tr[data-row]');
    if (!row || !tableOf(row)) return;
    event.preventDefault();
    const at = Number(row.dataset.row);
    const up = event.key === 'ArrowUp';
    const button = document.getElementById(`${up ? 'up' : 'down'}-${at}`);
    if (button && !button.disabled) move(row, up ? at - 1 : at + 1, up ? 'up' : 'down');
  });
  let dragged = null;
  const unmark = () => {
    for (const row of document.querySelectorAll('.drop-before, .drop-after')) row.classList.remove('drop-before', 'drop-after');
  };
  const after = (row, y) => {
    const box = row.getBoundingClientRect();
    return y >= box.top + box.height / 2;
  };
  const over = (event) => {
    const row = event.target.closest && event.target.closest('table[data-sortable] tr[data-row]');
    return dragged && row && row !== dragged ? row : null;
  };
  document.addEventListener('pointerdown', (event) => {
    const grip = event.target.closest('.grip');
    if (grip && tableOf(grip)) grip.closest('tr').draggable = true;
  });
  document.addEventListener('dragstart', (event) => {
    const row = event.target.closest && event.target.closest('tr[data-row]');
    if (!row || !row.draggable) return;
    dragged = row;
    row.classList.add('dragging');
    event.dataTransfer.effectAllowed = 'move';
    event.dataTransfer.setData('text/plain', row.dataset.row);
  });
  document.addEventListener('dragend', () => {
    if (dragged) { dragged.classList.remove('dragging'); dragged.draggable = false; }
    dragged = null;
    unmark();
  });
  document.addEventListener('dragover', (event) => {
    const row = over(event);
    if (!row) return;
    event.preventDefault();
    unmark();
    row.classList.add(after(row, event.clientY) ? 'drop-after' : 'drop-before');
  });
  document.addEventListener('drop', (event) => {
    const row = over(event);
    if (!row) return;
    event.preventDefault();
    const from = Number(dragged.dataset.row);
    const gap = Number(row.dataset.row) + (after(row, event.clientY) ? 1 : 0);
    const to = gap > from ? gap - 1 : gap;
    if (to !== from) move(dragged, to, to < from ? 'up' : 'down');
  });
})();
