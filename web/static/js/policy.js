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

  // The kinds that fit what is typed.
  const filter = document.querySelector('[data-filter]');
  if (filter) {
    filter.addEventListener('input', () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const node of document.querySelectorAll(filter.dataset.filter)) {
        const text = node.textContent.toLowerCase();
        node.hidden = !words.every((word) => text.includes(word));
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
})();
