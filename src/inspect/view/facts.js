// What the page is about, and the state that all its parts share.

const facts = page.read('facts');
const length = facts.tokens.length;
const inputIds = page.array(facts.input_ids);
const isSoftmax = facts.model.attention_function === 'softmax';

const metrics = {
  sparsity_score: 'sparsity score',
  first_token_share: 'first-token share',
  max_weight: 'max weight',
  total_weight: 'total weight',
  entropy: 'entropy',
};
const numbers = Object.fromEntries(Object.keys(metrics).map((name) => [name, page.array(facts.numbers[name])]));
// What there is of the queries of a head whose map is left out.
const largestFew = facts.top === 1 ? 'largest weight' : `${facts.top} largest weights`;
const nonFinite = page.array(facts.non_finite_rows);
const largest = page.array(facts.largest);
const isExact = page.array(facts.exact);

// The chosen head, as positions in facts.layers and facts.heads; its number among all chosen heads.
const state = { layer: 0, head: 0, scale: length > 256 ? 'log' : 'linear', common: false };
const indexOf = (layer, head) => layer * facts.heads.length + head;
const chosen = () => indexOf(state.layer, state.head);

const listeners = [];
// Calls `listener` after another head was chosen.
const onHead = (listener) => listeners.push(listener);
const choose = (layer, head) => {
  const within = (i, list) => Math.min(Math.max(i, 0), list.length - 1);
  state.layer = within(layer, facts.layers);
  state.head = within(head, facts.heads);
  for (const listener of listeners) listener();
};

// A number in four digits that say something.
const digits = (value) => {
  if (Number.isNaN(value)) return 'not a number';
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 1e-3 && size < 1e5) return String(Number(value.toPrecision(4)));
  return value.toExponential(3);
};
const percent = (share) => `${Number((100 * share).toPrecision(3))} %`;
const mebibytes = (bytes) => `${Math.ceil(bytes / (1 << 20))} MiB`;

// The charting library takes text for a little HTML.
const plain = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
const shortened = (text, most) => {
  const characters = Array.from(text);
  return characters.length <= most ? text : `${characters.slice(0, most - 1).join('')}…`;
};

// viridis, ten stops; between two of them colours are mixed.
const viridis = [
  [68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142], [31, 158, 137], [53, 183, 121],
  [110, 206, 88], [181, 222, 43], [253, 231, 37],
];
const ramp = (share) => {
  const at = Math.min(Math.max(share, 0), 1) * (viridis.length - 1);
  const i = Math.min(Math.floor(at), viridis.length - 2);
  return viridis[i].map((from, c) => Math.round(from + (viridis[i + 1][c] - from) * (at - i)));
};
const colourScale = viridis.map((rgb, i) => [i / (viridis.length - 1), `rgb(${rgb.join(',')})`]);

{
  const { model, text } = facts;
  page.byId('title').textContent = `Attention of ${model.name}`;
  const of = (chosen, all, what) => (chosen === all ? `${all} ${what}` : `${chosen} of ${all} ${what}`);
  page.byId('about').textContent = [
    model.repo && `${model.repo}${model.revision ? `, revision ${model.revision}` : ''}`,
    `${model.attention_function} attention`,
    of(facts.layers.length, model.num_hidden_layers, 'layers'),
    of(facts.heads.length, model.num_attention_heads, 'heads'),
    `${length} tokens${text.file ? ` of ${text.file}` : ''}`,
  ].filter(Boolean).join(' · ');
  page.byId('switch').append(page.themeSwitch());
  page.byId('provenance').textContent = [
    `attnscope ${facts.version}`, `${facts.dtype} on ${facts.device}`, `weights ${model.weights_fingerprint.slice(0, 12)}`,
    `text SHA-256 ${text.sha256}`, `special tokens ${text.special_tokens}`,
    text.preprocessing && `prepared by ${JSON.stringify(text.preprocessing)}`,
  ].filter(Boolean).join(' · ');

  const warn = (...children) => page.byId('warnings').append(page.element('p', { class: 'warning small' }, ...children));
  if (text.uncut > length) {
    warn(`The text was cut: it has ${text.uncut} tokens, and the first ${length} were looked at (--max-seq-len).`);
  }
  const rows = nonFinite.reduce((sum, rows) => sum + rows, 0);
  if (rows > 0) {
    warn(`${rows} attention rows are not finite. They enter no number, and their cells are empty.`);
  }
  const missing = isExact.length - isExact.reduce((sum, one) => sum + one, 0);
  if (missing > 0) {
    warn(
      `To keep the page small (--max-page-mib ${Math.floor(facts.max_page_bytes / (1 << 20))}) it holds the exact weights `
      + `of the ${isExact.length - missing} sparsest of ${isExact.length} heads; of the others there is the overview, in `
      + `which a cell is the largest of ${facts.block} × ${facts.block} weights${
        facts.top > 0 ? `, and the ${largestFew} of every query` : ''
      }. All of them take up to `
      + `${mebibytes(facts.whole_page_bytes)}. Some of them: `,
      page.element('code', {}, `${facts.command} --layers … --heads … --out …`),
    );
  }
}
