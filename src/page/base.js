// What every page's scripts can use; one object, `page`.
//
// page.read(id)            the data of this name, parsed
// page.array(a)            a typed array of numbers that were not deflated
// page.inflated(a)         a promise of the same, deflated or not
// page.byId(id), page.element(name, attributes, ...children)
//                          elements; children are elements or texts, and a text stays text
// page.colour(name)        a colour of the style sheet, as it is now: page.colour('line')
// page.model(i)            what marks the i-th model: {colour, dash, symbol}
// page.onTheme(f)          calls f after a change between light and dark
// page.themeSwitch()       a button that makes that change
// page.chart(element, make, handlers)
//                          a chart, drawn when it comes near the view and the library is there; `make` gives
//                          {data, layout} and is asked again by `.update()` and when light turns dark
// page.charts              a promise of the charting library
// page.download(name, type, text)

const page = (() => {
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);

  const read = (id) => JSON.parse(byId(id).textContent);

  const kinds = {
    u8: Uint8Array, u16: Uint16Array, u32: Uint32Array, i32: Int32Array, f32: Float32Array, f64: Float64Array,
  };
  const bytes = (text) => {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const binary = atob(text);
    const result = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) result[i] = binary.charCodeAt(i);
    return result;
  };
  // The bytes are little-endian, as all machines are that browsers run on.
  const typed = (array, raw) => new kinds[array.type](raw.buffer, raw.byteOffset, array.length);
  const array = (a) => {
    if (a.deflated) throw new Error('a deflated array needs page.inflated');
    return typed(a, bytes(a.data));
  };
  const inflated = async (a) => {
    if (!a.deflated) return array(a);
    const stream = new Blob([bytes(a.data)]).stream().pipeThrough(new DecompressionStream('deflate'));
    return typed(a, new Uint8Array(await new Response(stream).arrayBuffer()));
  };

  const element = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value === undefined || value === null || value === false) continue;
      if (key.startsWith('on')) made.addEventListener(key.slice(2), value);
      else made.setAttribute(key, value === true ? '' : value);
    }
    made.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return made;
  };

  // Light and dark: as the system wants it, until the button says otherwise. Paper is light.
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const listeners = [];
  let chosen = null;
  let printing = false;
  const theme = () => (printing ? 'light' : chosen || (dark.matches ? 'dark' : 'light'));
  const applyTheme = () => {
    if (root.dataset.theme === theme()) return;
    root.dataset.theme = theme();
    colours.clear();
    for (const listener of listeners) listener(theme());
  };
  const onTheme = (listener) => listeners.push(listener);
  const themeSwitch = () => {
    const button = element('button', { type: 'button', class: 'no-print', id: 'theme' });
    const name = () => { button.textContent = theme() === 'dark' ? 'Light' : 'Dark'; };
    button.addEventListener('click', () => {
      chosen = theme() === 'dark' ? 'light' : 'dark';
      applyTheme();
    });
    button.title = 'Switch between light and dark';
    onTheme(name);
    name();
    return button;
  };

  const colours = new Map();
  const colour = (name) => {
    if (!colours.has(name)) colours.set(name, getComputedStyle(root).getPropertyValue(`--${name}`).trim());
    return colours.get(name);
  };
  const dashes = ['solid', 'dash', 'dot', 'dashdot', 'longdash', 'longdashdot', '5px 2px'];
  const symbols = ['circle', 'triangle-up', 'square', 'diamond', 'cross', 'x', 'star'];
  const model = (i) => ({ colour: colour(`model-${i % 7}`), dash: dashes[i % 7], symbol: symbols[i % 7] });

  // Charts. Some turn up before the library, and those below the fold may never be looked at.
  let libraryIsHere;
  const charts = new Promise((resolve) => { libraryIsHere = resolve; });
  const all = new Map();
  const nearby = new IntersectionObserver((entries) => {
    for (const entry of entries) all.get(entry.target)?.seen(entry.isIntersecting);
  }, { rootMargin: '120px' });

  const themed = (layout) => {
    const axis = {
      gridcolor: colour('grid'), linecolor: colour('line'), zerolinecolor: colour('line'), tickcolor: colour('line'),
      automargin: true,
    };
    const full = {
      margin: { l: 56, r: 12, t: 12, b: 44 },
      ...layout,
      paper_bgcolor: 'rgba(0,0,0,0)',
      plot_bgcolor: 'rgba(0,0,0,0)',
      font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: colour('text') },
      modebar: { bgcolor: 'rgba(0,0,0,0)', color: colour('muted'), activecolor: colour('accent') },
      hoverlabel: {
        bgcolor: colour('card'), bordercolor: colour('line'), align: 'left',
        font: { color: colour('text'), size: 12.5, family: getComputedStyle(document.body).fontFamily },
      },
    };
    for (const key of Object.keys(full)) {
      if (/^[xy]axis\d*$/.test(key)) full[key] = { ...axis, ...full[key] };
    }
    return full;
  };

  const config = {
    displaylogo: false, responsive: true, showTips: false,
    modeBarButtonsToRemove: ['lasso2d', 'select2d', 'autoScale2d', 'zoomIn2d', 'zoomOut2d'],
  };

  const chart = (target, make, handlers = {}) => {
    let library = null;
    let visible = false;
    let stale = true;
    let drawn = false;
    const draw = () => {
      if (!library || !visible || !stale) return;
      const made = make();
      stale = false;
      if (!made) return;
      library.react(target, made.data, themed(made.layout), { ...config, ...made.config });
      if (drawn) return;
      drawn = true;
      performance.mark(`chart ${target.id}`);
      for (const [event, handler] of Object.entries(handlers)) target.on(event, handler);
    };
    const self = {
      update: () => { stale = true; draw(); },
      // For what need not be drawn anew: `change` gets the library, if the chart is there.
      change: (change) => { if (drawn && !stale) change(library); },
      isDrawn: () => drawn && !stale,
      seen: (isIntersecting) => { visible = isIntersecting; draw(); },
    };
    all.set(target, self);
    nearby.observe(target);
    charts.then((loaded) => { library = loaded; draw(); });
    onTheme(self.update);
    return self;
  };

  const print = (starts) => {
    printing = starts;
    applyTheme();
    if (starts) for (const one of all.values()) one.seen(true);
  };
  addEventListener('beforeprint', () => print(true));
  addEventListener('afterprint', () => print(false));
  dark.addEventListener('change', applyTheme);
  root.dataset.theme = theme();

  const download = (name, type, text) => {
    const link = element('a', { download: name, href: URL.createObjectURL(new Blob([text], { type })) });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };

  const loaded = (library) => {
    libraryIsHere(library);
    performance.mark('library');
  };

  return {
    read, array, inflated, byId, element, colour, model, theme, onTheme, themeSwitch, chart, charts, download, loaded,
  };
})();
