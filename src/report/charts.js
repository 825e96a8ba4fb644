// Charts of the chosen metric: histogram, layers, heat maps; and the scatter of two metrics.

const histogram = (() => {
  const { byId } = page;
  const BINS = 40;

  const make = () => {
    const { metric } = state;
    const [low, high] = metric.is_share ? [0, 1] : range(metric.name);
    const width = (high - low) / BINS;
    const edges = Array.from({ length: BINS + 1 }, (_, i) => low + i * width);
    const data = [];
    const shapes = [];
    for (const scan of scans) {
      const values = finite(scan.scores[metric.name]);
      if (values.length === 0) continue;
      const counts = new Array(BINS).fill(0);
      for (const value of values) counts[Math.max(0, Math.min(BINS - 1, Math.floor((value - low) / width)))] += 1;
      const shares = counts.map((n) => n / values.length);
      const { colour, dash } = page.model(scan.index);
      const name = inChart(scan.label);
      data.push({
        type: 'bar', name, x: counts.map((_, i) => low + (i + 0.5) * width), y: shares, width,
        customdata: counts.map((n, i) => [edges[i], edges[i + 1], n]), legendgroup: scan.index, showlegend: false,
        marker: { color: colour, opacity: 0.42, line: { width: 0 } },
        hovertemplate: `${name}<br>%{customdata[0]:.4f} … %{customdata[1]:.4f}<br>%{customdata[2]} heads, %{y:.1%}<extra></extra>`,
      }, {
        // The outline, with the model's own dash: colours are not all that tells models apart.
        type: 'scatter', mode: 'lines', name, hoverinfo: 'skip', legendgroup: scan.index,
        x: [low, ...edges], y: [0, ...shares, shares[BINS - 1]].map((share, i) => (i === 0 ? shares[0] : share)),
        line: { color: colour, dash, width: 1.6, shape: 'hv' },
      });
      const mean = scan.summary.metrics[metric.name]?.mean?.value;
      if (Number.isFinite(mean)) {
        shapes.push({ type: 'line', x0: mean, x1: mean, y0: 0, y1: 1, yref: 'paper', line: { color: colour, dash, width: 1.2 } });
      }
    }
    return {
      data,
      layout: {
        barmode: 'overlay', bargap: 0, shapes, legend: legend(),
        xaxis: { title: { text: capital(metric.label) }, range: [low, high] },
        yaxis: { title: { text: 'Share of heads' }, tickformat: '.0%', rangemode: 'tozero' },
      },
    };
  };

  const chart = page.chart(byId('histogram'), make);
  const update = () => {
    byId('histogram-title').textContent = `${capital(state.metric.label)} of the heads`;
    const raw = state.metric.name === 'max_weight' ? ' This is what the paper’s Figure 7 plots as published.' : '';
    const text = state.metric.name === 'sparsity_score' ? ' This is Figure 7 as the paper’s text defines it; choose “max weight” for the figure as published.' : '';
    byId('histogram-note').textContent = `Vertical lines are means.${raw}${text}`;
    chart.update();
  };
  return { chart, update };
})();

function legend() {
  return { orientation: 'h', x: 0, y: 1.02, yanchor: 'bottom', xanchor: 'left', font: { size: 12 } };
}

const layers = (() => {
  const { byId } = page;
  const translucent = (colour, opacity) => {
    const [r, g, b] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
    return `rgba(${r},${g},${b},${opacity})`;
  };

  // The quantiles of each layer of a scan.
  const bands = (scan, name) => {
    const found = Array.from({ length: scan.layers }, () => []);
    for (let row = 0; row < scan.length; row++) {
      const value = scan.score(name, row);
      if (Number.isFinite(value)) found[scan.layer[row]].push(value);
    }
    return found.map((values) => {
      values.sort((a, b) => a - b);
      return [0.05, 0.25, 0.5, 0.75, 0.95].map((q) => quantile(values, q));
    });
  };

  const make = () => {
    const { metric } = state;
    const data = [];
    for (const scan of scans.filter((one) => one.scores[metric.name])) {
      const found = bands(scan, metric.name);
      const x = found.map((_, layer) => layer);
      const { colour, dash, symbol } = page.model(scan.index);
      const group = { legendgroup: scan.index, showlegend: false, hoverinfo: 'skip', type: 'scatter', mode: 'lines' };
      for (const [low, high, opacity] of [[0, 4, 0.1], [1, 3, 0.2]]) {
        data.push({
          ...group, x: [...x, ...x.slice().reverse()],
          y: [...found.map((q) => q[low]), ...found.map((q) => q[high]).reverse()],
          fill: 'toself', fillcolor: translucent(colour, opacity), line: { width: 0 },
        });
      }
      const name = inChart(scan.label);
      data.push({
        type: 'scatter', mode: 'lines+markers', name, legendgroup: scan.index, x, y: found.map((q) => q[2]),
        line: { color: colour, dash, width: 2 }, marker: { color: colour, symbol, size: scan.layers > 48 ? 4 : 6 },
        customdata: found,
        hovertemplate: `${name}, layer %{x}<br>median %{customdata[2]:.4f}<br>25–75 %: %{customdata[1]:.4f} … %{customdata[3]:.4f}`
          + '<br>5–95 %: %{customdata[0]:.4f} … %{customdata[4]:.4f}<extra></extra>',
        // A band of a single layer has no width.
        ...(scan.layers === 1 ? {
          error_y: {
            type: 'data', symmetric: false, color: colour,
            array: found.map((q) => q[4] - q[2]), arrayminus: found.map((q) => q[2] - q[0]),
          },
        } : {}),
      });
    }
    const most = Math.max(...scans.map((scan) => scan.layers));
    return {
      data,
      layout: {
        legend: legend(),
        xaxis: { title: { text: 'Layer' }, range: [-0.5, most - 0.5], ...wholeTicks(most) },
        yaxis: { title: { text: capital(metric.label) } },
      },
    };
  };

  const chart = page.chart(byId('layers'), make);
  const update = () => {
    byId('layers-title').textContent = `${capital(state.metric.label)} by layer`;
    byId('layers-note').textContent = 'Median of the layer’s heads; bands: 25–75 % and 5–95 % of them.';
    chart.update();
  };
  return { chart, update };
})();

// Ticks at whole numbers only, however few there are.
function wholeTicks(n) {
  const step = [1, 2, 4, 5, 8, 10, 16, 20, 32, 50].find((one) => n / one <= 11) ?? 100;
  return { tick0: 0, dtick: step };
}

const maps = (() => {
  const { byId, element } = page;
  // Viridis, as Plotly has it.
  const VIRIDIS = ['#440154', '#482878', '#3e4a89', '#31688e', '#26828e', '#1f9e89', '#35b779', '#6ece58', '#b5de2b', '#fde725'];
  const scale = VIRIDIS.map((colour, i) => [i / (VIRIDIS.length - 1), colour]);

  const outlines = (scan) => state.pins.filter((pin) => pin.scan === scan).map(({ row }) => ({
    type: 'rect', xref: 'x', yref: 'y', line: { color: page.colour('mark'), width: 2.5 },
    x0: scan.head[row] - 0.5, x1: scan.head[row] + 0.5, y0: scan.layer[row] - 0.5, y1: scan.layer[row] + 0.5,
  }));

  const map = (scan) => {
    const target = element('div', { class: 'map-chart' });
    // Cells about as high as wide, within reason.
    const height = Math.max(170, Math.min(580, 92 + scan.layers * Math.max(6, Math.min(26, 420 / scan.heads))));
    target.style.height = `${height}px`;
    const place = element('div', { class: 'map' }, element('h3', {}, swatch(scan.index), scan.label), target);
    byId('maps').append(place);
    const make = () => {
      const name = state.metric.name;
      const z = Array.from({ length: scan.layers }, () => new Array(scan.heads).fill(null));
      for (let row = 0; row < scan.length; row++) {
        const value = scan.score(name, row);
        if (Number.isFinite(value)) z[scan.layer[row]][scan.head[row]] = value;
      }
      const [zmin, zmax] = range(name);
      return {
        data: [{
          type: 'heatmap', z, zmin, zmax, colorscale: scale, showscale: false, hoverinfo: 'none',
          xgap: scan.heads > 40 ? 0 : 1, ygap: scan.layers > 40 ? 0 : 1,
        }],
        layout: {
          margin: { l: 44, r: 4, t: 26, b: 40 }, shapes: outlines(scan), hovermode: 'closest',
          xaxis: { title: { text: 'Head' }, showgrid: false, zeroline: false, range: [-0.5, scan.heads - 0.5], ...wholeTicks(scan.heads) },
          yaxis: { title: { text: 'Layer' }, showgrid: false, zeroline: false, range: [scan.layers - 0.5, -0.5], ...wholeTicks(scan.layers) },
        },
      };
    };
    const at = (points) => scan.row(points[0].y, points[0].x);
    const chart = page.chart(target, make, {
      plotly_hover: ({ points, event }) => {
        const row = at(points);
        if (row !== undefined) tip.show(scan, row, event);
      },
      plotly_unhover: () => tip.hide(),
      plotly_click: ({ points }) => {
        const row = at(points);
        if (row !== undefined) togglePin(scan, row);
      },
    });
    const mark = () => chart.change((library) => library.relayout(target, { shapes: outlines(scan) }));
    return { chart, mark };
  };
  const all = scans.map(map);

  const update = () => {
    byId('maps-title').textContent = `${capital(state.metric.label)}, layer by layer and head by head`;
    const [low, bar, high] = byId('scale').children;
    const [least, most] = range(state.metric.name);
    low.textContent = shown(least, 3);
    high.textContent = shown(most, 3);
    bar.style.background = `linear-gradient(to right, ${VIRIDIS.join(', ')})`;
    all.forEach(({ chart }) => chart.update());
  };
  state.onPins.push(() => all.forEach(({ mark }) => mark()));
  return { charts: all.map(({ chart }) => chart), update };
})();

const scatter = (() => {
  const { byId, element } = page;
  const target = byId('scatter');
  const [across, up] = [byId('scatter-x'), byId('scatter-y')];
  for (const select of [across, up]) {
    select.append(...metrics.map((metric) => element('option', { value: metric.name }, metric.label)));
  }
  const wanted = (name, otherwise) => (metricOf.has(name) ? name : otherwise.name);
  across.value = wanted('first_token_share', metrics[metrics.length - 1]);
  up.value = wanted('sparsity_score', metrics[0]);

  // Shapes are quick to change, where a change of any trace draws all of them anew.
  const rings = () => state.pins.map(({ scan, row }) => ({
    type: 'circle', xsizemode: 'pixel', ysizemode: 'pixel', x0: -7, x1: 7, y0: -7, y1: 7,
    xanchor: scan.score(across.value, row), yanchor: scan.score(up.value, row),
    line: { color: page.colour('mark'), width: 2.5 },
  })).filter(({ xanchor, yanchor }) => Number.isFinite(xanchor) && Number.isFinite(yanchor));

  const make = () => {
    const most = Math.max(...scans.map((scan) => scan.length));
    const [size, opacity] = most > 2500 ? [4, 0.45] : most > 200 ? [6, 0.6] : [9, 0.8];
    const data = scans.map((scan) => {
      const { colour, symbol } = page.model(scan.index);
      return {
        type: 'scatter', mode: 'markers', name: inChart(scan.label), hoverinfo: 'none',
        x: scan.scores[across.value] ?? [], y: scan.scores[up.value] ?? [],
        marker: { color: colour, symbol, size, opacity, line: { width: 0 } },
      };
    });
    return {
      data,
      layout: {
        legend: { ...legend(), itemsizing: 'constant' }, hovermode: 'closest', shapes: rings(),
        xaxis: { title: { text: capital(metricOf.get(across.value).label) } },
        yaxis: { title: { text: capital(metricOf.get(up.value).label) } },
      },
    };
  };
  const of = ([point]) => [scans[point.curveNumber], point.pointNumber];
  const chart = page.chart(target, make, {
    plotly_hover: ({ points, event }) => tip.show(...of(points), event),
    plotly_unhover: () => tip.hide(),
    plotly_click: ({ points }) => togglePin(...of(points)),
  });
  for (const select of [across, up]) select.addEventListener('change', () => chart.update());
  state.onPins.push(() => chart.change((library) => library.relayout(target, { shapes: rings() })));
  return { chart };
})();
