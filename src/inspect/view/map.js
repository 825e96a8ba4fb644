// The map itself: a heat map of at most 256 × 256 cells, cut anew from the weights whenever the window changes.

const whole = () => ({ q0: 0, q1: length, k0: 0, k1: length });
let shown = whole();
let current = null;

const DECADES = 5;
const topOf = (index) => {
  if (!state.common) return largest[index];
  return rangeOf(largest)[1];
};
// Where a weight stands on the colour scale, from 0 to 1.
const shareOf = (weight, top) => {
  if (!(top > 0)) return 0;
  if (state.scale === 'linear') return weight / top;
  return Math.max(0, 1 + Math.log10(Math.max(weight, top * 1e-30) / top) / DECADES);
};

const named = (position, most) => `${position} ${plain(shortened(facts.tokens[position], most))}`;
const span = (first, size) => {
  const last = Math.min(first + size, length) - 1;
  return first === last ? named(first, 40) : `${named(first, 20)} … ${named(last, 20)}`;
};
const hoverText = (map, made, i, j) => {
  const [query, key, weight] = [made.q[i], made.k[j], made.cells[i][j]];
  if (weight === null) return '';
  if (made.size > 1) {
    return `queries ${span(query, made.size)}<br>keys ${span(key, made.size)}<br>largest weight ${digits(weight)}`;
  }
  const text = `query ${named(query, 40)}<br>key ${named(key, 40)}<br>weight ${digits(weight)}`;
  if (isSoftmax) return text;
  const total = totalOf(map, query);
  return `${text}<br>${percent(weight / total)} of the total ${digits(total)}`;
};

// Positions on an axis that are named, as many as there is room for.
const ticks = (from, to, most) => {
  const wanted = (to - from) / most;
  const round = [1, 2, 5].map((digit) => digit * 10 ** Math.max(0, Math.floor(Math.log10(wanted))));
  const step = [...round, 2 * round[2]].find((size) => size >= wanted) || 1;
  const values = [];
  for (let at = Math.ceil(from / step) * step; at < to; at += step) values.push(at);
  const text = (at) => (step === 1 ? plain(shortened(facts.tokens[at], 12)) : named(at, 9));
  return { tickmode: 'array', tickvals: values, ticktext: values.map(text) };
};

const makeMap = () => {
  if (!current) return null;
  const { map, index } = current;
  const made = cellsOf(map, shown);
  const top = topOf(index);
  const half = (made.size - 1) / 2;
  const isLog = state.scale === 'log';
  const floor = Math.log10(top) - DECADES;
  const z = made.cells.map((row) => row.map((weight) => {
    if (weight === null || Number.isNaN(weight)) return null;
    return isLog ? Math.max(floor, Math.log10(weight)) : weight;
  }));
  const powers = [];
  for (let power = Math.ceil(floor); power <= Math.log10(top); power++) powers.push(power);
  const bar = isLog
    ? { tickmode: 'array', tickvals: powers, ticktext: powers.map((power) => (power >= -3 && power <= 0 ? String(10 ** power) : `1e${power}`)) }
    : {};
  const heat = {
    type: 'heatmap', z, x: made.k.map((key) => key + half), y: made.q.map((query) => query + half),
    text: made.q.map((_, i) => made.k.map((_, j) => hoverText(map, made, i, j))),
    hovertemplate: '%{text}<extra></extra>', hoverongaps: false,
    colorscale: colourScale, zmin: isLog ? floor : 0, zmax: isLog ? Math.log10(top) : top,
    xgap: 0, ygap: 0, zsmooth: false,
    colorbar: { thickness: 12, len: 0.6, y: 0.95, yanchor: 'top', x: 1.01, outlinewidth: 0, ...bar },
  };
  const place = page.byId('map');
  const font = { tickfont: { size: 10.5 } };
  const layout = {
    margin: { l: 84, r: 8, t: 10, b: 84 },
    xaxis: {
      ...ticks(shown.k0, shown.k1, Math.max(8, (place.clientWidth - 190) / 17)), ...font,
      title: { text: 'key', standoff: 4 }, range: [shown.k0 - 0.5, shown.k1 - 0.5], tickangle: -90, showgrid: false, zeroline: false,
      automargin: true,
    },
    yaxis: {
      ...ticks(shown.q0, shown.q1, Math.max(8, (place.clientHeight - 110) / 14)), ...font,
      title: { text: 'query', standoff: 4 }, range: [shown.q1 - 0.5, shown.q0 - 0.5], showgrid: false, zeroline: false,
      automargin: true,
    },
    dragmode: 'zoom',
    modebar: { bgcolor: 'rgba(0,0,0,0)', color: page.colour('muted'), activecolor: page.colour('accent') },
  };
  const size = made.size;
  page.byId('resolution').textContent = size === 1
    ? `Every cell is one weight, exactly. Queries ${shown.q0} to ${shown.q1 - 1}, keys ${shown.k0} to ${shown.k1 - 1}.`
    : `Each cell is the largest weight of ${size} × ${size}. `
      + (map.exact ? `Drag over a part of at most ${CELLS} tokens to see every weight.` : 'The page holds no finer map of this head.');
  performance.mark('map');
  return { data: [heat], layout, config: { modeBarButtonsToRemove: ['lasso2d', 'select2d', 'autoScale2d', 'resetScale2d', 'zoomIn2d', 'zoomOut2d', 'pan2d', 'zoom2d'] } };
};

const heatMap = page.chart(page.byId('map'), makeMap, {
  plotly_relayout: (change) => {
    const ranges = ['xaxis.range[0]', 'xaxis.range[1]', 'yaxis.range[0]', 'yaxis.range[1]'].map((key) => change[key]);
    if (change['xaxis.autorange'] || change['yaxis.autorange']) return show(whole());
    if (ranges.every((end) => end === undefined)) return null;
    const ends = (a, b, [from, to]) => {
      if (a === undefined || b === undefined) return [from, to];
      const low = Math.min(Math.max(Math.round(Math.min(a, b) + 0.5), 0), length - 1);
      return [low, Math.min(Math.max(Math.round(Math.max(a, b) + 0.5), low + 1), length)];
    };
    const [k0, k1] = ends(ranges[0], ranges[1], [shown.k0, shown.k1]);
    const [q0, q1] = ends(ranges[2], ranges[3], [shown.q0, shown.q1]);
    return show({ q0, q1, k0, k1 });
  },
  plotly_click: ({ points }) => {
    if (shown.q1 - shown.q0 > CELLS) return;
    keep(state.incoming ? Math.round(points[0].x) : Math.round(points[0].y));
  },
});
const show = (part) => {
  shown = part;
  heatMap.update();
};

const switches = (pairs, read, write) => {
  const press = () => {
    for (const [id, value] of pairs) page.byId(id).setAttribute('aria-pressed', String(read() === value));
  };
  for (const [id, value] of pairs) {
    page.byId(id).addEventListener('click', () => { write(value); press(); });
  }
  press();
};
switches([['linear', 'linear'], ['log', 'log']], () => state.scale, (scale) => {
  state.scale = scale;
  heatMap.update();
  drawThumbnails();
  paint();
});
switches([['own', false], ['common', true]], () => state.common, (common) => {
  state.common = common;
  heatMap.update();
});
page.byId('whole').addEventListener('click', () => show(whole()));

let newest = 0;
onHead(async () => {
  const [layer, head] = [facts.layers[state.layer], facts.heads[state.head]];
  const index = chosen();
  const asked = ++newest;
  const map = await mapOf(state.layer, state.head);
  // Meanwhile another head may have been chosen.
  if (asked !== newest) return;
  current = { map, index, layer, head };
  page.byId('map-title').textContent = `Layer ${layer}, head ${head}`;
  const leftOut = page.byId('left-out');
  leftOut.classList.toggle('hidden', Boolean(map.exact));
  leftOut.replaceChildren(
    'The exact weights of this head are not in this page. For a page with them: ',
    page.element('code', {}, `${facts.command} --layers ${layer} --heads ${head} --out layer-${layer}-head-${head}.html`),
  );
  heatMap.update();
  paint();
});
