// What the page was told, and what a person has chosen: the metric and the pinned heads.

const report = page.read('report');
const metrics = report.metrics;
const metricOf = new Map(metrics.map((metric) => [metric.name, metric]));

// A head is named by its scan and its row there.
const scans = report.scans.map((scan, index) => {
  const layer = page.array(scan.heads.layer);
  const head = page.array(scan.heads.head);
  const scores = {};
  for (const [name, values] of Object.entries(scan.heads.scores)) scores[name] = page.array(values);
  const summary = report.comparison.scans[index];
  const rows = new Map();
  for (let row = 0; row < layer.length; row++) rows.set(layer[row] * 65536 + head[row], row);
  return {
    index, layer, head, scores, summary,
    label: summary.label,
    facts: scan.facts,
    samples: scan.samples,
    nonFinite: page.array(scan.heads.non_finite_rows),
    length: layer.length,
    layers: layer.reduce((most, value) => Math.max(most, value + 1), 0),
    heads: head.reduce((most, value) => Math.max(most, value + 1), 0),
    row: (atLayer, atHead) => rows.get(atLayer * 65536 + atHead),
    // NaN where the scan has not this metric.
    score: (name, row) => (scores[name] ? scores[name][row] : NaN),
  };
});

const shown = (value, digits = 4) => {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–';
  return Math.abs(value) >= 1000 ? value.toPrecision(6) : value.toFixed(digits);
};
const percent = (value) => (Number.isFinite(value ?? NaN) ? `${(100 * value).toFixed(1)} %` : '–');
const count = (value) => Number(value).toLocaleString('en-GB');
const headName = (scan, row) => `layer ${scan.layer[row]}, head ${scan.head[row]}`;
const shortName = (scan, row) => `L${scan.layer[row]} H${scan.head[row]}`;
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

// Text in charts: Plotly reads some HTML tags in it, names must not be read so.
const plain = (text) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
const shortened = (text, most = 42) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
const inChart = (text) => plain(shortened(text));

const swatch = (index) => {
  const mark = page.element('span', { class: 'swatch', 'aria-hidden': 'true' });
  mark.style.color = `var(--model-${index % 7})`;
  return mark;
};

// The quantile of ascending values, linear between neighbours.
const quantile = (sorted, q) => {
  if (sorted.length === 0) return NaN;
  const position = q * (sorted.length - 1);
  const below = Math.floor(position);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (position - below) * (sorted[above] - sorted[below]);
};

const finite = (values) => (values ? values.filter(Number.isFinite) : new Float64Array());

const range = (name) => {
  let [low, high] = [Infinity, -Infinity];
  for (const scan of scans) {
    for (const value of finite(scan.scores[name])) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  if (low < high) return [low, high];
  // None, or all alike: something to draw them in.
  return low > high || metricOf.get(name).is_share ? [0, 1] : [low - 0.5, high + 0.5];
};

// What a person has chosen.
const MOST_PINS = 8;
const state = {
  metric: metrics[0],
  pins: [],
  onMetric: [],
  onPins: [],
};
const isPinned = (scan, row) => state.pins.some((pin) => pin.scan === scan && pin.row === row);
const pinsChanged = () => state.onPins.forEach((listener) => listener());
const togglePin = (scan, row) => {
  const others = state.pins.filter((pin) => pin.scan !== scan || pin.row !== row);
  state.pins = others.length < state.pins.length ? others : [...others, { scan, row }].slice(-MOST_PINS);
  pinsChanged();
};
const unpinAll = () => {
  state.pins = [];
  pinsChanged();
};
const chooseMetric = (name) => {
  state.metric = metricOf.get(name);
  state.onMetric.forEach((listener) => listener());
};

// The numbers of a head beside the pointer.
const tip = {
  element: page.byId('tip'),
  show(scan, row, event) {
    const { element } = page;
    const numbers = metrics.map((metric) => element(
      'tr', { class: metric === state.metric ? 'current' : null },
      element('th', {}, metric.label), element('td', {}, shown(scan.score(metric.name, row))),
    ));
    if (scan.nonFinite[row] > 0) {
      numbers.push(element('tr', {}, element('th', {}, 'rows not finite'), element('td', {}, count(scan.nonFinite[row]))));
    }
    this.element.replaceChildren(
      element('b', {}, swatch(scan.index), scan.label), element('div', {}, headName(scan, row)),
      element('table', {}, ...numbers),
    );
    this.element.classList.remove('hidden');
    const { width, height } = this.element.getBoundingClientRect();
    const x = event.clientX + 16 + width > innerWidth ? event.clientX - 16 - width : event.clientX + 16;
    const y = Math.min(event.clientY + 14, innerHeight - height - 6);
    this.element.style.left = `${Math.max(4, x)}px`;
    this.element.style.top = `${Math.max(4, y)}px`;
  },
  hide() {
    this.element.classList.add('hidden');
  },
};
