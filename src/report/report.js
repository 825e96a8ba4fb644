// Puts the parts together.

(() => {
  const { byId, element } = page;
  const select = byId('metric');
  select.append(...metrics.map((metric) => element('option', { value: metric.name }, metric.label)));
  select.value = state.metric.name;
  select.addEventListener('change', () => chooseMetric(select.value));
  byId('controls').append(page.themeSwitch());

  const parts = [histogram, layers, maps, pinned, heads];
  const update = () => parts.forEach((part) => part.update());
  state.onMetric.push(update);
  update();
  addEventListener('scroll', () => tip.hide(), { passive: true });
})();
