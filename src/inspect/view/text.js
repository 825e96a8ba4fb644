// The text: a token's row or column of the map as colours behind the tokens.

state.incoming = false;
let kept = null;
let pointed = null;

const isBreak = (label) => label.endsWith('⏎') || label === '<n>' || label === '<0x0A>';
const tokens = facts.tokens.map((label, i) => {
  const made = page.element('span', { 'data-i': i, title: `${i} ${label} (id ${inputIds[i]})` }, label.replaceAll('▁', ' '));
  if (isBreak(label) || /^<0x[0-9A-F]{2}>$/.test(label)) made.classList.add('mark');
  return made;
});
page.byId('tokens').append(...tokens.flatMap((token, i) => (isBreak(facts.tokens[i]) ? [token, '\n'] : [token])));

const paint = () => {
  const at = pointed ?? kept;
  tokens.forEach((token, i) => token.classList.toggle('chosen', i === at));
  const said = page.byId('row');
  if (!current || at === null) {
    for (const token of tokens) {
      token.style.removeProperty('--w');
      token.classList.remove('blind');
    }
    said.textContent = '';
    return;
  }
  const { map } = current;
  const sees = (i) => (state.incoming ? i >= at : i <= at);
  const weights = line(map, at, state.incoming);
  const [, top] = rangeOf(weights);
  tokens.forEach((token, i) => {
    token.classList.toggle('blind', !sees(i));
    const share = shareOf(weights[i], top);
    if (share > 0) token.style.setProperty('--w', share.toFixed(3));
    else token.style.removeProperty('--w');
  });

  const order = weights.map((_, i) => i).filter((i) => weights[i] > 0).sort((a, b) => weights[b] - weights[a] || a - b);
  const name = `${at} ${shortened(facts.tokens[at], 30)}`;
  if (!map.exact && !map.top) {
    said.textContent = `${state.incoming ? 'Who looks at' : 'What is looked at by'} ${name}: colours are the largest weights of `
      + `${block} × ${block}, the exact ones are not in this page.`;
    return;
  }
  const share = (i) => {
    if (isSoftmax || !map.exact) return '';
    return ` (${percent(weights[i] / totalOf(map, state.incoming ? i : at))})`;
  };
  const list = order.slice(0, 8).map((i) => `${i} ${shortened(facts.tokens[i], 20)} ${digits(weights[i])}${share(i)}`).join(' · ');
  const intro = state.incoming ? `The queries that look most at ${name}` : `What query ${name} looks at`;
  let remark = '';
  if (!map.exact) remark = ` (of this head the page holds the ${largestFew} of every query)`;
  else if (!isSoftmax && state.incoming) remark = ' (weight, and share of the query’s total)';
  else if (!isSoftmax) remark = ` (weight, and share of the query’s total of ${digits(totalOf(map, at))})`;
  said.textContent = `${intro}${remark}: ${list || 'nothing'}`;
};

const keep = (token) => {
  kept = token;
  pointed = null;
  paint();
  // Into the middle of the box, which is what it looks at and what looks at it; the page itself stays where it is.
  const box = page.byId('tokens');
  const [inner, outer] = [tokens[token].getBoundingClientRect(), box.getBoundingClientRect()];
  if (inner.top < outer.top + 30 || inner.bottom > outer.bottom - 30) {
    box.scrollTop += (inner.top + inner.bottom - outer.top - outer.bottom) / 2;
  }
};
const tokenAt = (event) => {
  const at = event.target.closest?.('#tokens span')?.dataset.i;
  return at === undefined ? null : Number(at);
};
{
  const box = page.byId('tokens');
  box.addEventListener('mouseover', (event) => {
    const at = tokenAt(event);
    if (at === pointed) return;
    pointed = at;
    paint();
  });
  box.addEventListener('mouseleave', () => { pointed = null; paint(); });
  box.addEventListener('click', (event) => {
    const at = tokenAt(event);
    if (at === null) return;
    kept = at === kept ? null : at;
    paint();
  });
  box.addEventListener('keydown', (event) => {
    const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -length, End: length };
    if (event.key === 'Escape') {
      kept = null;
      pointed = null;
      paint();
    } else if (moves[event.key]) {
      event.preventDefault();
      keep(Math.min(Math.max((kept ?? (moves[event.key] > 0 ? -1 : length)) + moves[event.key], 0), length - 1));
    }
  });
}
switches([['outgoing', false], ['incoming', true]], () => state.incoming, (incoming) => {
  state.incoming = incoming;
  paint();
});

// The sparsest head first, and of the text its last token.
{
  let first = 0;
  numbers.sparsity_score.forEach((score, i) => {
    if (score > numbers.sparsity_score[first] || Number.isNaN(numbers.sparsity_score[first])) first = i;
  });
  keep(length - 1);
  choose(Math.floor(first / facts.heads.length), first % facts.heads.length);
}
