// The weights: triangles, row by row, as they lie in the page.

const block = facts.block;
const blocks = Math.ceil(length / block);
const triangle = (rows) => (rows * (rows + 1)) / 2;

// Four planes of bytes, the lowest byte of every weight first, back to weights.
const unpacked = async (array) => {
  const planes = await page.inflated(array);
  const count = planes.length / 4;
  const bytes = new Uint8Array(planes.length);
  for (let plane = 0; plane < 4; plane++) {
    const from = plane * count;
    for (let i = 0; i < count; i++) bytes[4 * i + plane] = planes[from + i];
  }
  return new Float32Array(bytes.buffer);
};

// What was unpacked lately; all of it would be too much for a large model.
const remembering = (most, make) => {
  const known = new Map();
  return (key) => {
    const value = known.get(key) || make(key);
    known.delete(key);
    known.set(key, value);
    if (known.size > most) known.delete(known.keys().next().value);
    return value;
  };
};
const overviewOf = remembering(6, (layer) => unpacked(page.read(`overview-${layer}`)));
const exactOf = remembering(6, (name) => unpacked(page.read(`exact-${name}`)));

const largestOf = remembering(6, async (name) => {
  const { distances, weights } = page.read(`top-${name}`);
  return { distances: await page.inflated(distances), weights: await unpacked(weights) };
});

// The map of a head, by its positions: {overview, exact, top}; exact is null where the page does not hold it, and top,
// the largest weights of every query, where it does.
const mapOf = async (layer, head) => {
  const overviews = await overviewOf(facts.layers[layer]);
  const overview = overviews.subarray(head * triangle(blocks), (head + 1) * triangle(blocks));
  const name = `${facts.layers[layer]}-${facts.heads[head]}`;
  if (block === 1) return { overview, exact: overview, top: null };
  if (isExact[indexOf(layer, head)]) return { overview, exact: await exactOf(name), top: null };
  return { overview, exact: null, top: facts.top > 0 ? await largestOf(name) : null };
};

// The weight of a key for a query, or the largest of its block; NaN where the query does not see the key.
const weightAt = (map, query, key) => {
  if (key > query) return NaN;
  if (map.exact) return map.exact[triangle(query) + key];
  return map.overview[triangle(Math.floor(query / block)) + Math.floor(key / block)];
};

// Where the largest weights of a query begin, and where those of the next one do.
const topRange = (query) => {
  const start = (q) => (q <= facts.top ? triangle(q) : triangle(facts.top) + (q - facts.top) * facts.top);
  return [start(query), start(query + 1)];
};

// The weights of a query's row, or of a key's column: NaN where there can be none, 0 where it is too small to be known.
const line = (map, at, isColumn) => {
  const weights = facts.tokens.map((_, i) => {
    const [query, key] = isColumn ? [i, at] : [at, i];
    return map.exact || !map.top || key > query ? weightAt(map, query, key) : 0;
  });
  if (!map.exact && map.top) {
    for (let query = at; query < (isColumn ? length : at + 1); query++) {
      const [start, end] = topRange(query);
      for (let i = start; i < end; i++) {
        const key = query - map.top.distances[i];
        if (!isColumn) weights[key] = map.top.weights[i];
        else if (key === at) weights[query] = map.top.weights[i];
      }
    }
  }
  return weights;
};

// The sum of each row, for attention whose rows do not sum to 1.
const totals = new WeakMap();
const totalOf = (map, query) => {
  if (!totals.has(map.exact)) totals.set(map.exact, new Float64Array(length).fill(NaN));
  const known = totals.get(map.exact);
  if (Number.isNaN(known[query])) {
    let total = 0;
    for (let i = triangle(query); i < triangle(query + 1); i++) total += map.exact[i];
    known[query] = total;
  }
  return known[query];
};

const CELLS = 256;

// The window [q0, q1) × [k0, k1) in at most 256 × 256 cells, each the largest of size × size weights:
// {size, q, k, cells}; q and k are the first positions of the cells. A cell is null above the diagonal.
const cellsOf = (map, { q0, q1, k0, k1 }) => {
  const size = map.exact ? Math.max(1, Math.ceil(Math.max(q1 - q0, k1 - k0) / CELLS)) : block;
  const firsts = (from, to) => {
    const list = [];
    for (let at = Math.floor(from / size) * size; at < to; at += size) list.push(at);
    return list;
  };
  const [q, k] = [firsts(q0, q1), firsts(k0, k1)];
  const cells = q.map((query) => k.map((key) => {
    if (key > query && key > query + size - 1) return null;
    if (!map.exact || size === 1) return weightAt(map, Math.min(query + size, length) - 1, key);
    let max = -1;
    for (let row = Math.max(query, key); row < Math.min(query + size, length); row++) {
      const end = triangle(row) + Math.min(key + size, row + 1);
      for (let i = triangle(row) + key; i < end; i++) {
        const weight = map.exact[i];
        if (weight > max || weight !== weight) max = weight;
      }
      if (max !== max) break;
    }
    return max;
  }));
  return { size, q, k, cells };
};
