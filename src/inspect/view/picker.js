// Which layer and head: a picker, two lists, the head's numbers, and the layer's heads as small pictures.

const picker = page.byId('picker');
const labels = 26;
let pitch = 8;

{
  const option = (value, text) => page.element('option', { value }, text);
  page.byId('metric').append(...Object.entries(metrics).map(([name, text]) => option(name, text)));
  page.byId('layer').append(...facts.layers.map((layer, i) => option(i, layer)));
  page.byId('head').append(...facts.heads.map((head, i) => option(i, head)));
  page.byId('scale').style.background = `linear-gradient(to right, ${colourScale.map(([, colour]) => colour).join(', ')})`;
}

const rangeOf = (values) => {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high ? [low, high] : [NaN, NaN];
};

const drawPicker = () => {
  const { layers, heads } = facts;
  const values = numbers[page.byId('metric').value];
  const [low, high] = rangeOf(values);
  const width = picker.parentElement.clientWidth - 34;
  pitch = Math.max(3, Math.min(26, Math.floor((width - labels) / heads.length)));
  const shape = [labels + pitch * heads.length + 2, 14 + pitch * layers.length + 2];
  const ratio = window.devicePixelRatio || 1;
  [picker.width, picker.height] = shape.map((side) => side * ratio);
  picker.style.width = `${shape[0]}px`;
  const context = picker.getContext('2d');
  context.scale(ratio, ratio);
  context.font = `10px ${getComputedStyle(document.body).fontFamily}`;
  context.fillStyle = page.colour('muted');
  const every = Math.ceil(13 / pitch);
  context.textAlign = 'right';
  context.textBaseline = 'middle';
  layers.forEach((layer, i) => {
    if (i % every === 0) context.fillText(layer, labels - 5, 14 + pitch * (i + 0.5));
  });
  context.textAlign = 'center';
  const step = Math.ceil(18 / pitch);
  heads.forEach((head, j) => {
    if (j % step === 0) context.fillText(head, labels + pitch * (j + 0.5), 7);
  });
  const gap = pitch > 6 ? 1 : 0;
  for (let i = 0; i < layers.length; i++) {
    for (let j = 0; j < heads.length; j++) {
      const value = values[indexOf(i, j)];
      const share = high > low ? (value - low) / (high - low) : 0.5;
      context.fillStyle = Number.isFinite(value) ? `rgb(${ramp(share).join(',')})` : page.colour('none');
      context.fillRect(labels + pitch * j, 14 + pitch * i, pitch - gap, pitch - gap);
    }
  }
  context.lineWidth = 2;
  context.strokeStyle = page.colour('mark');
  context.strokeRect(labels + pitch * state.head - 0.5, 14 + pitch * state.layer - 0.5, pitch + 1 - gap, pitch + 1 - gap);
  page.byId('low').textContent = digits(low);
  page.byId('high').textContent = digits(high);
};

const headAt = (event) => {
  const place = picker.getBoundingClientRect();
  const scale = place.width / (labels + pitch * facts.heads.length + 2);
  const head = Math.floor(((event.clientX - place.left) / scale - labels) / pitch);
  const layer = Math.floor(((event.clientY - place.top) / scale - 14) / pitch);
  const there = head >= 0 && head < facts.heads.length && layer >= 0 && layer < facts.layers.length;
  return there ? { layer, head } : null;
};
picker.addEventListener('mousemove', (event) => {
  const at = headAt(event);
  const name = page.byId('metric').value;
  page.byId('pointed').textContent = at
    ? `layer ${facts.layers[at.layer]}, head ${facts.heads[at.head]}: ${metrics[name]} `
      + digits(numbers[name][indexOf(at.layer, at.head)])
    : '';
});
picker.addEventListener('mouseleave', () => { page.byId('pointed').textContent = ''; });
picker.addEventListener('click', (event) => {
  const at = headAt(event);
  if (at) choose(at.layer, at.head);
});
const arrows = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
picker.addEventListener('keydown', (event) => {
  const move = arrows[event.key];
  if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  choose(state.layer + move[0], state.head + move[1]);
});
page.byId('metric').addEventListener('change', drawPicker);
page.byId('layer').addEventListener('change', (event) => choose(Number(event.target.value), state.head));
page.byId('head').addEventListener('change', (event) => choose(state.layer, Number(event.target.value)));
new ResizeObserver(drawPicker).observe(picker.parentElement);
page.onTheme(drawPicker);

const drawNumbers = () => {
  page.byId('layer').value = state.layer;
  page.byId('head').value = state.head;
  const row = (name, value) => page.element('tr', {}, page.element('th', { scope: 'row' }, name), page.element('td', {}, value));
  const rows = Object.entries(metrics).map(([name, text]) => {
    const unit = name === 'entropy' ? ' nats' : '';
    return row(text, digits(numbers[name][chosen()]) + unit);
  });
  rows.push(row('largest weight of all', digits(largest[chosen()])));
  if (nonFinite[chosen()] > 0) rows.push(row('rows that are not finite', String(nonFinite[chosen()])));
  page.byId('numbers').replaceChildren(...rows);
};

// Small pictures, on the scale of the map's switch; each on its own range.
const drawThumbnail = (canvas, overview, top) => {
  const side = Math.min(blocks, 64);
  [canvas.width, canvas.height] = [side, side];
  const context = canvas.getContext('2d');
  const image = context.createImageData(side, side);
  const pooled = new Float32Array(side * side).fill(-1);
  for (let q = 0, i = 0; q < blocks; q++) {
    const row = Math.floor((q * side) / blocks) * side;
    for (let k = 0; k <= q; k++, i++) {
      const at = row + Math.floor((k * side) / blocks);
      if (overview[i] > pooled[at]) pooled[at] = overview[i];
    }
  }
  pooled.forEach((weight, at) => {
    if (weight < 0) return;
    image.data.set([...ramp(shareOf(weight, top)), 255], 4 * at);
  });
  context.putImageData(image, 0, 0);
};
let shownThumbnails = '';
const drawThumbnails = async () => {
  const layer = state.layer;
  const wanted = `${layer} ${state.scale}`;
  const box = page.byId('thumbnails');
  if (shownThumbnails !== wanted) {
    shownThumbnails = wanted;
    page.byId('of-layer').textContent = `Layer ${facts.layers[layer]}, head by head`;
    const buttons = facts.heads.map((head, j) => {
      const title = `layer ${facts.layers[layer]}, head ${head}: sparsity score ${digits(numbers.sparsity_score[indexOf(layer, j)])}`;
      const label = `${head} · ${numbers.sparsity_score[indexOf(layer, j)].toFixed(2)}`;
      return page.element('button', { type: 'button', title, onclick: () => choose(layer, j) }, page.element('canvas'), label);
    });
    const overviews = await overviewOf(facts.layers[layer]);
    if (shownThumbnails !== wanted) return;
    buttons.forEach((button, j) => drawThumbnail(
      button.firstChild, overviews.subarray(j * triangle(blocks), (j + 1) * triangle(blocks)), largest[indexOf(layer, j)],
    ));
    box.replaceChildren(...buttons);
  }
  [...box.children].forEach((button, j) => button.setAttribute('aria-pressed', String(j === state.head)));
};
onHead(() => { drawPicker(); drawNumbers(); drawThumbnails(); });
