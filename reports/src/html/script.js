'use strict';
// Adds to a page that is complete without it: values on hovering, protocols switched on and off, linear scale, zoom on
// time, files to save, words explained where they stand. Values are read back from the coordinates of the lines, so nothing is told twice.
(() => {
  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const svg = (tag, attributes) => {
    const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const button = (text, act, attributes = {}) => {
    const element = make('button', { type: 'button', ...attributes }, text);
    element.addEventListener('click', () => act(element));
    return element;
  };

  // ---- numbers -------------------------------------------------------------------------------------------------
  const threeDigits = (value) => {
    const decimals = value === 0 ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value) * 1.0005)));
    return value.toLocaleString('en-US', { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
  };
  const time = (us) => (us >= 999950 ? `${threeDigits(us / 1e6)} s` : us >= 999.95 ? `${threeDigits(us / 1e3)} ms` : `${threeDigits(us)} µs`);
  const bytes = (value) => (value >= 999.5e6 ? `${threeDigits(value / 1e9)} GB` : value >= 999.5e3 ? `${threeDigits(value / 1e6)} MB` : value >= 999.5 ? `${threeDigits(value / 1e3)} kB` : `${value.toFixed(0)} B`);
  const words = { time, bytes, percent: (value) => `${threeDigits(value)} %`, count: (value) => threeDigits(value) };
  const percentile = (nines) => {
    const share = 100 * (1 - 10 ** -nines);
    return `p${share.toFixed(Math.max(0, Math.min(4, Math.ceil(nines)))).replace(/\.?0+$/, '')}`;
  };

  // ---- a plot and its values -----------------------------------------------------------------------------------
  const pairs = /([ML])(-?[\d.]+) (-?[\d.]+)/g;
  const plots = [...document.querySelectorAll('svg.plot[data-kind]')].map((element) => {
    const [x, y] = [element.dataset.x.split(' '), element.dataset.y.split(' ')];
    const [[x0, x1, left, right], [y0, y1, bottom, top]] = [x, y].map((scale) => scale.slice(0, 4).map(Number));
    const [xLog, yLog] = [x, y].map((scale) => scale[4] === 'log');
    const plot = { element, kind: element.dataset.kind, unit: element.dataset.unit, left, right, bottom, top, yLog, xFull: [x0, x1], yFull: [y0, y1], x: [x0, x1], linear: false };
    const share = (value, [low, high], log) => (log ? Math.log(Math.max(value, low) / low) / Math.log(high / low) : (value - low) / (high - low));
    const back = (part, [low, high], log) => (log ? low * (high / low) ** part : low + part * (high - low));
    plot.place = (x, y) => {
      const range = plot.linear ? [0, y1] : [y0, y1];
      return [left + share(x, plot.x, xLog) * (right - left), bottom + share(y, range, yLog && !plot.linear) * (top - bottom)];
    };
    plot.xAt = (px) => back(Math.min(1, Math.max(0, (px - left) / (right - left))), plot.x, xLog);
    // The page's own scales, read backwards.
    const value = (px, py) => [back((px - left) / (right - left), [x0, x1], xLog), back((py - bottom) / (top - bottom), [y0, y1], yLog)];
    plot.read = () => {
      if (plot.shapes) return;
      plot.shapes = [...element.querySelectorAll('.line, .band')].map((path) => ({
        path, closed: path.classList.contains('band'),
        points: [...path.getAttribute('d').matchAll(pairs)].map(([, command, px, py]) => ({ start: command === 'M', at: value(+px, +py) })),
      }));
      plot.markers = [...element.querySelectorAll('.marker')].map((marker) => {
        const [px, py] = marker.getAttribute('transform').match(/-?[\d.]+/g).map(Number);
        return { marker, at: value(px, py) };
      });
      plot.whiskers = [...element.querySelectorAll('.whisker')].map((path) => {
        const [, px, low, high] = path.getAttribute('d').match(/^M([\d.]+) ([\d.]+)h8m-4 0V([\d.]+)/).map(Number);
        return { path, low: value(px + 4, low), high: value(px + 4, high) };
      });
      plot.series = [...element.querySelectorAll('.series:not(.end)')].map((group) => ({
        group, name: group.dataset.name, points: plot.shapes.find(({ path, closed }) => !closed && path.parentNode === group)?.points ?? [],
      })).filter(({ points }) => points.length);
    };
    return plot;
  });

  const isTime = ({ kind }) => kind === 'seconds' || kind === 'heat';
  const redraw = (plot) => {
    plot.read();
    const inside = ([x]) => x >= plot.x[0] - 1e-9 && x <= plot.x[1] + 1e-9;
    for (const { path, closed, points } of plot.shapes) {
      let open = false;
      let d = '';
      for (const { start, at } of points) {
        const shown = inside(at);
        if (shown) {
          const [x, y] = plot.place(...at);
          d += `${open && !start ? 'L' : 'M'}${x.toFixed(2)} ${y.toFixed(2)}`;
        }
        open = shown;
      }
      path.setAttribute('d', closed && d ? `${d}Z` : d);
    }
    for (const { marker, at } of plot.markers) {
      marker.style.display = inside(at) ? '' : 'none';
      marker.setAttribute('transform', `translate(${plot.place(...at).map((place) => place.toFixed(2)).join(' ')})`);
    }
    for (const { path, low, high } of plot.whiskers) {
      const [[x, from], [, to]] = [plot.place(...low), plot.place(...high)];
      path.setAttribute('d', `M${x - 4} ${from}h8m-4 0V${to}m-4 0h8`);
    }
    for (const cells of plot.element.querySelectorAll('.cells')) {
      const seconds = Number(cells.dataset.seconds);
      const rows = cells.viewBox.baseVal.height;
      cells.setAttribute('viewBox', `${plot.x[0] / seconds} 0 ${(plot.x[1] - plot.x[0]) / seconds} ${rows}`);
    }
    if (plot.yLog && plot.kind !== 'heat') redrawAxis(plot, 'y');
    if (isTime(plot)) redrawAxis(plot, 'x');
    redrawEnds(plot);
  };

  const round = (span, most) => {
    const raw = span / most;
    const decade = 10 ** Math.floor(Math.log10(raw));
    return [1, 2, 5, 10].map((step) => step * decade).find((step) => step >= raw * 0.999);
  };

  const redrawAxis = (plot, which) => {
    const axis = plot.element.querySelector(`.axis.${which}`);
    plot.axes ??= {};
    plot.axes[which] ??= axis.innerHTML;
    const whole = plot.x[0] === plot.xFull[0] && plot.x[1] === plot.xFull[1];
    if (which === 'y' ? !plot.linear : whole) {
      axis.innerHTML = plot.axes[which];
      return;
    }
    axis.replaceChildren();
    const [low, high] = which === 'y' ? [0, plot.yFull[1]] : plot.x;
    const step = round(high - low, 6);
    for (let tick = Math.ceil(low / step - 1e-9) * step; tick <= high * 1.000001; tick += step) {
      const [x, y] = which === 'y' ? [plot.left - 8, plot.place(plot.x[0], tick)[1] + 4] : [plot.place(tick, plot.yFull[1])[0], plot.bottom + 17];
      const d = which === 'y' ? `M${plot.left} ${y - 4}H${plot.right}` : `M${x} ${plot.top}V${plot.bottom}`;
      const label = svg('text', { x, y, 'text-anchor': which === 'y' ? 'end' : 'middle' });
      label.textContent = which === 'y' ? (tick === 0 ? '0' : time(tick).replace(/\.?0+(?= )/, (zeros) => (zeros[0] === '.' ? '' : zeros))) : String(+tick.toFixed(6));
      axis.append(svg('path', { d }), label);
    }
  };

  const redrawEnds = (plot) => {
    const ends = [...plot.element.querySelectorAll('.end')];
    const placed = ends.map((end) => {
      const points = plot.series.find(({ name }) => name === end.dataset.name)?.points;
      const [x, y] = points ? plot.place(...points.at(-1).at) : [0, 0];
      return { end, x, y, row: y };
    }).filter(({ end }) => !end.classList.contains('off')).sort((a, b) => a.y - b.y);
    placed.forEach((entry, index) => { if (index) entry.row = Math.max(entry.y, placed[index - 1].row + 15); });
    placed.reduceRight((limit, entry) => (entry.row = Math.min(entry.row, limit)) - 15, plot.bottom - 2);
    for (const { end, x, y, row } of placed) {
      end.querySelector('path').setAttribute('d', `M${x + 5} ${y}L${x + 16} ${row}`);
      end.querySelector('text').setAttribute('y', row + 4);
    }
  };

  // ---- values on hovering, the same place marked in linked plots -----------------------------------------------
  const tip = make('div', { class: 'tip', role: 'status', hidden: '' });
  document.body.append(tip);
  const nearest = (points, x) => {
    let [low, high] = [0, points.length - 1];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (points[middle].at[0] <= x) low = middle; else high = middle;
    }
    return Math.abs(points[low].at[0] - x) <= Math.abs(points[high].at[0] - x) ? points[low] : points[high];
  };
  // Plots over the same seconds: those of one load, or of one case in a comparison.
  const scope = ({ element }) => element.closest('details.load') ?? element.closest('section[id^="case-"]') ?? document;
  const linked = (plot) => (isTime(plot) ? plots.filter((other) => isTime(other) && scope(other) === scope(plot)) : [plot]);

  const mark = (plot, x) => {
    plot.cross ??= plot.element.appendChild(svg('path', { class: 'cross' }));
    const place = plot.place(x, plot.yFull[1])[0];
    plot.cross.setAttribute('d', `M${place} ${plot.top}V${plot.bottom}`);
  };
  const unmark = (plot) => { for (const other of linked(plot)) other.cross?.removeAttribute('d'); tip.hidden = true; };

  const levels = ['any', '0.1 %', '1 %', '4 %', '10 %', '25 %'];
  // The share of a cell, as far as its shade tells it.
  const cellAt = (plot, x, y) => {
    const cells = plot.element.querySelector('.cells');
    const { height: rows } = cells.viewBox.baseVal;
    const column = Math.floor(x / Number(cells.dataset.seconds));
    const row = Math.floor(((y - plot.top) / (plot.bottom - plot.top)) * rows);
    if (row < 0 || row >= rows) return null;
    const [low, high] = plot.yFull;
    const edge = (index) => low * (high / low) ** (1 - index / rows);
    plot.runs ??= [...cells.children].map((path) => ({ level: Number(path.getAttribute('class').slice(1)),
      runs: [...path.getAttribute('d').matchAll(/M(\d+) (\d+)\.5h(\d+)/g)].map((run) => run.slice(1).map(Number)) }));
    const found = plot.runs.find(({ runs }) => runs.some(([from, at, length]) => at === row && column >= from && column < from + length));
    return { range: `${time(edge(row + 1))} to ${time(edge(row))}`, share: found ? (found.level ? `from ${levels[found.level]}` : 'any') : 'none' };
  };
  const place = (clientX, clientY) => {
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const beside = clientX + 16 + box.width > innerWidth - 8 ? clientX - 16 - box.width : clientX + 16;
    tip.style.left = `${Math.max(8, beside) + scrollX}px`;
    tip.style.top = `${Math.max(8, Math.min(clientY, innerHeight - box.height - 8)) + scrollY}px`;
  };

  const show = (plot, x, clientX, clientY, y) => {
    plot.read();
    if (isTime(plot)) x = Math.round(x);
    if (plot.kind === 'heat') {
      for (const other of linked(plot)) mark(other, x);
      const cell = y === undefined ? null : cellAt(plot, x, y);
      const { name } = plot.element.querySelector('.series').dataset;
      tip.replaceChildren(make('b', {}, `${name}, second ${x}`));
      if (cell) tip.append(make('div', {}, `${cell.range}: ${cell.share} of the deliveries`));
      return place(clientX, clientY);
    }
    const shown = plot.series.filter(({ group }) => !group.classList.contains('off'));
    const values = shown.map(({ name, group, points }) => ({ name, group, at: nearest(points, x).at }))
      .filter(({ at }) => plot.kind !== 'nines' || x <= at[0] + 0.02);
    // A sweep has values only at the loads that were run.
    if (plot.kind === 'load' && values.length) x = values[0].at[0];
    values.sort((a, b) => b.at[1] - a.at[1]);
    for (const other of linked(plot)) mark(other, x);
    tip.replaceChildren(make('b', {}, { nines: percentile, seconds: (second) => `second ${second}`, load: (load) => `at ${threeDigits(load)}` }[plot.kind](x)));
    for (const { name, group, at } of values) {
      const slot = [...group.classList].find((word) => /^s\d/.test(word)) ?? '';
      tip.append(make('div', { class: slot }, make('i'), make('span', {}, name), make('em', {}, words[plot.unit](at[1]))));
    }
    place(clientX, clientY);
  };

  const inside = (plot, event) => {
    const box = plot.element.getBoundingClientRect();
    const scale = plot.element.viewBox.baseVal.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  };
  const under = (plot, event) => plot.xAt(inside(plot, event)[0]);

  for (const plot of plots) {
    const { element } = plot;
    let from = null;
    element.addEventListener('pointermove', (event) => show(plot, under(plot, event), event.clientX, event.clientY, inside(plot, event)[1]));
    element.addEventListener('pointerleave', () => unmark(plot));
    element.setAttribute('tabindex', '0');
    element.addEventListener('blur', () => unmark(plot));
    element.addEventListener('keydown', (event) => {
      const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === 'Escape') unmark(plot);
      if (isTime(plot)) zoomByKey(plot, event);
      if (!direction) return;
      event.preventDefault();
      const step = { nines: 0.05, seconds: 1, heat: 1 }[plot.kind] ?? (plot.x[1] - plot.x[0]) / 20;
      plot.at = Math.min(plot.x[1], Math.max(plot.x[0], (plot.at ?? plot.x[0]) + direction * step));
      const box = element.getBoundingClientRect();
      const px = plot.place(plot.at, plot.yFull[1])[0] / element.viewBox.baseVal.width;
      show(plot, plot.at, box.left + px * box.width, box.top + box.height / 3);
    });
    if (!isTime(plot)) continue;
    element.addEventListener('pointerdown', (event) => { if (event.pointerType === 'mouse') from = under(plot, event); });
    addEventListener('pointerup', (event) => {
      if (from === null) return;
      const [low, high] = [from, under(plot, event)].sort((a, b) => a - b);
      from = null;
      if (high - low >= 2) zoom(plot, [Math.floor(low), Math.ceil(high)]);
    });
    element.addEventListener('dblclick', () => zoom(plot, null));
  }
  // + looks closer around the place marked, - steps back, 0 shows all.
  const zoomByKey = (plot, event) => {
    if (event.key === '0' || event.key === 'Escape') return zoom(plot, null);
    const factor = { '+': 0.5, '=': 0.5, '-': 2 }[event.key];
    if (!factor || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const [low, high] = plot.xFull;
    const half = Math.max(1, ((plot.x[1] - plot.x[0]) * factor) / 2);
    const middle = Math.min(high - half, Math.max(low + half, plot.at ?? (plot.x[0] + plot.x[1]) / 2));
    zoom(plot, half * 2 >= high - low ? null : [Math.max(low, Math.floor(middle - half)), Math.min(high, Math.ceil(middle + half))]);
  };
  const zoom = (plot, range) => { unmark(plot); for (const other of linked(plot)) { other.x = range ?? other.xFull; redraw(other); } };

  // ---- switches ------------------------------------------------------------------------------------------------
  // A name is switched all over the page, in every legend and every plot.
  const toggles = [];
  const turn = (name, off) => {
    for (const part of document.querySelectorAll('.plot .series')) if (part.dataset.name === name) part.classList.toggle('off', off);
    for (const toggle of toggles) if (toggle.dataset.name === name) toggle.setAttribute('aria-pressed', String(!off));
    for (const plot of plots) if (plot.element.querySelector('.end')) { plot.read(); redrawEnds(plot); }
  };
  for (const legend of document.querySelectorAll('.legend')) {
    legend.setAttribute('aria-label', 'Lines: switch on and off');
    for (const entry of legend.children) {
      const { name } = entry.dataset;
      const toggle = button('', (element) => turn(name, element.getAttribute('aria-pressed') === 'true'), { 'aria-pressed': 'true', 'data-name': name });
      toggle.append(...entry.childNodes);
      entry.append(toggle);
      toggles.push(toggle);
    }
  }

  // ---- words where they stand ----------------------------------------------------------------------------------
  // What explains itself on resting the pointer does so at once, on touch too.
  for (const element of document.querySelectorAll('[title]')) {
    element.dataset.words = element.title;
    element.setAttribute('aria-description', element.title);
    element.removeAttribute('title');
  }
  const explained = (event) => {
    if (!(event.target instanceof Element)) return null;
    const titled = event.target.closest('[data-words], svg.plot :has(> title)');
    return titled && (titled.dataset.words ?? titled.querySelector(':scope > title').textContent);
  };
  document.addEventListener('pointerover', (event) => {
    const text = explained(event);
    if (!text || event.target.closest('svg.plot[data-kind]')) return;
    tip.replaceChildren(make('div', { class: 'words' }, text));
    place(event.clientX, event.clientY + 14);
  });
  document.addEventListener('pointerout', (event) => { if (explained(event)) tip.hidden = true; });
  for (const title of document.querySelectorAll('svg.plot.still title')) {
    // The tip says it; the browser would say it once more, later.
    title.parentNode.addEventListener('pointerenter', () => { title.remove(); }, { once: true });
    title.parentNode.dataset.words = title.textContent;
  }
  const openTarget = () => { const target = location.hash && document.getElementById(location.hash.slice(1)); if (target?.tagName === 'DETAILS') target.open = true; };
  addEventListener('hashchange', openTarget);
  openTarget();
  const folded = [...document.querySelectorAll('details.load:not([open])')];
  addEventListener('beforeprint', () => folded.forEach((load) => { load.open = true; }));

  // ---- files ---------------------------------------------------------------------------------------------------
  const save = (blob, name) => {
    const link = make('a', { href: URL.createObjectURL(blob), download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
  const unpack = async () => {
    const packed = Uint8Array.from(atob(document.getElementById('result').textContent), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate'))).text();
  };
  // A histogram log, as the tools around HdrHistogram read it: one line a case, tagged with its name.
  const histogramLog = (result) => {
    const start = Date.parse(result.started_at) / 1000 || 0;
    const lines = result.cases.filter(({ histogram }) => histogram).map((of) => {
      const tag = [of.protocol, of.connections, of.rate, of.payload_bytes].join('_').replace(/[\s,]/g, '-');
      return `Tag=${tag},${start.toFixed(3)},${of.duration_s.toFixed(3)},${((of.latency_us.max ?? 0) / 1000).toFixed(3)},${of.histogram}`;
    });
    return ['#[Histogram log format version 1.3]', `#[StartTime: ${start.toFixed(3)} (seconds since epoch), ${result.started_at}]`,
      '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"', ...lines, ''].join('\n');
  };
  // A plot of its own has no page around it to take its style from.
  const standalone = (element) => {
    const copy = element.cloneNode(true);
    copy.querySelectorAll('.cross').forEach((cross) => cross.remove());
    const names = ['fill', 'fill-opacity', 'stroke', 'stroke-opacity', 'shape-rendering', 'stroke-width', 'stroke-dasharray', 'opacity', 'font-size', 'font-weight', 'font-family', 'display'];
    const [from, to] = [[element, ...element.querySelectorAll(':not(.cross)')], [copy, ...copy.querySelectorAll('*')]];
    from.forEach((original, index) => {
      const style = getComputedStyle(original);
      for (const name of names) to[index].style.setProperty(name, style.getPropertyValue(name));
    });
    const { width, height } = element.viewBox.baseVal;
    copy.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
    copy.setAttribute('width', width);
    copy.setAttribute('height', height);
    copy.style.display = 'block';
    copy.prepend(svg('rect', { width, height, fill: getComputedStyle(document.body).backgroundColor }));
    return { text: new XMLSerializer().serializeToString(copy), width, height };
  };
  const savePng = ({ text, width, height }, name) => {
    const image = new Image();
    image.onload = () => {
      const canvas = make('canvas', { width: width * 2, height: height * 2 });
      canvas.getContext('2d').drawImage(image, 0, 0, width * 2, height * 2);
      canvas.toBlob((blob) => save(blob, name), 'image/png');
    };
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  };
  for (const figure of document.querySelectorAll('figure')) {
    const number = [...document.querySelectorAll('figure')].indexOf(figure) + 1;
    const logs = plots.filter(({ element, yLog, kind }) => yLog && kind !== 'heat' && figure.contains(element));
    const visible = () => [...figure.querySelectorAll('svg.plot')].filter((element) => element.getClientRects().length > 0);
    const each = (act) => visible().forEach((element, index) => act(standalone(element), `lastmile-plot-${number}${visible().length > 1 ? '-' + (index + 1) : ''}`));
    const scale = button('Linear scale', (element) => {
      const linear = element.getAttribute('aria-pressed') !== 'true';
      element.setAttribute('aria-pressed', String(linear));
      for (const plot of logs) { plot.linear = linear; redraw(plot); }
    }, { 'aria-pressed': 'false' });
    if (plots.some((plot) => isTime(plot) && figure.contains(plot.element))) {
      figure.querySelector('figcaption').append(make('span', { class: 'hint' }, ' Drag across a plot to look closer at a time, double-click to see all; by keyboard with the arrows, +, - and 0.'));
    }
    figure.querySelector('figcaption').after(make('div', { class: 'tools' }, ...(logs.length ? [scale] : []),
      button('Save SVG', () => each((plot, name) => save(new Blob([plot.text], { type: 'image/svg+xml' }), `${name}.svg`))),
      button('Save PNG', () => each((plot, name) => savePng(plot, `${name}.png`)))));
  }
  for (const pre of document.querySelectorAll('pre[data-copy]')) {
    const label = `Copy ${pre.dataset.copy}`;
    const copy = button(label, async () => {
      try { await navigator.clipboard.writeText(pre.textContent); copy.textContent = 'Copied'; } catch {
        getSelection().selectAllChildren(pre); copy.textContent = 'Selected, press Ctrl-C';
      }
      setTimeout(() => { copy.textContent = label; }, 2000);
    });
    pre.after(make('div', { class: 'tools' }, copy));
  }
  if (document.getElementById('result') && 'DecompressionStream' in window) {
    document.querySelector('header').append(make('div', { class: 'tools' },
      button('Save result.json', async () => save(new Blob([await unpack()], { type: 'application/json' }), 'result.json')),
      button('Save histograms', async () => save(new Blob([histogramLog(JSON.parse(await unpack()))], { type: 'text/plain' }), 'latency.hlog'))));
  }
})();
