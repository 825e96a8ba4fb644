// The head of the page: what was measured, what to know of it, and the comparison's tables.

const summaries = (() => {
  const { element, byId } = page;
  const { comparison } = report;

  // Names of the footers' facts in words, in the order of the tables.
  const words = {
    model: 'model', model_repo: 'Hub repository', model_revision: 'revision', model_type: 'architecture',
    weights_fingerprint: 'weights', dtype: 'element type', device: 'device', executor: 'executor',
    special_tokens: 'special tokens', preprocessing: 'preprocessing', dataset: 'dataset',
    dataset_repo: 'dataset repository', dataset_revision: 'dataset revision', dataset_config: 'dataset configuration',
    split: 'split', text_column: 'text column', dataset_rows: 'rows of the dataset', n_samples: 'samples drawn',
    seed: 'seed', indices_sha256: 'drawn rows (SHA-256)', tokens_sha256: 'tokens (SHA-256)', shard: 'shard',
    max_seq_len: 'texts cut at', version: 'attnscope', started_at: 'started', finished_at: 'finished',
  };
  const fact = (scan, name) => scan.facts[name];
  const sameEverywhere = (values) => values.every((value) => value === values[0]);
  const shared = (name) => {
    const values = scans.map((scan) => fact(scan, name));
    return sameEverywhere(values) ? values[0] : undefined;
  };

  // Commits and checksums are told apart by their beginnings; the whole of them is among all facts.
  const short = (text) => (text && /^[0-9a-f]{13,}$/.test(text) ? text.slice(0, 12) : text);

  // One line of what all scans have in common.
  const common = () => {
    const parts = [];
    const dataset = shared('dataset_repo') ?? shared('dataset');
    if (dataset) {
      const of = [shared('dataset_config'), shared('split')].filter(Boolean).join(', ');
      const revision = short(shared('dataset_revision'));
      parts.push(`${dataset}${revision ? ` @ ${revision}` : ''}${of ? ` (${of})` : ''}`);
    }
    const { samples, tokens } = scans[0].summary;
    if (sameEverywhere(scans.map((scan) => scan.summary.samples))) parts.push(`${count(samples)} samples`);
    if (sameEverywhere(scans.map((scan) => scan.summary.tokens))) parts.push(`${count(tokens)} tokens`);
    const named = [['max_seq_len', (v) => `cut at ${v} tokens`], ['seed', (v) => `seed ${v}`],
      ['shard', (v) => `shard ${v}`], ['dtype', (v) => v], ['device', (v) => v], ['version', (v) => `attnscope ${v}`]];
    for (const [name, text] of named) if (shared(name)) parts.push(text(shared(name)));
    byId('common').replaceChildren(...parts.flatMap((part, i) => [
      i > 0 ? ' · ' : '', element('span', { class: part.length < 40 ? 'fact' : null }, part),
    ]));
  };

  const warnings = () => {
    const all = comparison.differences.map((difference) => {
      const value = (text) => text ?? 'none';
      return `Not the same: ${difference.field} is ${value(difference.here)} in ${difference.scan} and `
        + `${value(difference.there)} in ${difference.reference}; shown together because of --force.`;
    });
    all.push(...comparison.remarks);
    byId('warnings').replaceChildren(...all.map((text) => element('p', { class: 'warning' }, text)));
  };

  const label = (scan) => [swatch(scan.index), scan.label];
  const isKnown = (value) => value !== null && value !== undefined && value !== '';

  // A row per scan: in what they differ, and what they are.
  const scansTable = () => {
    const of = (f) => scans.map(f);
    const facts = [
      ['attention', of((scan) => scan.summary.model.attention_function)],
      ['heads', of((scan) => scan.summary.shape)],
      ['Hub repository', of((scan) => scan.summary.model.repo)],
      ['revision', of((scan) => short(scan.summary.model.revision))],
      ['weights', of((scan) => short(scan.summary.model.weights_fingerprint))],
    ];
    for (const [name, value] of [['samples', (scan) => scan.summary.samples], ['tokens', (scan) => scan.summary.tokens]]) {
      if (!sameEverywhere(of(value))) facts.push([name, of((scan) => count(value(scan)))]);
    }
    for (const name of ['dtype', 'device', 'version', 'max_seq_len', 'seed', 'dataset', 'dataset_revision', 'shard']) {
      if (shared(name) === undefined) facts.push([words[name], of((scan) => short(fact(scan, name)))]);
    }
    if (scans.some((scan) => scan.summary.non_finite_rows > 0)) {
      facts.push(['attention rows not finite', of((scan) => count(scan.summary.non_finite_rows))]);
    }
    const known = facts.filter(([, values]) => values.some(isKnown));
    byId('scans').replaceChildren(
      element('thead', {}, element('tr', {}, ...['', ...known.map(([name]) => name)].map((name) => element('th', { scope: 'col' }, name)))),
      element('tbody', {}, ...scans.map((scan, i) => element(
        'tr', {}, element('th', { scope: 'row', class: 'name' }, label(scan)),
        ...known.map(([, values]) => element('td', {}, values[i] ?? '–')),
      ))),
    );
  };

  // A row per fact, all there are.
  const knownTable = () => {
    const names = new Set([...Object.keys(words), ...scans.flatMap((scan) => Object.keys(scan.facts))]);
    const rows = [['read from', scans.map((scan) => scan.summary.path)]];
    for (const name of names) rows.push([words[name] ?? name, scans.map((scan) => fact(scan, name))]);
    byId('known').replaceChildren(
      element('thead', {}, element('tr', {}, element('th'), ...scans.map((scan) => element('th', { scope: 'col' }, label(scan))))),
      element('tbody', {}, ...rows.filter(([, values]) => values.some(isKnown)).map(([name, values]) => element(
        'tr', {}, element('th', { scope: 'row' }, name), ...values.map((value) => element('td', {}, value ?? '–')),
      ))),
    );
  };

  const interval = (estimate) => (estimate && estimate.low !== null ? `${shown(estimate.low)} … ${shown(estimate.high)}` : '–');
  const pValue = (p) => {
    if (p === null || p === undefined) return '–';
    return p < 5e-5 ? p.toExponential(1) : p.toFixed(4);
  };
  const header = (...names) => element('thead', {}, element('tr', {}, ...names.map((name, i) => element(
    'th', { scope: 'col', class: i === 0 ? 'text' : null }, name,
  ))));
  const row = (first, ...cells) => element('tr', {},
    element('th', { scope: 'row', class: 'text name' }, first),
    ...cells.map((cell) => (typeof cell === 'string' ? element('td', {}, cell) : cell)));

  const statistics = () => {
    const metric = state.metric;
    const of = (scan) => scan.summary.metrics[metric.name] ?? {};
    const names = ['', 'heads', 'mean', '95 % interval', '5 %', '25 %', 'median', '75 %', '95 %'];
    if (metric.is_share) names.push('> 0.5', '> 0.9');
    const hasSinks = 'first_token_share' in scans[0].summary.metrics;
    if (hasSinks) names.push('sinks');
    const rows = scans.map((scan) => {
      const found = of(scan);
      const quantiles = ['quantile_0.05', 'quantile_0.25', 'median', 'quantile_0.75', 'quantile_0.95'];
      const cells = [count(scan.summary.heads), shown(found.mean?.value), interval(found.mean),
        ...quantiles.map((name) => shown(found[name]?.value))];
      if (metric.is_share) cells.push(percent(found['share_above_0.5']?.value), percent(found['share_above_0.9']?.value));
      if (hasSinks) cells.push(count(scan.summary.sink_heads));
      return row(label(scan), ...cells);
    });
    byId('statistics').replaceChildren(header(...names), element('tbody', {}, ...rows));
  };

  const distances = () => {
    const names = {
      mean_difference: 'difference of means', wasserstein: 'Wasserstein-1', kolmogorov_smirnov: 'Kolmogorov–Smirnov D',
    };
    const rows = comparison.comparisons.flatMap((pair) => {
      const index = scans.findIndex((scan) => scan.label === pair.scan);
      const found = Object.entries(pair.metrics[state.metric.name] ?? {});
      return found.map(([name, distance], i) => row(
        i === 0 ? [swatch(index), `${pair.scan} against ${pair.reference}`] : '',
        element('td', { class: 'text' }, names[name] ?? name), shown(distance.value), interval(distance), pValue(distance.p_value), pValue(distance.p_value_within_layers),
      ));
    });
    const table = byId('distances');
    table.classList.toggle('hidden', rows.length === 0);
    table.replaceChildren(header('', '', 'value', '95 % interval', 'p', 'p within layers'), element('tbody', {}, ...rows));
  };

  const smallPrint = () => {
    const parts = [];
    const hasIntervals = scans.some((scan) => Object.values(scan.summary.metrics).some(({ mean }) => isKnown(mean?.low)));
    if (hasIntervals) parts.push(`95 % intervals: ${count(comparison.resamples)} resamples of the texts.`);
    const deals = ({ permutations: over, permutations_within_layers: within }) => {
      const told = ({ exact, count: n }) => `${exact ? 'all ' : ''}${count(n)}`;
      return over && `${told(over)} permutations of heads${within ? `, within layers ${told(within)}` : ''}`;
    };
    const all = comparison.comparisons.map(deals).filter(Boolean);
    if (all.length > 0) {
      parts.push(`p: ${[...new Set(all)].join('; ')}; heads of one model are not independent, so read p with care.`);
    }
    parts.push(`A sink is a head with a first-token share above ${report.sink}.`);
    parts.push(`Seed ${comparison.seed}.`);
    byId('small-print').textContent = parts.join(' ');
  };

  const update = () => {
    byId('summary-title').textContent = capital(state.metric.label);
    const isCompared = scans.some((scan) => state.metric.name in scan.summary.metrics);
    byId('definition').textContent = capital(`${state.metric.definition}.${isCompared ? ''
      : ' Not every scan has it, measured in the same way and of every head: it is shown, but not compared.'}`);
    statistics();
    distances();
  };

  common();
  warnings();
  scansTable();
  knownTable();
  smallPrint();
  update();
  state.onMetric.push(update);
  byId('title').textContent = scans.map((scan) => scan.label).join(' · ');
  byId('footer').textContent = `Made by attnscope ${comparison.attnscope_version}. This page loads nothing from anywhere.`;
})();
