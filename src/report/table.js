// The table of heads: only the rows in view are elements, so that ten thousand are as quick as ten.

const heads = (() => {
  const { byId, element } = page;
  const ROW = 28;
  const viewport = byId('viewport');
  const [thead, tbody] = byId('heads').children;

  const hasNonFinite = scans.some((scan) => scan.nonFinite.some((rows) => rows > 0));
  const columns = [
    { name: 'model', label: 'model', text: true, value: (one) => one.scan.label },
    { name: 'layer', label: 'layer', value: (one) => one.scan.layer[one.row], show: String },
    { name: 'head', label: 'head', value: (one) => one.scan.head[one.row], show: String },
    ...metrics.map((metric) => ({
      name: metric.name, label: metric.label, value: (one) => one.scan.score(metric.name, one.row), show: (value) => shown(value),
    })),
  ];
  if (hasNonFinite) {
    columns.push({ name: 'non_finite_rows', label: 'rows not finite', value: (one) => one.scan.nonFinite[one.row], show: count });
  }

  const all = scans.flatMap((scan) => Array.from({ length: scan.length }, (_, row) => ({
    scan, row, text: `${scan.label} l${scan.layer[row]} h${scan.head[row]} `.toLowerCase(),
  })));
  let rows = all;
  // By the chosen metric, until a person says otherwise.
  let order = { column: null, descending: true };
  let focused = 0;

  const sortColumn = () => columns.find(({ name }) => name === (order.column ?? state.metric.name));

  const number = (id) => (byId(id).value === '' ? null : Number(byId(id).value));
  const filtered = () => {
    const model = byId('filter-model').value;
    const sinks = byId('filter-sinks').checked;
    const words = byId('filter-text').value.toLowerCase().split(/\s+/).filter(Boolean);
    const layer = [number('filter-layer-low') ?? -Infinity, number('filter-layer-high') ?? Infinity];
    const limits = [number('filter-low'), number('filter-high')];
    // A word such as l3 or h12 is a whole layer or head, any other a part of the model's name.
    const says = ({ text }, word) => (/^[lh]\d+$/.test(word) ? text.includes(` ${word} `) : text.includes(word));
    return all.filter((one) => {
      const at = one.scan.layer[one.row];
      if (model !== '' && one.scan.index !== Number(model)) return false;
      if (at < layer[0] || at > layer[1]) return false;
      if (sinks && !(one.scan.score('first_token_share', one.row) > report.sink)) return false;
      const score = one.scan.score(state.metric.name, one.row);
      if (limits[0] !== null && !(score >= limits[0])) return false;
      if (limits[1] !== null && !(score <= limits[1])) return false;
      return words.every((word) => says(one, word));
    });
  };

  const sorted = (some) => {
    const column = sortColumn();
    const sign = order.descending ? -1 : 1;
    const keyed = some.map((one, at) => ({ one, at, key: column.value(one) }));
    const compare = column.text
      ? (a, b) => sign * a.key.localeCompare(b.key) || a.at - b.at
      // What is no number comes last, either way.
      : (a, b) => Number.isNaN(a.key) - Number.isNaN(b.key) || sign * (a.key - b.key) || a.at - b.at;
    return keyed.sort(compare).map(({ one }) => one);
  };

  const head = () => {
    const current = sortColumn();
    thead.replaceChildren(element('tr', {}, ...columns.map((column) => {
      const arrow = column !== current ? '' : order.descending ? ' ▼' : ' ▲';
      const sort = column !== current ? 'none' : order.descending ? 'descending' : 'ascending';
      const button = element('button', {
        type: 'button', 'data-column': column.name,
        onclick: () => {
          order = { column: column.name, descending: column === current ? !order.descending : !column.text && column.name !== 'layer' && column.name !== 'head' };
          update();
          thead.querySelector(`[data-column="${column.name}"]`).focus();
        },
      }, `${column.label}${arrow}`);
      return element('th', { scope: 'col', class: column.text ? 'text' : null, 'aria-sort': sort }, button);
    })));
  };

  const line = (one, place) => {
    const cells = columns.map((column) => element(
      'td', { class: column.text ? 'text' : null },
      ...(column.text ? [swatch(one.scan.index), one.scan.label] : [column.show(column.value(one))]),
    ));
    return element('tr', {
      class: isPinned(one.scan, one.row) ? 'row pinned' : 'row', tabindex: place === focused ? '0' : '-1',
      'data-place': place, 'aria-rowindex': place + 2, 'aria-selected': String(isPinned(one.scan, one.row)),
    }, ...cells);
  };
  const gap = (rowsOutside) => {
    const row = element('tr', { class: 'gap', 'aria-hidden': 'true' }, element('td', { colspan: columns.length }));
    row.style.height = `${rowsOutside * ROW}px`;
    return row;
  };

  let drawn = '';
  const draw = (force) => {
    const first = Math.max(0, Math.min(rows.length - 1, Math.floor(viewport.scrollTop / ROW)) - 8);
    const last = Math.min(rows.length, first + Math.ceil(viewport.clientHeight / ROW) + 16);
    const now = `${first} ${last}`;
    if (!force && drawn === now) return;
    drawn = now;
    const hadFocus = document.activeElement?.closest?.('#heads tbody tr');
    const lines = [];
    for (let place = first; place < last; place++) lines.push(line(rows[place], place));
    tbody.replaceChildren(gap(first), ...lines, gap(rows.length - last));
    if (hadFocus) tbody.querySelector(`[data-place="${focused}"]`)?.focus({ preventScroll: true });
  };

  const update = () => {
    rows = sorted(filtered());
    focused = 0;
    viewport.scrollTop = 0;
    viewport.style.height = `${Math.min(440, (rows.length + 2) * ROW)}px`;
    byId('heads').setAttribute('aria-rowcount', rows.length + 1);
    byId('heads-note').textContent = `${count(rows.length)} of ${count(all.length)} heads. Click a row to pin its head.`;
    byId('filter-metric').textContent = capital(state.metric.label);
    head();
    draw(true);
  };

  const focus = (place) => {
    focused = Math.max(0, Math.min(rows.length - 1, place));
    const top = focused * ROW;
    const room = viewport.clientHeight - 2 * ROW;
    if (top < viewport.scrollTop) viewport.scrollTop = top;
    if (top > viewport.scrollTop + room - ROW) viewport.scrollTop = top - room + ROW;
    draw(true);
    tbody.querySelector(`[data-place="${focused}"]`)?.focus({ preventScroll: true });
  };

  tbody.addEventListener('click', (event) => {
    const place = event.target.closest('tr.row')?.dataset.place;
    if (place === undefined) return;
    focused = Number(place);
    togglePin(rows[focused].scan, rows[focused].row);
  });
  viewport.addEventListener('keydown', (event) => {
    const page_ = Math.floor(viewport.clientHeight / ROW) - 2;
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page_, PageUp: -page_, Home: -Infinity, End: Infinity };
    if (event.key in steps) {
      const isInside = event.target.closest('tr.row');
      focus(isInside ? focused + steps[event.key] : focused);
      event.preventDefault();
    } else if ((event.key === 'Enter' || event.key === ' ') && event.target.closest('tr.row')) {
      togglePin(rows[focused].scan, rows[focused].row);
      event.preventDefault();
    }
  });
  viewport.addEventListener('scroll', () => draw(false), { passive: true });

  // As the table is shown, with numbers in full.
  const csv = () => {
    const quoted = (value) => {
      if (typeof value === 'number') return Number.isFinite(value) ? String(value) : '';
      return `"${value.replace(/"/g, '""')}"`;
    };
    const lines = rows.map((one) => columns.map((column) => quoted(column.value(one))).join(','));
    return `${[columns.map(({ name }) => name).join(','), ...lines].join('\r\n')}\r\n`;
  };
  byId('csv').addEventListener('click', () => page.download('heads.csv', 'text/csv', csv()));

  byId('filter-model').append(
    element('option', { value: '' }, 'all'),
    ...scans.map((scan) => element('option', { value: scan.index }, shortened(scan.label, 60))),
  );
  const filters = byId('filters');
  if (!metricOf.has('first_token_share')) byId('filter-sinks').closest('label').remove();
  filters.addEventListener('submit', (event) => event.preventDefault());
  filters.addEventListener('input', update);
  filters.addEventListener('reset', () => setTimeout(update));
  state.onPins.push(() => draw(true));
  return { update, csv };
})();
