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

  // One line of what all scans have in common.
  const common = () => {
    const short = (revision) => (revision && /^[0-9a-f]{12,}$/.test(revision) ? revision.slice(0, 10) : revision);
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
    all.push(...comparison.remarks.map(capital));
    byId('warnings').replaceChildren(...all.map((text) => element('p', { class: 'warning' }, text)));
  };

  const columns = (table, rows) => {
    const heads = scans.map((scan) => element('th', { scope: 'col' }, swatch(scan.index), scan.label));
    byId(table).replaceChildren(
      element('thead', {}, element('tr', {}, element('th'), ...heads)),
      element('tbody', {}, ...rows.map(([name, values]) => element(
        'tr', {}, element('th', { scope: 'row' }, name), ...values.map((value) => element('td', {}, value ?? '–')),
      ))),
    );
  };

  const scansTable = () => {
    const of = (f) => scans.map(f);
    const rows = [
      ['attention', of((scan) => scan.summary.model.attention_function)],
      ['heads', of((scan) => scan.summary.shape)],
      ['Hub revision', of((scan) => {
        const { repo, revision } = scan.summary.model;
        return repo || revision ? [repo, revision].filter(Boolean).join(' @ ') : null;
      })],
      ['weights', of((scan) => scan.summary.model.weights_fingerprint?.slice(0, 24))],
      ['samples, tokens', of((scan) => `${count(scan.summary.samples)}, ${count(scan.summary.tokens)}`)],
      ['attention rows not finite', of((scan) => (scan.summary.non_finite_rows ? count(scan.summary.non_finite_rows) : null))],
    ];
    for (const name of ['dtype', 'device', 'version', 'max_seq_len', 'seed', 'dataset']) {
      if (shared(name) === undefined) rows.push([words[name], of((scan) => fact(scan, name))]);
    }
    columns('scans', rows.filter(([, values]) => values.some((value) => value !== null && value !== undefined)));
    const known = new Set([...Object.keys(words), ...scans.flatMap((scan) => Object.keys(scan.facts))]);
    const all = [...known].map((name) => [words[name] ?? name, of((scan) => fact(scan, name))]);
    all.unshift(['read from', of((scan) => scan.summary.path)]);
    columns('known', all.filter(([, values]) => values.some((value) => value !== undefined)));
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
    element('th', { scope: 'row', class: 'text name' }, first), ...cells.map((cell) => element('td', {}, cell)));

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
      return row([swatch(scan.index), scan.label], ...cells);
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
        names[name] ?? name, shown(distance.value), interval(distance), pValue(distance.p_value), pValue(distance.p_value_within_layers),
      ));
    });
    const table = byId('distances');
    table.classList.toggle('hidden', rows.length === 0);
    table.replaceChildren(header('', '', 'value', '95 % interval', 'p', 'p within layers'), element('tbody', {}, ...rows));
  };

  const smallPrint = () => {
    const parts = [];
    if (comparison.resamples > 0) parts.push(`95 % intervals: ${count(comparison.resamples)} resamples of the texts.`);
    const pair = comparison.comparisons.find((one) => one.permutations);
    if (pair) {
      const deals = pair.permutations;
      parts.push(`p: ${deals.exact ? 'all ' : ''}${count(deals.count)} permutations of heads; `
        + 'heads of one model are not independent, so read p with care.');
    }
    parts.push(`A sink is a head with a first-token share above ${report.sink}.`);
    parts.push(`Seed ${comparison.seed}.`);
    byId('small-print').textContent = parts.join(' ');
  };

  const update = () => {
    byId('summary-title').textContent = capital(state.metric.label);
    byId('definition').textContent = capital(`${state.metric.definition}.`);
    statistics();
    distances();
  };

  common();
  warnings();
  scansTable();
  smallPrint();
  update();
  state.onMetric.push(update);
  byId('title').textContent = scans.map((scan) => scan.label).join(' · ');
  byId('footer').textContent = `Made by attnscope ${comparison.attnscope_version}. This page loads nothing from anywhere.`;
})();
