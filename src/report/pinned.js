// Pinned heads: their numbers, and how the chosen metric is distributed over the samples.

const pinned = (() => {
  const { byId, element } = page;
  const target = byId('distribution');
  const { bins, quantiles: which } = report;

  // Of a scan and a metric, {quantiles, counts} once inflated; they are large, and most are never asked for.
  const inflated = new Map();
  const distributions = (scan, metric) => {
    const key = `${scan.index} ${metric}`;
    if (!inflated.has(key)) {
      const found = scan.samples?.metrics[metric];
      inflated.set(key, found
        ? Promise.all([page.inflated(found.quantiles), page.inflated(found.counts)])
          .then(([quantiles, counts]) => ({ quantiles, counts }))
        : Promise.resolve(null));
    }
    return inflated.get(key);
  };
  // Few samples in many bins show nothing but noise.
  const merged = (counts) => {
    const samples = counts.reduce((sum, n) => sum + n, 0);
    const step = samples < 100 ? 4 : samples < 400 ? 2 : 1;
    return counts.filter((_, i) => i % step === 0)
      .map((_, i) => counts.slice(i * step, (i + 1) * step).reduce((sum, n) => sum + n, 0));
  };
  const head = async ({ scan, row }) => {
    const found = await distributions(scan, state.metric.name);
    if (!found) return { scan, row };
    const own = Array.from(found.counts.subarray(row * bins, (row + 1) * bins));
    return {
      scan, row, counts: merged(own),
      quantiles: found.quantiles.subarray(row * which.length, (row + 1) * which.length),
      samples: own.reduce((sum, n) => sum + n, 0),
    };
  };

  // Heads of one model share its colour; the dash tells them apart.
  const dashes = ['solid', 'dash', 'dot', 'dashdot', 'longdash', 'longdashdot', '5px 2px', '2px 4px'];
  const place = (scan, row) => state.pins.filter((pin) => pin.scan === scan).findIndex((pin) => pin.row === row);

  let shownHeads = [];
  const make = () => {
    const data = shownHeads.filter((one) => one.counts && one.samples > 0).map((one) => {
      const [low, high] = [one.quantiles[0], one.quantiles[which.length - 1]];
      const bins = one.counts.length;
      const width = (high - low) / bins;
      const edges = Array.from({ length: bins + 1 }, (_, i) => low + i * width);
      const shares = Array.from(one.counts, (n) => n / one.samples);
      const name = `${inChart(one.scan.label)} ${shortName(one.scan, one.row)}`;
      return {
        type: 'scatter', mode: 'lines', name,
        // All samples alike: one bar without a width.
        x: width === 0 ? [low, low] : [low, ...edges, high],
        y: width === 0 ? [0, 1] : [0, ...shares, shares[bins - 1], 0],
        customdata: width === 0 ? [[low, high, one.samples], [low, high, one.samples]]
          : [0, ...one.counts, one.counts[bins - 1], 0].map((n, i) => [edges[Math.max(0, i - 1)], edges[Math.min(bins, i)], n]),
        line: { color: page.model(one.scan.index).colour, dash: dashes[place(one.scan, one.row) % 8], width: 1.8, shape: 'hv' },
        hovertemplate: `${name}<br>%{customdata[0]:.4f} … %{customdata[1]:.4f}<br>%{customdata[2]} samples<extra></extra>`,
      };
    });
    return {
      data,
      layout: {
        legend: { ...legend(), font: { size: 11 } }, showlegend: true, hovermode: 'closest',
        xaxis: { title: { text: `${capital(state.metric.label)} of a sample` } },
        yaxis: { title: { text: 'Share of samples' }, tickformat: '.0%', rangemode: 'tozero' },
      },
    };
  };
  const chart = page.chart(target, make);

  const table = () => {
    const names = which.map((q) => (q === 0 ? 'least' : q === 1 ? 'most' : q === 0.5 ? 'median' : `${100 * q} %`));
    const rows = shownHeads.map((one) => element('tr', {},
      element('th', { scope: 'row', class: 'text' }, swatch(one.scan.index), shortName(one.scan, one.row)),
      element('td', {}, shown(one.scan.score(state.metric.name, one.row))),
      ...which.map((_, i) => element('td', {}, one.quantiles ? shown(one.quantiles[i]) : '–')),
    ));
    byId('pinned').replaceChildren(
      element('thead', {}, element('tr', {}, ...['', 'score', ...names].map((name) => element('th', { scope: 'col' }, name)))),
      element('tbody', {}, ...rows),
    );
    byId('pinned').classList.toggle('hidden', rows.length === 0);
  };

  const note = () => {
    if (shownHeads.length === 0) {
      return 'Click a cell of a heat map, a point of the scatter or a row of the table to see how a head differs from sample to sample.';
    }
    const without = [...new Set(shownHeads.filter((one) => !one.counts).map((one) => one.scan))];
    const parts = [`${capital(state.metric.label)} of each sample; bins are between a head’s own least and most.`];
    for (const scan of without) {
      parts.push(scan.samples ? `${scan.label} has no such metric.` : `${scan.label} has no samples.parquet, only heads: there is no distribution.`);
    }
    return parts.join(' ');
  };

  const chips = () => byId('pins').replaceChildren(...state.pins.map(({ scan, row }) => element(
    'button', {
      type: 'button', class: 'pin', title: `Unpin ${headName(scan, row)} of ${scan.label}`,
      onclick: () => togglePin(scan, row),
    },
    swatch(scan.index), element('span', {}, `${shortened(scan.label, 28)} ${shortName(scan, row)}`), ' ×',
  )));

  let asked = 0;
  const update = async () => {
    asked += 1;
    const mine = asked;
    chips();
    byId('unpin').classList.toggle('hidden', state.pins.length === 0);
    const heads = await Promise.all(state.pins.map(head));
    // Another click may have come while these were inflated.
    if (mine !== asked) return;
    shownHeads = heads;
    table();
    byId('pinned-note').textContent = note();
    target.classList.toggle('hidden', !heads.some((one) => one.samples > 0));
    chart.update();
  };
  byId('unpin').addEventListener('click', unpinAll);
  state.onPins.push(update);
  return { chart, update };
})();
